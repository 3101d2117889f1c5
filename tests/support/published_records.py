"""Records of a small benchmark and their page, for tests of the leaderboard's page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from PIL import Image

from splitsec.cli.exit_codes import Exit
from splitsec.cli.leaderboard import command
from splitsec.records.record import Record
from splitsec.records.store import record_folder, write_record
from support.records import SEEDS, cell

ALPHAS = (0.9, 0.1, 0.5)  # not in order: the page has to find it
PRIVATE = "/home/alice/secret plans"
HOSTILE = "<img src=x onerror=alert(1)>"


def make_records() -> list[Record]:
    """Return cells of two settings: strengths of a defense, one that breaks the model, failures."""
    records = []
    for seed in SEEDS:
        shift = 0.01 * seed
        for attack in ("fsha", "other"):
            records.append(
                cell(attack, "none", seed, 0.7 + shift, flags=["in-process", "randomised-defense"])
            )
            records += [
                cell(
                    attack,
                    "dcor",
                    seed,
                    0.7 - alpha / 2 + shift,
                    parameters={"alpha": alpha},
                    auc=0.9 - alpha / 10,
                )
                for alpha in ALPHAS
            ]
            records.append(cell(attack, "noise", seed, 0.0, auc=0.55 + shift / 10))
        records.append(cell("fsha", "none", seed, 0.5 + shift, spec={"data": "retinamnist"}))
        records.append(cell("none", "none", seed, None, threat_model=None, victims=None))
    reason = f"attack raised ValueError: {HOSTILE} ({PRIVATE}/mine.py, line 3)"
    records += [
        cell(
            "fsha",
            "late",
            seed,
            0.1 if seed else None,
            status="ok" if seed else "failed",
            reason=None if seed else reason,
        )
        for seed in SEEDS
    ]
    return [_called(record, number) for number, record in enumerate(records)]


def _called(record: Record, number: int) -> Record:
    provenance = record.provenance.model_copy(
        update={"command": ["splitsec", "run", f"{PRIVATE}/grid.toml"]}
    )
    return record.model_copy(
        update={
            "cell_id": hashlib.sha256(str(number).encode()).hexdigest(),
            "provenance": provenance,
            "artifacts": {},
        }
    )


def store(folder: Path, records: list[Record], **artifacts: Any) -> Path:
    """Write records; those that were scored have a picture of their own."""
    for number, record in enumerate(records):
        place = record_folder(folder, record)
        pictured = record.leakage is not None
        write_record(
            place,
            record.model_copy(
                update={"artifacts": ({"panel": "panel.png"} if pictured else {}) | artifacts}
            ),
        )
        if pictured:
            Image.new("RGB", (160, 90), (number, 80, 120)).save(place / "panel.png")
    return folder


def run(*arguments: object) -> Any:
    return CliRunner().invoke(command, [str(one) for one in arguments], standalone_mode=False)


def build(records: Path, output: Path, *options: str) -> Path:
    result = run(records, "--format", "html", "--output", output, *options)
    if result.exception:
        raise result.exception
    assert result.return_value == Exit.OK
    assert result.stdout == f"{output / 'index.html'}\n"
    return output


def publish_all(source: Path, folder: Path) -> list[Path]:
    """Write the publishable records of a store, and return their files in order."""
    assert run(source, "--format", "records", "--output", folder).return_value == Exit.OK
    return sorted(folder.glob("*/record.json"))


class Built(NamedTuple):
    """A page, and what it was made from."""

    records: list[Record]
    source: Path
    page: Path


def build_once(folder: Path) -> Built:
    """Return the page of all records, in a new folder."""
    records = make_records()
    source = store(folder / "results", records)
    return Built(records, source, build(source, folder / "page"))
