"""Writes the page that compares the report's tables and figures with ours, from records alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from splitsec.escaping import for_markdown
from splitsec.leaderboard import tables
from splitsec.leaderboard.claims import Verdict, weigh
from splitsec.leaderboard.tracks import Track
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.records.record import FLAGS, INVALIDATING, LABELS_SHARED, Record

_PICTURES = ("curves", "images", "masks", "activations")
_LARGER = (
    "`--profile paper` has the report's own settings and takes many hours, since everything runs "
    "on the CPU."
)


def page(tracks: Sequence[tuple[Track, Sequence[Record]]], folder: Path, beside: Path) -> str:
    """Return the page as Markdown.

    Args:
        tracks: each track and its records.
        folder: folder of the tables and figures.
        beside: folder of the page, for its links.
    """
    records = list({one.cell_id: one for _, ones in tracks for one in ones}.values())
    weighed = [(track, _weigh(track, ones)) for track, ones in tracks]
    parts = [
        "# The original report's tables and figures, run again\n",
        _preface(records),
        "## What the report says, and what was found\n",
        _verdicts([verdict for _, verdicts in weighed for verdict in verdicts]),
    ]
    for (track, verdicts), (_, ones) in zip(weighed, tracks, strict=True):
        parts.append(_section(track, ones, verdicts, Path(os.path.relpath(folder, beside))))
    return "\n".join(parts)


def settings(records: Sequence[Record]) -> str:
    """Return a sentence on the settings of the numbers and of the report's own figures."""
    said = sorted(
        {
            f"{for_markdown(one.spec.data)} at {one.spec.size} px, {one.spec.private} private "
            f"images of {one.spec.clients} client{'s' if one.spec.clients > 1 else ''}, "
            f"{one.spec.held_out} held out, {one.spec.training.epochs} epochs"
            for one in records
        }
    )
    seeds = len({one.spec.seed for one in records})
    of = "One seed; intervals are over held-out images"
    if seeds > 1:
        of = "Means over seeds" + (
            " with 95 % t-intervals" if seeds >= MINIMUM_SEEDS else ", too few for intervals"
        )
    invalid = sum(bool(INVALIDATING & set(one.flags)) for one in records)
    flagged = f" {invalid} of {len(records)} cells carry an invalidating flag." if invalid else ""
    return (
        f"Profile {records[0].spec.profile}; {'; '.join(said)}. {of}; the report's own figures "
        f"are of one run each.{flagged}{_shared(records)}"
    )


def _shared(records: Sequence[Record]) -> str:
    shared = sum(one.labels_shared() is True for one in records)
    which = "all" if shared == len(records) else f"{shared} of {len(records)}"
    return f" In {which} cells {FLAGS[LABELS_SHARED]}." if shared else ""


def _preface(records: Sequence[Record]) -> str:
    first = records[0]
    about = first.provenance
    ok = sum(one.status == "ok" for one in records)
    days = sorted({one.provenance.created[:10] for one in records})
    others = [
        for_markdown(f"{one.spec.title()}: {one.status}, {one.reason}")
        for one in records
        if one.status != "ok"
    ]
    lines = [
        f"Written by `splitsec reproduce all --profile {first.spec.profile}` from {len(records)} "
        f"records, {ok} of them ok, of {' to '.join(dict.fromkeys((days[0], days[-1])))}: "
        f"{about.platform}, Python {about.python}, torch {about.packages.get('torch', '?')}, "
        f"{about.device}, {first.spec.threads} thread{'s' if first.spec.threads > 1 else ''} per "
        f"cell. {_LARGER}\n",
        "The report gives one run without intervals. Here every row is a mean over seeds, which "
        "change initial weights and the order of batches, never the split of the images. A "
        "difference is paired by seed; whether a claim holds *cannot be told* where the 95 % "
        f"interval allows either, and from fewer than {MINIMUM_SEEDS} seeds.\n",
        *(f"- {one}" for one in others),
        *(f"- Images: {one}" for one in _disclosures(records)),
        "",
    ]
    return "\n".join(lines)


def _disclosures(records: Sequence[Record]) -> list[str]:
    """Return the disclosures of the sources, each once."""
    return list(
        dict.fromkeys(
            for_markdown(f"{one.spec.data}: {said}")
            for one in records
            for said in one.data.get("disclosures", [])
        )
    )


def _weigh(track: Track, records: Sequence[Record]) -> list[Verdict]:
    if not track.claims or not any(one.status == "ok" for one in records):
        return []
    frame = tables.load(records)
    return [weigh(claim, frame) for claim in track.claims]


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    lines = ["| the report | the same here? | why |", "|---|---|---|"]
    lines += [f"| {one.claim.says} | {one.outcome} | {one.claim.why} |" for one in verdicts]
    return "\n".join(lines) + "\n"


def _difference(verdict: Verdict) -> str:
    claim = verdict.claim
    if verdict.difference is None:
        return "no pair of cells is ok"
    to = f"{claim.value:g}" if claim.against is None else tables.described(claim.against)
    within = f"a claim needs {MINIMUM_SEEDS} seeds"
    if verdict.low is not None:
        within = f"{verdict.low:+.3f} to {verdict.high:+.3f}"
    margin = f"; within {claim.margin:g} counts as the same" if claim.margin else ""
    return (
        f"{tables.name_of(claim.measure)} of {tables.described(claim.of)} minus {to}: "
        f"{verdict.difference:+.3f} ({within}; n = {verdict.seeds}{margin})"
    )


def table(track: Track, records: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a track's table: its numbers, and the same in words beside the report's."""
    numbers = tables.summarise(tables.load(records), track.rows, track.columns)
    words = tables.in_words(
        numbers, track.rows, track.columns, track.reported, track.report_columns
    )
    return numbers, words


def _section(
    track: Track, records: Sequence[Record], verdicts: Sequence[Verdict], folder: Path
) -> str:
    done = [one for one in records if one.status == "ok"]
    parts = [f"## {track.title}\n", f"**The report.** {track.report}\n"]
    if not done:
        return "\n".join([*parts, "No cell ran.\n"])
    parts.append(f"**Here.** {settings(records)} {track.note}\n")
    if track.kind in _PICTURES:
        parts.append(f"![{track.title}]({(folder / track.name).as_posix()}.png)\n")
    if track.rows:
        _, words = table(track, records)
        parts.append(tables.to_markdown(words))
    parts += [f"- {one.claim.says}: **{one.outcome}.** {_difference(one)}." for one in verdicts]
    return "\n".join(parts) + "\n"
