"""Makes one page for the person who decides: what a split model leaks, and what is not known.

The page is one HTML file that loads nothing; it holds no path and no name of the machine. Its
figures are the records' own (:mod:`.report_rows`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from splitsec.errors import UsageError
from splitsec.escaping import for_html
from splitsec.leaderboard.report_pictures import shown_victims
from splitsec.leaderboard.report_plot import tradeoff
from splitsec.leaderboard.report_rows import Limits, ReportRow, Verdict, report_rows, verdict_of
from splitsec.leaderboard.web.publication import command, without_folders
from splitsec.metrics.figures import Estimate
from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.records.record import FLAGS, INVALIDATING, LABELS_SHARED, Record
from splitsec.records.spec import CellSpec, value_in_words
from splitsec.records.store import StoredRecord
from splitsec.records.wording import (
    best_guess,
    flags_of,
    labels_in_words,
    linear_in_words,
    threat_in_words,
    with_interval,
)

_KEPT: dict[Verdict, str] = {
    "within": "kept",
    "over": "not kept",
    "unclear": "cannot be told",
}


def report(
    found: Sequence[StoredRecord], limits: Limits | None = None, *, names: bool = False
) -> str:
    """Return the page.

    Args:
        found: records, of one model or several.
        limits: what the person allows.
        names: whether file names of the patients whose images are shown are given.

    Raises:
        UsageError: no record has the result of an attack.
    """
    limits = limits or Limits()
    rows = report_rows(found)
    if not rows:
        raise UsageError(
            "no record here has the result of an attack, so there is nothing to report; run "
            "splitsec audit or splitsec eval first, with an attack"
        )
    main = rows[0]
    environment = Environment(
        loader=PackageLoader("splitsec.leaderboard.web"),
        autoescape=True,
        finalize=_as_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    record = main.example.record
    records = [one for row in rows for one in row.records]
    return environment.get_template("report.html.j2").render(
        title=f"{_model_name(record.spec)} on {_data_name(record.spec)}",
        date=max(one.provenance.created[:10] for one in records),
        verdict=list(_verdict(rows, limits)),
        limits=_limits_in_words(limits),
        kept=verdict_of(main.verdicts(limits)),
        figures=list(_figures(main)),
        shown=shown_victims(main, names=names),
        guess=best_guess(main.scores),
        attackers=list(dict.fromkeys(_attackers(records))),
        rows=[_cells_of(row, limits) for row in rows],
        plot=Markup(tradeoff(rows, limits)) if len(rows) > 1 else None,
        labels=list(dict.fromkeys(_labels(records))),
        model=list(_model(main)),
        data=list(_data(record)),
        sure=list(_sure(rows, found)),
        untested=list(_untested(records)),
        commands=list(dict.fromkeys(map(_command, records))),
        hashes=[(one.spec.brief(), one.cell_id, one.seal or "") for one in records],
        versions=_versions(records),
    )


def _as_html(value: Any) -> Any:
    """Return what a template puts into the page, escaped unless it is markup of ours."""
    return value if isinstance(value, Markup) else Markup(for_html(without_folders(value)))


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


def _verdict(rows: Sequence[ReportRow], limits: Limits) -> Iterator[str]:
    """Yield the three sentences that a reader in a hurry reads."""
    main = rows[0]
    protected = "" if main.undefended else f" behind {main.defense}"
    recovered = main.leakage.value or 0.0
    found = 100 * (main.identified.value or 0.0)
    if recovered <= NOTHING_RECOVERED:
        yield (
            f"At the cut {main.cut}{protected} the attacks that were tried recovered no more of "
            "the images than a guess does."
        )
    else:
        yield (
            f"At the cut {main.cut}{protected} the server recovered {recovered:.0%} of what there "
            "is to recover of an image, and its pictures told which of 100 patients an image is "
            f"of in {found:.0f} of 100 cases."
        )
    yield _against_limits(main, limits)
    yield _best_protection(rows, limits)


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
        return f"Least leaks {_named(best)}: {_percent(best.leakage.value)}{_cost(best)}."
    keeping = [row for row in rows if verdict_of(row.verdicts(limits)) == "within"]
    if not keeping:
        count = len(rows)
        return f"None of the {count} ways that were tried is shown to keep all of your limits."
    best = max(keeping, key=lambda row: row.utility.value or 0.0)
    return (
        f"Of those that keep your limits, {_named(best)} is worth most: it leaks "
        f"{_percent(best.leakage.value)}{_cost(best)}."
    )


def _named(row: ReportRow) -> str:
    behind = "no protection" if row.undefended else row.defense
    return f"{behind} at the cut {row.cut}"


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
        f"on {row.example.record.utility.n} images that trained nothing{_range(row.utility, '.2f')}"
        if row.example.record.utility
        else "not measured",
    )


def _range(estimate: Estimate, form: str = ".0%") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"; 95 % interval {estimate.low:{form}} to {estimate.high:{form}}"


def _attackers(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    for one in records:
        if one.threat_model is not None:
            yield one.spec.named("attack"), threat_in_words(one, one.threat_model)


def _cells_of(row: ReportRow, limits: Limits) -> dict[str, Any]:
    overall = verdict_of(row.verdicts(limits))
    return {
        "cut": row.cut,
        "defense": "none" if row.undefended else row.defense,
        "attack": row.attack,
        "identified": f"{100 * (row.identified.value or 0):.0f}",
        "leakage": with_interval(*row.leakage),
        "worst": with_interval(row.worst, None, None),
        "utility": with_interval(*row.utility),
        "loss": "" if row.loss is None else with_interval(*row.loss, ".3f"),
        "kept": "" if overall is None else _KEPT[overall],
    }


def _labels(records: Sequence[Record]) -> Iterator[str]:
    for one in records:
        if one.labels_shared():
            yield f"In this set-up {FLAGS[LABELS_SHARED]}."
            continue
        answers = one.labels and (one.labels.held_out.get("outputs"))
        if answers:
            yield (
                "The server ends the network, so it computes the model's answer for every image: "
                f"it knows the diagnoses as well as the model does ({answers.score:.2f}, by "
                f"{'Jaccard' if one.labels and one.labels.measure == 'jaccard' else 'AUC'})."
            )
        says = labels_in_words(one)
        if says and not (answers and says.startswith("The clients send no")):
            yield f"{one.spec.brief()}: {says}"


def _model(row: ReportRow) -> Iterator[tuple[str, str]]:
    record = row.example.record
    spec = record.spec
    weights = spec.parameters.get("target", {}).get("weights")
    yield "Model", _model_name(spec)
    yield "Cut", row.cut
    if spec.training.mode == "inference":
        yield "Use", "as it is: nothing was trained, and each image was sent once per epoch"
    elif weights:
        yield "Use", f"trained on from the given weights, {spec.training.epochs} epochs"
    else:
        yield "Use", f"trained here from random weights, {spec.training.epochs} epochs"
    yield (
        "Images",
        f"{spec.size} x {spec.size} pixels, {'grey' if spec.channels == 1 else 'colour'}",
    )
    if spec.clients > 1:
        yield "Clients", str(spec.clients)
    linear = linear_in_words(record)
    if linear:
        yield "Beside simple models", linear


def _data(record: Record) -> Iterator[tuple[str, str]]:
    spec = record.spec
    yield "Data set", _data_name(spec)
    yield (
        "Divided into",
        f"{spec.private} private images of the clients, {spec.public} of the attacker's own, "
        f"{spec.validation} for validation, {spec.held_out} held out",
    )
    for part, counts in record.data.get("balance", {}).items():
        yield f"Classes, {part}", ", ".join(f"{count} {name}" for name, count in counts.items())
    for said in record.data.get("disclosures", []):
        yield "To know", said


def _sure(rows: Sequence[ReportRow], found: Sequence[StoredRecord]) -> Iterator[str]:
    """Yield what limits the certainty of the figures."""
    seeds = min(row.seeds for row in rows)
    if seeds < 3:
        yield (
            f"{seeds} run{'s' if seeds > 1 else ''} of each: intervals are over images alone, and "
            "say nothing of another training. Run again with --seeds 3 or more."
        )
    else:
        yield f"{seeds} runs of each: intervals are over runs and images."
    failed = [one.record for one in found if one.record.status != "ok"]
    for one in failed:
        yield f"No result ({one.status}): {one.spec.brief()}: {one.reason}"
    flags = {flag for row in rows for one in row.records for flag in flags_of(one)}
    for flag in FLAGS:
        if flag in flags and flag != LABELS_SHARED:
            said = FLAGS[flag]
            if flag in INVALIDATING:
                yield f"These figures cannot be relied on: {said}."
            else:
                yield f"{said[0].upper()}{said[1:]}."
    yield from dict.fromkeys(note for row in rows for one in row.records for note in one.notes)


def _model_name(spec: CellSpec) -> str:
    """Return what a person calls the model; a whole network by its own name."""
    whole = spec.parameters.get("target", {}).get("model")
    return f"{spec.target} {whole}" if whole else spec.named("target")


def _data_name(spec: CellSpec) -> str:
    path = spec.parameters.get("data", {}).get("path")
    return f"{spec.data} {value_in_words(path)}" if path else spec.named("data")


def _command(record: Record) -> str:
    """Return the command that ran a record, or one that runs its cell again."""
    words = record.provenance.command
    return shlex.join(words if words[:1] == ["splitsec"] else command(record))


def _untested(records: Sequence[Record]) -> Iterator[str]:
    """Yield what these records say nothing of."""
    threats = [one.threat_model for one in records if one.threat_model is not None]
    inference = all(one.spec.training.mode == "inference" for one in records)
    if not any(one.active for one in threats) and not inference:
        yield "A malicious server, which steers the training (--attack strongest:server=malicious)."
    if not any(one.queries for one in threats):
        yield (
            "A server that can also ask the client's part of the model about images of its own "
            "(--attack strongest)."
        )
    if all(one.oracle for one in threats):
        yield "A server that only listens (--attack strongest:server=listening)."
    sizes = sorted({one.spec.size for one in records})
    yield f"Images of other sizes than {', '.join(map(str, sizes))} pixels."
    if {one.spec.defense for one in records} == {"none"}:
        yield "Protections: none was tried (--defense none,dcor)."
    yield (
        "Attacks that nobody has published yet, and attackers with images of the same patients. A "
        "low figure is no proof of safety."
    )
    yield (
        "Whether a patient took part in the training, what else than the image the data tell of a "
        "patient, and the security of the machines and the network."
    )


def _versions(records: Sequence[Record]) -> str:
    packages = records[0].provenance.packages
    about = records[0].provenance
    ran = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"{ran}; Python {about.python}, {about.device}, {about.platform}"
