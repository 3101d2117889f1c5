"""A submission holds what a reviewer needs, and says what is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from splitsec.cli.exit_codes import Exit
from splitsec.cli.submit import command
from splitsec.cli.verify import command as verify
from splitsec.errors import DataError, UsageError
from splitsec.leaderboard.submission import check, render
from splitsec.records.reading import load_record
from splitsec.records.record import PROTOCOL_VERSION, Record
from splitsec.records.store import load_records
from support.claims import MINE, dry, evaluate, first, rewrite
from support.records import cell


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "my_defense.py").write_text(MINE)
    statuses = [one.status for one in evaluate(folder, defense=f"none,{folder}/my_defense.py")]
    assert statuses == ["ok", "ok"]
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """Return a folder with a defense and the records of its cell and of the undefended one."""
    folder = tmp_path / "secret plans" / "mine"
    shutil.copytree(made, folder)
    for file in (folder / "results").glob("*/record.json"):
        if "my-defense" in file.parent.name:
            rewrite(file, plugin=str(folder / "my_defense.py"))
    return folder


def submit(*words: object) -> Result:
    result = CliRunner().invoke(command, [str(one) for one in words], standalone_mode=False)
    if result.exception:
        raise result.exception
    assert result.return_value == Exit.OK
    return result


def test_it_holds_claims_the_source_and_a_checklist(mine: Path, tmp_path: Path) -> None:
    output = tmp_path / "submissions" / "halves"
    said = submit(mine / "results", "--output", output)
    assert said.stdout == f"{output / 'SUBMISSION.md'}\n"
    assert (output / "plugins" / "defense" / "my_defense.py").read_text() == MINE
    records = load_records([output])
    assert [one.evidence.origin for one in records] == ["claimed"] * 2
    assert {one.cell_id for one in records} == {one.cell_id for one in load_records([mine])}
    written = [file.read_text() for file in output.rglob("*") if file.suffix in (".md", ".json")]
    assert not any("secret plans" in text for text in written)
    text = (output / "SUBMISSION.md").read_text()
    assert "# halves\nA submission of the defense my-defense." in text
    assert "| defense | my-defense | Halves smashed data, which changes nothing" in text
    assert "- defenses: my-defense, none" in text
    assert "- [x] The grid is complete.\n" in text
    assert "- [ ] Five seeds or more. **There is 1.**" in text
    assert (
        "- [ ] `splitsec check` passes for each plug-in: `splitsec check defense ./plugins/" in text
    )
    assert "splitsec verify ." in text
    assert "eval --attack none" in text


def test_who_has_the_folder_alone_can_verify_it(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(mine / "results", "--output", tmp_path / "halves")
    shutil.rmtree(mine)
    monkeypatch.chdir(tmp_path / "halves")
    ran = CliRunner().invoke(verify, [".", "--json"], standalone_mode=False)
    assert ran.return_value == Exit.OK, ran.output
    assert [json.loads(line)["outcome"] for line in ran.stdout.splitlines()] == ["identical"] * 2


def test_a_record_in_a_submission_says_that_it_is_a_claim(mine: Path, tmp_path: Path) -> None:
    output = tmp_path / "halves"
    submit(mine / "results", "--output", output)
    shutil.copy(first(mine), next((output / "records").glob("*/record.json")))
    code, said = dry(output)
    assert code == Exit.FAILED
    assert "does not say that it is a claim" in str(said)


def test_a_source_that_was_changed_since_is_refused(mine: Path, tmp_path: Path) -> None:
    (mine / "my_defense.py").write_text(MINE + "\n# better\n")
    with pytest.raises(DataError, match="is no longer the one of the records"):
        submit(mine / "results", "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_records_of_two_versions_are_refused(mine: Path, tmp_path: Path) -> None:
    file = next((mine / "results").glob("*my-defense*/record.json"))
    record = load_record(file)
    plugins = {**record.provenance.plugins}
    plugins["defense"] = {**plugins["defense"], "sha256": "0" * 64}
    other = mine / "results" / "older" / "record.json"
    shutil.copytree(file.parent, other.parent)
    rewrite(
        other,
        cell_id="1" * 64,
        provenance=record.provenance.model_copy(update={"plugins": plugins}),
    )
    with pytest.raises(DataError, match="are of two versions of defense 'my-defense'"):
        submit(mine / "results", "--output", tmp_path / "new")


def test_a_missing_source_can_be_named(mine: Path, tmp_path: Path) -> None:
    moved = (mine / "my_defense.py").rename(tmp_path / "my_defense.py")
    shutil.move(mine / "results", tmp_path / "elsewhere" / "results")
    with pytest.raises(UsageError, match="which is not here; say where its source is"):
        submit(tmp_path / "elsewhere", "--output", tmp_path / "new")
    submit(tmp_path / "elsewhere", "--output", tmp_path / "new", "--plugin", f"my-defense={moved}")
    assert (tmp_path / "new" / "plugins" / "defense" / "my_defense.py").is_file()


def test_a_folder_in_use_is_kept(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes").touch()
    with pytest.raises(UsageError, match="is in use; name a new folder"):
        submit(mine / "results", "--output", tmp_path / "new")


def test_results_of_built_in_methods_may_be_submitted(mine: Path, tmp_path: Path) -> None:
    shutil.rmtree(next((mine / "results").glob("*my-defense*")))
    submit(mine / "results", "--output", tmp_path / "new")
    assert not (tmp_path / "new" / "plugins").exists()
    text = (tmp_path / "new" / "SUBMISSION.md").read_text()
    assert "No plug-in: results of built-in methods" in text


def scored(attack: str, defense: str, seed: int, **changes: Any) -> Record:
    return cell(attack, defense, seed, 0.5, **{"protocol": PROTOCOL_VERSION} | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "failed", "reason": "it diverged"}, r"none of 2 cells is ok \(the first: it"),
        ({"protocol": 3}, "use protocol 3, and this splitsec uses protocol 5; run the older"),
    ],
)
def test_records_that_no_rank_comes_of_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        check([scored("fsha", "none", seed, **changes) for seed in range(2)])


def test_profiles_are_submitted_apart() -> None:
    mixed = [scored("fsha", "none", 0), scored("fsha", "none", 0, spec={"profile": "paper"})]
    with pytest.raises(DataError, match="use the profiles paper and quick, which are never"):
        check(mixed)


def test_the_checklist_says_what_is_missing() -> None:
    records = [scored("fsha", "none", seed) for seed in range(5)]
    records += [scored("other", "dcor", seed) for seed in range(4)]
    records.append(scored("fsha", "dcor", 0, status="failed", reason="it diverged"))
    text = render("mine", records, [])
    lines = {line[:5]: line for line in text.splitlines() if line.startswith("- [")}
    assert len(lines) == 2, "boxes with a cross and open ones"
    assert "positive control. **4 are missing, such as other on resnet cut 3" in text
    assert re.search(r"- \[ \] The grid is complete\. \*\*10 of 20 cells are there", text)
    assert "- [ ] No cell failed. **1 did; the records say why.**" in text
    assert "- [x] Five seeds or more.\n" in text
    assert "- **fsha**: Honest but curious" in text
    assert "cells: 9 ok, 1 failed" in text
    assert "flag in-process in 10 of 10 cells: attack and private data shared" in text
