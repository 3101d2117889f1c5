"""What a reader came for: the families of each board, a sentence on them, and their curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from splitsec.leaderboard.families import (
    SHARES,
    Family,
    FamilyBoard,
    Strong,
    family_boards,
)
from splitsec.leaderboard.family_words import answer, words_of
from splitsec.leaderboard.ranking import Board, RowSamples
from splitsec.leaderboard.settings import plugin_name
from splitsec.leaderboard.web.content import ACCESS, rounded
from splitsec.metrics.figures import SHARE, UNLIMITED, Estimate
from splitsec.metrics.two_level import Sample, over_seeds_and_images
from splitsec.records.spec import value_in_words
from splitsec.records.wording import with_interval


class Answer(NamedTuple):
    """A board of families as the page shows it.

    Attributes:
        key: its name in the page.
        heading: short form of the setting.
        setting: the complete setting.
        access: access of the attacks, one of :data:`ACCESS`.
        says: the answer, as a sentence.
        columns: names of the table's columns.
        lines: the table's cells, as text.
        notes: sentences that a reader must know.
    """

    key: str
    heading: str
    setting: str
    access: str
    says: str
    columns: list[str]
    lines: list[list[str]]
    notes: list[str]


def answers(boards: Sequence[Board]) -> tuple[list[Answer], dict[str, dict[str, Any]]]:
    """Return the boards of families, and the chart of each by its key.

    Args:
        boards: of defenses.
    """
    shown = [board for board in family_boards(boards) if board.families]
    shown.sort(key=lambda board: ACCESS.index(board.access))
    made = [_answer(f"families-{number}", board) for number, board in enumerate(shown, 1)]
    charts = {one.key: _chart(board) for one, board in zip(made, shown, strict=True)}
    return made, charts


def _answer(key: str, board: FamilyBoard) -> Answer:
    first = board.families[0].undefended.records[0]
    words = words_of(board)
    says = answer(board)
    return Answer(
        key=key,
        heading=f"{plugin_name(first, 'target')}, {plugin_name(first, 'data')} at "
        f"{first.spec.size} px",
        setting=board.title.rpartition("; ")[0],
        access=board.access,
        says=f"{says[0].upper()}{says[1:]}.",
        columns=[str(name) for name in words.columns],
        lines=words.to_numpy().tolist(),
        notes=[f"{note[0].upper()}{note[1:]}." for note in board.notes],
    )


def _chart(board: FamilyBoard) -> dict[str, Any]:
    """Return the points of all strengths, as the page's scatters have them."""
    points: list[dict[str, Any]] = []
    curves: list[list[int]] = []
    seen: set[int] = set()
    for family in board.families:
        if id(family.undefended) not in seen:
            seen.add(id(family.undefended))
            points.append(_point("none", family.undefended))
        places = range(len(points), len(points) + len(family.strengths))
        points += [_point(_named(family, one), one.samples) for one in family.strengths]
        curves += [list(places)] if len(places) > 1 else []
    return {
        "across": "utility retained",
        "points": points,
        "intervals": any(point["y"][1] is not None for point in points),
        "curves": curves,
        "front": [],
        "marked": SHARES[0],
    }


def _named(family: Family, one: Strong) -> str:
    if family.parameter == "cut":
        return f"cut {one.samples.records[0].spec.cut_name}"
    if not family.parameter:
        return family.name
    return f"{family.name}:{family.parameter}={value_in_words(one.value)}"


def _point(name: str, samples: RowSamples) -> dict[str, Any]:
    assert samples.retained is not None, "a family has only such rows"
    leakage = over_seeds_and_images(samples.leakage, SHARE)
    retained = over_seeds_and_images(samples.retained, UNLIMITED)
    return {
        "name": name,
        "x": [rounded(value) for value in retained],
        "y": [rounded(value) for value in leakage],
        "ranked": True,
        "lines": list(_lines(leakage, retained, samples.rates)),
    }


def _lines(leakage: Estimate, retained: Estimate, rates: Sample | None) -> Iterator[str]:
    yield f"leakage {with_interval(*leakage)}"
    yield f"retained {with_interval(*retained)}"
    if rates is not None:
        yield f"{rates.mean:.0%} of the patients identified"
