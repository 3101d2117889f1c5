"""Makes one page for the person who decides: what a split model leaks, and what is not known.

The page is one HTML file that loads nothing; it holds no path and no name of the machine. Its
figures are the records' own (:mod:`.report_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from splitsec.errors import UsageError
from splitsec.leaderboard.report_pictures import shown_victims
from splitsec.leaderboard.report_plot import tradeoff
from splitsec.leaderboard.report_rows import Limits, ReportRow, Verdict, report_rows, verdict_of
from splitsec.leaderboard.report_sections import (
    attackers,
    certainty,
    command_of,
    data_facts,
    data_name,
    first_upper,
    labels,
    model_facts,
    model_name,
    untested,
    versions,
    way_in_words,
)
from splitsec.leaderboard.web.rendering import render
from splitsec.metrics.figures import Estimate
from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.records.record import FLAGS
from splitsec.records.spec import RECORDED
from splitsec.records.store import StoredRecord
from splitsec.records.wording import (
    best_guess,
    with_interval,
)

_LIMITS = {"leakage": "leakage", "identified": "found", "loss": "loss"}
_MARKS: dict[Verdict, str] = {"within": "✓", "over": "✗", "unclear": "?"}

_KEPT: dict[Verdict, str] = {
    "within": "kept",
    "over": "not kept",
    "unclear": "cannot be told",
}


def report(
    found: Sequence[StoredRecord],
    limits: Limits | None = None,
    *,
    names: bool = False,
    pictures: bool = True,
) -> str:
    """Return the page.

    Args:
        found: records, of one model or several.
        limits: what the person allows.
        names: whether file names of the patients whose images are shown are given.
        pictures: whether images of patients are shown.

    Raises:
        UsageError: no record has the result of an attack, or they are of several data sets.
    """
    limits = limits or Limits()
    rows = report_rows(found)
    if not rows:
        raise UsageError(
            "no record here has the result of an attack, so there is nothing to report; run "
            "splitsec audit or splitsec eval first, with an attack"
        )
    _refuse_several(rows)
    main = rows[0]
    record = main.example.record
    records = [one for row in rows for one in row.records]
    return render(
        "report.html.j2",
        title=f"{model_name(record)} on {data_name(record.spec)}",
        date=max(one.provenance.created[:10] for one in records),
        verdict=list(_verdict(rows, limits)),
        limits=_limits_in_words(limits),
        kept=verdict_of(main.verdicts(limits)),
        figures=list(_figures(main)),
        shown=shown_victims(main, names=names) if pictures else [],
        which=first_upper(way_in_words(main)),
        guess=best_guess(main.scores),
        attackers=list(dict.fromkeys(attackers(records))),
        rows=[_cells_of(row, limits) for row in rows],
        plot=Markup(tradeoff(rows, limits)) if len(rows) > 1 else None,
        labels=list(dict.fromkeys(labels(rows))),
        model=list(model_facts(main, rows)),
        data=list(data_facts(record)),
        sure=list(certainty(rows, found)),
        untested=list(untested(records)),
        commands=list(dict.fromkeys(map(command_of, records))),
        hashes=[(one.spec.brief(), one.cell_id, one.seal or "") for one in records],
        versions=versions(records),
    )


def verdict_in_words(found: Sequence[StoredRecord], limits: Limits) -> list[str]:
    """Return the sentences of the verdict; none if no record has the result of an attack."""
    rows = report_rows(found)
    return list(_verdict(rows, limits)) if rows else []


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


def _verdict(rows: Sequence[ReportRow], limits: Limits) -> Iterator[str]:
    """Yield the three sentences that a reader in a hurry reads."""
    main = rows[0]
    protected = f"{first_upper(way_in_words(main))} "
    recovered = main.leakage.value or 0.0
    found = 100 * (main.identified.value or 0.0)
    if recovered <= NOTHING_RECOVERED:
        yield (
            f"{protected}the attacks that were tried recovered no more of the images than a guess "
            "does."
        )
    else:
        yield (
            f"{protected}the server recovered {recovered:.0%} of what there is to recover of an "
            "image, and its pictures told which of 100 patients an image is of in "
            f"{found:.0f} of 100 cases."
        )
    yield _against_limits(main, limits)
    if main.example.record.spec.target == RECORDED:
        yield (
            "This is a lower bound: the traffic was recorded, so only attacks that need no network "
            "were tried."
        )
    else:
        yield _best_protection(rows, limits)
    if any("classes-swapped" in one.flags for row in rows for one in row.records):
        yield f"What the model is worth is not known: {FLAGS['classes-swapped']}."


def _against_limits(row: ReportRow, limits: Limits) -> str:
    verdicts = row.verdicts(limits)
    overall = verdict_of(verdicts)
    if overall is None:
        return "No limit was stated, so this page does not say whether that is too much."
    named = {
        "leakage": f"at most {_percent(limits.leakage)} of an image",
        "identified": f"at most {100 * (limits.identified or 0):.0f} of 100 patients found",
        "loss": f"a loss of at most {limits.loss}",
    }
    judged = "; ".join(f"{named[name]}: {_KEPT[one]}" for name, one in verdicts.items())
    says = {
        "over": "That is more than you allow",
        "within": "That is within what you allow, against these attacks",
        "unclear": "Whether that is within what you allow cannot be told from these runs",
    }
    return f"{says[overall]} ({judged})."


def _best_protection(rows: Sequence[ReportRow], limits: Limits) -> str:
    others = rows[1:]
    if not others:
        return "No other cut and no protection was tried."
    if verdict_of(rows[0].verdicts(limits)) is None:
        best = min(rows, key=lambda row: row.leakage.value or 0.0)
        if best is rows[0]:
            return "None of the other ways that were tried leaks less."
        return f"It leaks least {way_in_words(best)}: {_percent(best.leakage.value)}{_cost(best)}."
    keeping = [row for row in rows if verdict_of(row.verdicts(limits)) == "within"]
    if not keeping:
        best = min(rows, key=lambda row: row.leakage.value or 0.0)
        return (
            f"None of the {len(rows)} ways that were tried is shown to keep all of your limits; "
            f"it leaks least {way_in_words(best)}: {_percent(best.leakage.value)}, with "
            f"{100 * (best.identified.value or 0):.0f} of 100 patients found{_cost(best)}."
        )
    best = max(keeping, key=lambda row: row.utility.value or 0.0)
    return (
        f"Of the ways that keep your limits, the model is worth most {way_in_words(best)}: it "
        f"leaks {_percent(best.leakage.value)}{_cost(best)}."
    )


def _cost(row: ReportRow) -> str:
    """Continue a sentence with what a protection costs."""
    if row.loss is None or row.loss.value is None:
        return ""
    return f", and costs {with_interval(*row.loss, '.3f')} of {row.measure}"


def _limits_in_words(limits: Limits) -> list[str]:
    said = []
    if limits.leakage is not None:
        said.append(f"leakage of at most {_percent(limits.leakage)}")
    if limits.identified is not None:
        said.append(f"at most {100 * limits.identified:.0f} of 100 patients found")
    if limits.loss is not None:
        said.append(f"a protection costs at most {limits.loss}")
    return said


class Figure(NamedTuple):
    """A number at the top of the page."""

    value: str
    name: str
    note: str


def _figures(row: ReportRow) -> Iterator[Figure]:
    gallery = row.scores.privacy.identification.gallery
    found = row.identified
    yield Figure(
        f"{100 * (found.value or 0):.0f} in 100",
        "patients found",
        f"a recovered picture is nearest to its own original among {gallery}; by guessing "
        f"{100 / gallery:.0f} in 100{_range(found)}",
    )
    yield Figure(
        _percent(row.leakage.value),
        "leakage",
        f"0 % is the best guess without any traffic, 100 % a copy{_range(row.leakage)}",
    )
    yield Figure(
        _percent(row.worst),
        "the worst patient",
        f"leakage of the image that leaks most; 95th percentile {_percent(row.almost_worst)}",
    )
    yield Figure(
        with_interval(row.utility.value, None, None),
        f"the model's {row.measure}",
        _about_worth(row),
    )


def _about_worth(row: ReportRow) -> str:
    """Return what the model's worth was measured on, and its accuracy beside a constant answer."""
    record = row.example.record
    utility = record.utility
    if utility is None:
        return "not measured"
    known = "training-images-unknown" not in record.flags
    images = "that trained nothing" if known else "which may have trained it: nobody said"
    said = f"on {utility.n} images {images}{_range(row.utility, '.2f')}; accuracy "
    said += f"{utility.accuracy:.0%}"
    constant = utility.trivial.get("accuracy")
    return said if constant is None else f"{said}, of a constant answer {constant:.0%}"


