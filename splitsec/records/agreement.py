"""Whether two runs of one cell agree: to the last bit, within tolerances, as predicted, or not.

The same cell on the same kind of machine and with the same packages gives the same numbers. Another
processor, or another version of torch, adds in another order, and a long training makes more of it:
it may move a number as far as another seed does. The default tolerances are about one standard
deviation over seeds of the published RetinaMNIST records, see docs/architecture.md. Where numbers
of another machine differ by more, several seeds are run here, and the claim must lie where another
seed would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from splitsec.errors import UsageError, unknown_name
from splitsec.metrics.figures import limits_of
from splitsec.metrics.intervals import LEVEL, prediction_interval
from splitsec.metrics.schema import VictimScores
from splitsec.records.image_values import same_values
from splitsec.records.per_image import PER_IMAGE, load_per_image
from splitsec.records.record import Agreement, Record

TOLERANCES: Mapping[str, float] = {
    "leakage": 0.02,
    "mse": 0.005,
    "ssim": 0.03,
    "lpips": 0.015,
    "identification": 0.02,
    "utility": 0.03,
}
"""How far each kind of measure may be from what is claimed, in its own unit."""

SEEDS = 5
"""Seeds that are run here where the numbers of another machine differ."""

_OF_METHODS = (
    "labels-shared",
    "oracle-access",
    "randomised-defense",
    "dictated-client-settings",
    "ensemble-incomplete",
)

_NUMBERS = (
    "cell_id",
    "status",
    "victims",
    "leakage",
    "labels",
    "utility",
    "access",
    "session",
    "history",
    "members",
)


class Difference(NamedTuple):
    """One measure of two runs.

    Attributes:
        measure: such as ``held_out mse``.
        claimed: its value in the record; None where it is missing.
        rerun: its value in the run here; None where it is missing.
        tolerance: how far apart they may be.
        low: lower end of the interval in which another seed would lie here; None if only the
            tolerance counts.
        high: upper end of that interval.
    """

    measure: str
    claimed: float | None
    rerun: float | None
    tolerance: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float | None:
        """Re-run minus claimed; None where either is missing."""
        if self.claimed is None or self.rerun is None:
            return None
        return self.rerun - self.claimed

    @property
    def within(self) -> bool:
        """Whether the values agree; a measure that is missing in one of the runs does not."""
        return self.tolerable or self.predicted

    @property
    def tolerable(self) -> bool:
        """Whether the values are not further apart than the tolerance."""
        if self.difference is None:
            return self.claimed is self.rerun
        return abs(self.difference) <= self.tolerance

    @property
    def predicted(self) -> bool:
        """Whether the claim lies where another seed would lie here."""
        if self.claimed is None or self.low is None or self.high is None:
            return False
        return self.low <= self.claimed <= self.high


class Comparison(NamedTuple):
    """How two runs of a cell compare.

    Attributes:
        agreement: the verdict.
        differences: all measures that are not equal.
        sentence: what else differs, or nothing.
    """

    agreement: Agreement
    differences: list[Difference]
    sentence: str = ""


def compare(
    claimed: Record,
    rerun: Record,
    tolerances: Mapping[str, float] = TOLERANCES,
    others: Sequence[Record] = (),
) -> Comparison:
    """Compare a cell that was run again with what is claimed of it.

    The threat model and the flags that follow from it or from the methods must be equal. Texts and
    what ran where are not compared, nor other flags: they follow from numbers, which reading a
    record checks, or say how an attack was isolated.

    Values per image are compared where both records have them, and their means are equal.

    Args:
        claimed: the record.
        rerun: of the same cell.
        tolerances: kind of measure, as in ``TOLERANCES``, to how far apart it may be.
        others: the same cell with other seeds, run here. With ``rerun`` they give each measure a
            predictive interval; all intervals together hold in 95 % of cases (Bonferroni).
            None are needed on the same kind of machine, where numbers should be identical.

    Raises:
        DataError: a file of values per image is missing or damaged.
    """
    if claimed.status != rerun.status:
        why = f" ({rerun.reason})" if rerun.reason else ""
        return Comparison(
            "differs",
            [],
            f"it is claimed to be {claimed.status}, and here it is {rerun.status}{why}",
        )
    if claimed.threat_model != rerun.threat_model:
        return Comparison("differs", [], "its threat model is not that of the run here")
    for flag in _OF_METHODS:
        if (flag in claimed.flags) != (flag in rerun.flags):
            has = "the run here has" if flag in rerun.flags else "the run here does not have"
            return Comparison("differs", [], f"{has} the flag {flag!r}")
    if _numbers(claimed) == _numbers(rerun):
        if _values_differ(claimed, rerun):
            return Comparison(
                "differs", [], "the values per image are not those here, although their means are"
            )
        return Comparison("identical", [])
    here = {name: value for name, _, value in _measures(rerun)}
    there = {name: value for name, _, value in _measures(claimed)}
    kinds = {name: kind for one in (claimed, rerun) for name, kind, _ in _measures(one)}
    expected = _predictions([rerun, *others], len(kinds))
    differences = [
        Difference(name, there.get(name), here.get(name), tolerances[kind], *expected.get(name, ()))
        for name, kind in kinds.items()
        if there.get(name) != here.get(name)
    ]
    agreement: Agreement = "differs"
    if all(one.tolerable for one in differences):
        agreement = "within tolerance"
    elif all(one.within for one in differences):
        agreement = "within prediction"
    return Comparison(agreement, differences)


def _predictions(records: Sequence[Record], tries: int) -> dict[str, tuple[float, float]]:
    """Return the interval of each measure in which another seed would lie."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, _, value in _measures(record):
            if value is not None:
                values.setdefault(name, []).append(value)
    found = {}
    for name, known in values.items():
        limits = limits_of(_FIGURES.get(name.split()[-1], name.split()[-1]))
        interval = prediction_interval(known, limits, 1 - (1 - LEVEL) / tries)
        if interval is not None:
            found[name] = interval
    return found


