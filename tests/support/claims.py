"""Records of a contributor that are verified: made, changed and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli.verify import command
from splitsec.errors import DataError, UsageError
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.store import write_record
from splitsec.running.runs import run_cells
from support.cells import COUNTS

TRAINING = ["training.epochs=4", "training.batch_size=4", "training.learning_rate=0.1"]
SETTINGS = [*COUNTS, *TRAINING]
"""Enough steps that seeds differ in accuracy."""

MINE = '''"""Half of what is sent."""

from splitsec import Defense


class Mine(Defense):
    """Halves smashed data, which changes nothing that anybody could want."""

    def release(self, images, smashed):
        return smashed / 2
'''


def evaluate(folder: Path, isolation: Isolation | None = None, **given: Any) -> list[Record]:
    """Run tiny cells of the defense in ``folder / "my_defense.py"`` into ``folder / "results"``."""
    asked = {"attack": "none", "defense": str(folder / "my_defense.py")} | given
    request = Request(target="fsha-client", cut=1, size=16, settings=SETTINGS, threads=1, **asked)
    cells = resolve(request, isolation)
    return list(run_cells(cells, folder / "results", Silent()))


def rewrite(file: Path, plugin: str | None = None, **changes: Any) -> None:
    """Change a record and seal it anew, as whoever sends one may."""
    record = load_record(file)
    if plugin is not None:
        plugins = {**record.provenance.plugins}
        plugins["defense"] = {**plugins["defense"], "spec": plugin}
        changes["provenance"] = record.provenance.model_copy(update={"plugins": plugins})
    if "utility" in changes:  # the values per image beside it would contradict it
        changes["artifacts"] = {}
    write_record(file.parent, record.model_copy(update=changes))


def first(folder: Path) -> Path:
    return sorted((folder / "results").glob("*/record.json"))[0]


def run(*words: object) -> Result:
    result = CliRunner().invoke(command, [str(one) for one in words], standalone_mode=False)
    if result.exception and not isinstance(result.exception, UsageError | DataError):
        raise result.exception
    return result


def dry(*words: object) -> tuple[int, list[dict[str, Any]]]:
    result = run(*words, "--dry-run", "--json")
    return result.return_value, [json.loads(line) for line in result.stdout.splitlines()]
