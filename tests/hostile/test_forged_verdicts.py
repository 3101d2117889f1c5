"""Strangers' code in the sandbox of ``verify`` that says more than the records which it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from splitsec import cli
from splitsec.cli.exit_codes import Exit
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.record import Evidence, Record
from splitsec.records.store import record_folder, write_record
from splitsec.running.verification import Checker, ClaimedRecord
from support.records import make_record


def verified(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: dict[str, Any] | None,
    ran: Record | None,
    *options: str,
    plugins: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Verify a claim; return the exit code and what is reported of it.

    Args:
        folder: for the claim and the store.
        monkeypatch: puts ``said`` and ``ran`` in place of a sandbox.
        capsys: hears the report.
        said: what the sandbox prints of the claim, or None for nothing.
        ran: the record that it writes, or None for none.
        *options: of the command.
        plugins: kind to the path of a plug-in that the claim is of.
    """
    claimed = make_record(evidence=Evidence(origin="claimed"))
    for kind, path in (plugins or {}).items():
        claimed.provenance.plugins[kind] = {"spec": path}
    file = write_record(record_folder(folder / "claims", claimed), claimed).folder

    def sandbox(words: list[str], shown: list[Path], writable: list[Path]) -> list[dict[str, Any]]:
        (store,) = writable
        if ran is not None:
            write_record(record_folder(store, ran), ran)
        where = str(next((folder / "claims").rglob("record.json")))
        return [] if said is None else [{"record": where, **said}]

    monkeypatch.setattr("splitsec.cli.verify_in_sandbox.heard_from_confined", sandbox)
    words = ["verify", str(folder / "claims"), "--sandbox", "--json", *options]
    code = cli.run([*words, "--output", str(folder / "again")])
    assert file is None or file.exists()
    (line,) = capsys.readouterr().out.splitlines()
    reported: dict[str, Any] = json.loads(line)
    return code, reported


IDENTICAL = {"outcome": "identical", "problems": []}


def test_a_verdict_of_the_sandbox_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_record().model_copy(update={"status": "failed", "reason": "it broke"})
    code, reported = verified(tmp_path, monkeypatch, capsys, IDENTICAL, other)
    assert (code, reported["outcome"]) == (Exit.FAILED, "differs")
    (kept,) = (tmp_path / "again").rglob("record.json")
    assert load_record(kept).evidence.agreement == "differs", "the verdict is written here"


def test_an_honest_run_is_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, reported = verified(tmp_path, monkeypatch, capsys, {"outcome": "differs"}, make_record())
    assert (code, reported["outcome"]) == (Exit.OK, "identical")


@pytest.mark.parametrize(
    ("said", "ran", "problem"),
    [
        (IDENTICAL, None, "its cell has no record of a run here"),
        (None, make_record(), "the run in the sandbox ended without a word about it"),
        (
            IDENTICAL | {"record": ["no text"]},
            make_record(),
            "the run in the sandbox ended without a word about it",
        ),
        ({"outcome": "not run"}, None, "its cell has no record of a run here"),
        (
            {"outcome": "identical", "problems": ["\x1b[2Jall is well"]},
            make_record(),
            " [2Jall is well",
        ),
    ],
)
def test_what_the_sandbox_leaves_out_could_not_be_run(
    said: dict[str, Any] | None,
    ran: Record | None,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, reported = verified(tmp_path, monkeypatch, capsys, said, ran)
    assert code == Exit.FAILED
    assert (reported["outcome"], reported["problems"]) == ("could not be run", [problem])


@pytest.mark.parametrize("kind", ["target", "data"])
def test_code_beside_the_scorer_is_run_only_by_who_has_read_it(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = make_record()
    name = getattr(record.spec, kind)
    theirs = tmp_path / "theirs.py"
    theirs.touch()
    plugins = {kind: str(theirs)}
    given = tmp_path, monkeypatch, capsys, IDENTICAL, record
    code, reported = verified(*given, plugins=plugins)
    assert (code, reported["outcome"]) == (Exit.FAILED, "could not be run")
    assert reported["problems"] == [
        f"{kind} {name!r} is not built in, so its code runs where the scores are made; read it, "
        f"then name it with --plugin {name}=PATH"
    ]
    code, reported = verified(*given, "--plugin", f"{name}={theirs}", plugins=plugins)
    assert (code, reported["outcome"]) == (Exit.OK, "identical")


def test_not_even_its_sandbox_runs_code_beside_the_scorer() -> None:
    record = make_record()
    record.provenance.plugins["target"] = {"spec": "theirs.py", "sha256": "0" * 64}
    claim = ClaimedRecord("theirs", None, record)
    Checker({}, Silent(), Isolation(sandbox=True)).check(claim)
    assert any("runs where the scores are made" in one for one in claim.problems)
    assert claim.cell is None
