"""The figures of a report: what each protection of a model leaks and costs, against limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from splitsec.leaderboard.samples import Resampler, completed, identified, stacked
from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.schema import VictimScores
from splitsec.metrics.two_level import over_seeds_and_images
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord

Verdict = Literal["within", "over", "unclear"]
"""Whether a figure keeps a limit: its whole 95 % interval does, does not, or is on both sides."""


class Limits(NamedTuple):
    """What a person allows.

    Attributes:
        leakage: largest leakage, in [0, 1]; None for no limit.
        identified: largest share of patients whose image the server finds.
        loss: largest loss of the model's AUC or Jaccard.
    """

    leakage: float | None = None
    identified: float | None = None
    loss: float | None = None


class ReportRow(NamedTuple):
    """One way to run a model: its cut, its protection, and what is known of it.

    Attributes:
        target: the target, with its parameters.
        cut: name of the cut.
        defense: the defense, with its parameters.
        attack: the attack that recovers most, over seeds.
        seeds: number of seeds.
        attacks: number of attacks.
        leakage: of that attack.
        identified: share of victims of whom that attack's images pick out the right one.
        worst: leakage of the image that leaks most.
        almost_worst: 95th percentile of the images.
        utility: AUC or Jaccard.
        loss: what it costs beside the same model without a defense; None for that itself.
        example: record of that attack whose pictures are shown.
        records: all its records.
    """

    target: str
    cut: str
    defense: str
    attack: str
    seeds: int
    attacks: int
    leakage: Estimate
    identified: Estimate
    worst: float | None
    almost_worst: float | None
    utility: Estimate
    loss: Estimate | None
    example: StoredRecord
    records: tuple[Record, ...]

    @property
    def undefended(self) -> bool:
        """Whether nothing protects it."""
        return self.example.record.spec.defense == "none"

    @property
    def measure(self) -> str:
        """What the model is judged by, in words."""
        utility = self.example.record.utility
        return "Jaccard" if utility is not None and utility.measure == "jaccard" else "AUC"

    @property
    def scores(self) -> VictimScores:
        """Scores of the victims that leak more, in the example."""
        return _headline(self.example.record)

    def verdicts(self, limits: Limits) -> dict[str, Verdict]:
        """Return, for each limit that was stated and can be judged, whether it is kept."""
        found = {
            "leakage": _judged(self.leakage, limits.leakage),
            "identified": _judged(self.identified, limits.identified),
            "loss": None if self.loss is None else _judged(self.loss, limits.loss),
        }
        return {name: verdict for name, verdict in found.items() if verdict is not None}


def verdict_of(several: Mapping[str, Verdict]) -> Verdict | None:
    """Return whether all limits are kept; None if none was stated."""
    said = set(several.values())
    if not said:
        return None
    return "over" if "over" in said else "unclear" if "unclear" in said else "within"


def report_rows(found: Sequence[StoredRecord]) -> list[ReportRow]:
    """Return the rows of a report: undefended ones first, then by leakage.

    Args:
        found: records with a result, of any models, cuts and defenses.
    """
    whole = [one._replace(record=completed(one.record)) for one in found]
    attacked = [one for one in whole if one.record.status == "ok" and one.record.leakage]
    groups: dict[str, list[StoredRecord]] = {}
    for one in attacked:
        groups.setdefault(_way(one.record), []).append(one)
    resampler = Resampler({place: one.record for place, one in enumerate(attacked)})
    places = {id(one.record): place for place, one in enumerate(attacked)}
    rows = [_row(group, resampler, places) for group in groups.values()]
    undefended = {_model(row.example.record): row for row in rows if row.undefended}
    costed = [
        row
        if row.undefended or _model(row.example.record) not in undefended
        else row._replace(
            loss=_loss(undefended[_model(row.example.record)], row, resampler, places)
        )
        for row in rows
    ]
    return sorted(costed, key=lambda row: (not row.undefended, -(row.leakage.value or 0)))


def _model(record: Record) -> str:
    """Return what tells models, their cuts and their images apart."""
    spec = record.spec
    images = record.data.get("sha256")
    return f"{spec.named('target')} {spec.cut_name} {images} {spec.size} {spec.settings()}"


def _way(record: Record) -> str:
    return f"{_model(record)} {record.spec.named('defense')}"


def _row(
    group: Sequence[StoredRecord], resampler: Resampler, places: Mapping[int, int]
) -> ReportRow:
    records = [one.record for one in group]
    by_attack: dict[str, list[StoredRecord]] = {}
    for one in group:
        by_attack.setdefault(one.record.spec.named("attack"), []).append(one)
    attack, worst = max(by_attack.items(), key=lambda entry: _mean_leakage(entry[1]))
    own = [one.record for one in worst]
    example = max(worst, key=lambda one: _leakage(one.record))
    spec = example.record.spec
    tails = [_headline(one).leakage for one in own]
    return ReportRow(
        target=spec.named("target"),
        cut=spec.cut_name,
        defense=spec.named("defense"),
        attack=attack,
        seeds=len({one.spec.seed for one in records}),
        attacks=len(by_attack),
        leakage=_estimate([_leakage(one) for one in own], own, resampler, places, "leakage"),
        identified=_identified(own, resampler, places),
        worst=max((one.worst for one in tails if one.worst is not None), default=None),
        almost_worst=max(
            (one.almost_worst for one in tails if one.almost_worst is not None), default=None
        ),
        utility=_estimate(
            [_worth(one) for one in own if one.utility], own, resampler, places, "utility"
        ),
        loss=None,
        example=example,
        records=tuple(records),
    )


def _headline(record: Record) -> VictimScores:
    assert record.leakage is not None, "only attacked cells are in a report"
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    return scores


def _leakage(record: Record) -> float:
    return (record.leakage.value or 0.0) if record.leakage else 0.0


def _mean_leakage(several: Sequence[StoredRecord]) -> float:
    return sum(_leakage(one.record) for one in several) / len(several)


def _worth(record: Record) -> float:
    assert record.utility is not None
    return getattr(record.utility, record.utility.measure) or 0.0


def _estimate(
    values: Sequence[float],
    records: Sequence[Record],
    resampler: Resampler,
    places: Mapping[int, int],
    what: Literal["leakage", "utility"],
) -> Estimate:
    """Return a mean over seeds with its interval over seeds and images, as boards have it."""
    drawn = getattr(resampler, what)
    on_images = [drawn(places[id(one)]) for one in records]
    images = resampler.victims if what == "leakage" else resampler.held_out
    return over_seeds_and_images(stacked(pd.Series(values, dtype=float), on_images, images), SHARE)


def _identified(
    records: Sequence[Record], resampler: Resampler, places: Mapping[int, int]
) -> Estimate:
    """Return the share of victims that are identified, of the set of which more are.

    The resampled values are of the larger one, too.
    """
    guess = 1 / max(_headline(one).privacy.identification.gallery for one in records)
    drawn = [resampler.identified(places[id(one)]) for one in records]
    rates = [None if one is None else guess + (1 - guess) * one for one in drawn]
    skills = [identified(one) or 0.0 for one in records]
    values = pd.Series([guess + (1 - guess) * one for one in skills], dtype=float)
    return over_seeds_and_images(stacked(values, rates, resampler.victims), SHARE)


def _loss(
    before: ReportRow, after: ReportRow, resampler: Resampler, places: Mapping[int, int]
) -> Estimate | None:
    """Return the utility that a defense costs, paired by seed and image."""
    kept = {one.spec.seed: one for one in after.records if one.utility}
    whole = {one.spec.seed: one for one in before.records if one.utility}
    seeds = sorted(kept.keys() & whole.keys())
    if not seeds:
        return None
    samples = [
        stacked(
            pd.Series([_worth(own[seed]) for seed in seeds], dtype=float),
            [resampler.utility(places[id(own[seed])]) for seed in seeds],
            resampler.held_out,
        )
        for own in (whole, kept)
    ]
    return over_seeds_and_images(samples[0].minus(samples[1]))


def _judged(estimate: Estimate, limit: float | None) -> Verdict | None:
    value, low, high = estimate
    if limit is None or value is None:
        return None
    if low is None or high is None:
        low = high = value
    if high <= limit:
        return "within"
    return "over" if low > limit else "unclear"