def _range(estimate: Estimate, form: str = ".0%") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"; 95 % interval {estimate.low:{form}} to {estimate.high:{form}}"


def _cells_of(row: ReportRow, limits: Limits) -> dict[str, Any]:
    verdicts = row.verdicts(limits)
    return {
        "cut": row.cut,
        "defense": "none" if row.undefended else row.defense,
        "attack": _attack(row),
        "identified": _of_100(row.identified),
        "leakage": with_interval(*row.leakage),
        "worst": with_interval(row.worst, None, None),
        "utility": with_interval(*row.utility),
        "loss": "" if row.loss is None else with_interval(*row.loss, ".3f"),
        "kept": [(_LIMITS[name], _MARKS[one]) for name, one in verdicts.items()],
    }


def _of_100(share: Estimate) -> str:
    value, low, high = (None if one is None else 100 * one for one in share)
    return with_interval(value, low, high, ".0f")


def _attack(row: ReportRow) -> str:
    """Return the attack that recovered most, and of an ensemble the member that did."""
    leakage = row.example.record.leakage
    member = None if leakage is None else leakage.member
    return f"{row.attack} ({member})" if member else row.attack


def _refuse_several(rows: Sequence[ReportRow]) -> None:
    """Raise a UsageError if rows are of several data sets: their figures cannot be compared."""
    found: dict[str, str] = {}
    for row in rows:
        record = row.example.record
        images = f"{record.data.get('sha256')} {record.spec.size}"
        spec = record.spec
        found.setdefault(images, f"{spec.named('data')} at {spec.size} px ({record.cell_id[:10]})")
    if len(found) > 1:
        raise UsageError(
            f"these records are of {len(found)} sets of images or classes, which one report cannot "
            f"compare: {'; '.join(found.values())}; name the folders of one of them"
        )
