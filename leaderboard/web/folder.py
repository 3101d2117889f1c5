"""Writes the page completely beside its folder, then moves it there."""

from __future__ import annotations

import html
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from splitsec.errors import DataError, OutputError, UsageError
from splitsec.escaping import all_text
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.settings import By, plugin_names
from splitsec.leaderboard.web import content, front, gallery
from splitsec.leaderboard.web.citation import bibtex
from splitsec.leaderboard.web.pictures import PICTURES, Picture, picture_of
from splitsec.leaderboard.web.publication import file_stem, without_folders
from splitsec.leaderboard.web.rendering import render
from splitsec.leaderboard.worth import Rules
from splitsec.records.official import is_official, key_of
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord, warn_left_out

MARK = '<meta name="generator" content="splitsec leaderboard">'
"""Mark in the page's head; a folder without it is not one of our pages."""

_FOLDERS = ("assets", "cells", PICTURES)
_OURS = (*_FOLDERS, "index.html")


def check_folder(folder: Path) -> None:
    """Raise a UsageError if a folder has content other than one of our pages."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"--output {folder} is a file; the page is a folder")
    if all(one.name.startswith(".") for one in folder.iterdir()):
        return
    index = folder / "index.html"
    try:
        ours = index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"--output {folder} cannot be read: {error.strerror}") from None
    if not ours:
        raise UsageError(
            f"--output {folder} holds something other than a leaderboard; name a new folder"
        )


def write_page(
    found: Sequence[StoredRecord],
    folder: Path,
    by: By,
    rules: Rules,
    left_out: Callable[[str], None] = warn_left_out,
) -> Path:
    """Write the page of records, in place of an earlier one.

    Args:
        found: records with their folders.
        folder: folder of the page; other files in an earlier page's folder are kept.
        by: the ranking that is open first.
        rules: what boards are judged by.
        left_out: told why a picture is left out.

    Returns:
        The page's ``index.html``.

    Raises:
        UsageError: the folder has other content.
        DataError: a record's id is no hash.
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as there:
            _fill(Path(there), sorted(found, key=_place), by, rules, left_out)
            for name in _OURS:
                _replace(Path(there) / name, folder / name)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder / "index.html"


def _place(found: StoredRecord) -> tuple[object, ...]:
    """Return the gallery's sort key: by setting, cells without an attack last."""
    spec = found.record.spec
    given = json.dumps(spec.parameters, sort_keys=True)
    return (
        spec.attack == "none",
        spec.target,
        spec.cut,
        spec.data,
        spec.size,
        spec.profile,
        spec.defense,
        spec.attack,
        given,
        spec.seed,
        key_of(found.record),
    )


def _replace(new: Path, old: Path) -> None:
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    new.replace(old)


def _fill(
    folder: Path,
    found: Sequence[StoredRecord],
    by: By,
    rules: Rules,
    left_out: Callable[[str], None],
) -> None:
    """Write all files of the page into an empty folder."""
    for name in _FOLDERS:
        (folder / name).mkdir()
    records = [one.record for one in found]
    names = plugin_names(records)
    cards = []
    for one in found:
        stem = file_stem(one.record)
        picture, problem = _picture(one)
        if problem:
            left_out(problem)
        if picture is not None and not (folder / picture.file).exists():
            (folder / picture.file).write_bytes(picture.content)
        _write_script(folder / "cells" / f"{stem}.js", stem, gallery.details(one.record))
        cards.append(gallery.card(one.record, names, picture, unusable=bool(problem)))
    _write_assets(folder / "assets")
    _write_index(folder, records, cards, by, rules)


def _picture(found: StoredRecord) -> tuple[Picture | None, str]:
    """Return a record's picture, and why there is none although the record names one."""
    try:
        return picture_of(found), ""
    except DataError as error:
        return None, str(error)


def _write_assets(folder: Path) -> None:
    for asset in resources.files("splitsec.leaderboard.web").joinpath("assets").iterdir():
        if asset.name.endswith((".css", ".js")):
            _write(folder / asset.name, asset.read_text(encoding="utf-8"))
    _write(folder / "plotly.min.js", get_plotlyjs())


def _write_index(
    folder: Path,
    records: Sequence[Record],
    cards: Sequence[dict[str, Any]],
    by: By,
    rules: Rules,
) -> None:
    ranked = {kind: rank(records, kind, *rules) for kind in content.KINDS}
    rankings = {str(kind): content.tables(own, kind, records) for kind, own in ranked.items()}
    boards = [
        table for groups in rankings.values() for tables in groups.values() for table in tables
    ]
    fronts, curves = front.answers(ranked["defenses"])
    charts = {table.key: drawn for table in boards if (drawn := content.chart(table))} | curves
    flags = gallery.flag_words(records)
    data = {
        "floor": rules.floor,
        "flags": flags,
        "charts": charts,
        "members": {table.key: [row.members for row in table.rows] for table in boards},
        "cells": cards,
    }
    _write_script(folder / "assets" / "data.js", "page", data)
    days = sorted(one.provenance.created[:10] for one in records)
    specs = [one.spec for one in records]
    versions = sorted({one.provenance.packages.get("splitsec", "") for one in records} - {""})
    page = render(
        "index.html.j2",
        mark=Markup(MARK),
        open=by,
        floor=rules.floor,
        rankings=rankings,
        fronts=fronts,
        charts=charts,
        flags=flags,
        counts={
            "cells": len(records),
            "seeds": len({spec.seed for spec in specs}),
            "attacks": len({spec.attack for spec in specs} - {"none"}),
            "defenses": len({spec.defense for spec in specs} - {"none"}),
        },
        filters={
            name: content.choices(getattr(spec, name) for spec in specs)
            for name in ("target", "cut", "data", "profile", "attack", "defense", "seed")
        },
        days=list(dict.fromkeys((days[0], days[-1]))),
        versions=versions,
        bibtex=Markup(html.escape(bibtex(versions, days[-1][:4]))),
        shared=sum(one.labels_shared() is True for one in records),
        claims=sum(not is_official(one) for one in records),
        unsigned=any(is_official(one) and one.signature is None for one in records),
    )
    _write(folder / "index.html", page)


def _write_script(file: Path, name: str, value: dict[str, Any]) -> None:
    """Write values as a script, since a page opened from disk can load no other data."""
    text = json.dumps(all_text(without_folders(value)), separators=(",", ":"), allow_nan=False)
    _write(file, f"splitsec.take({json.dumps(name)},{text});\n")


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