_FIGURES = {"identification": "structure"}
"""Names of figures that are called otherwise here."""


def parse_tolerances(texts: tuple[str, ...]) -> dict[str, float]:
    """Return the default tolerances with those that are given, such as ``leakage=0.05``.

    Raises:
        UsageError: another form, an unknown measure, or a negative number.
    """
    found = dict(TOLERANCES)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in TOLERANCES:
            raise UsageError(unknown_name("measure in --tolerance:", name, TOLERANCES))
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < float("inf"):
            raise UsageError(f"--tolerance {text!r} is not of the form leakage=0.05, 0 or more")
    return found


def _numbers(record: Record) -> dict[str, object]:
    return {name: value for name, value in record.numbers().items() if name in _NUMBERS}


def _values_differ(claimed: Record, rerun: Record) -> bool:
    if any(one.folder is None or PER_IMAGE not in one.artifacts for one in (claimed, rerun)):
        return False
    there, here = load_per_image(claimed), load_per_image(rerun)
    return not all(
        same_values(getattr(there, name), getattr(here, name)) for name in ("training", "held_out")
    )


def _measures(record: Record) -> Iterator[tuple[str, str, float | None]]:
    """Yield name, kind and value of every measure."""
    if record.leakage is not None:
        yield "leakage", "leakage", record.leakage.value
    for name in ("training", "held_out"):
        scores: VictimScores | None = getattr(record.victims, name, None)
        if scores is not None:
            yield from ((f"{name} {one}", kind, value) for one, kind, value in _of_victims(scores))
    for member in record.members:
        for name in ("training", "held_out"):
            found = getattr(member, name)
            if found is not None:
                yield f"{member.attack} {name} leakage", "leakage", found.leakage
    if record.labels is not None:
        for name, scored in (
            ("training", record.labels.training),
            ("held_out", record.labels.held_out),
        ):
            for source, one in scored.items():
                yield f"{name} labels from {source} {record.labels.measure}", "utility", one.score
    if record.utility is not None:
        for name in ("accuracy", "auc", "jaccard", "dice"):
            yield name, "utility", getattr(record.utility, name)


def _of_victims(scores: VictimScores) -> Iterator[tuple[str, str, float | None]]:
    privacy = scores.privacy
    yield "leakage", "leakage", scores.leakage.mean
    yield "mse", "mse", privacy.mse.mean
    yield "ssim", "ssim", privacy.ssim.mean
    yield "lpips", "lpips", privacy.lpips.mean if privacy.lpips else None
    yield "identification", "identification", privacy.identification.structure
    for kind in ("mse", "ssim", "lpips"):
        strongest = scores.trivial.get(getattr(scores.reference, kind) or "")
        if strongest is not None:
            yield f"blind guess {kind}", kind, getattr(strongest, kind)
