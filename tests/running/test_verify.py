"""Records checked and run again: agreement is said, and another cell is not taken for the same."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from splitsec import cli
from splitsec.cli.exit_codes import Exit
from splitsec.cli.verify import command
from splitsec.cli.verify_in_sandbox import run_confined
from splitsec.data.secret import SECRET_FILE_VARIABLE, SECRET_VARIABLE, secret_from
from splitsec.errors import DataError, UsageError
from splitsec.isolation import Isolation
from splitsec.plugins.loading import load_plugin
from splitsec.records.agreement import TOLERANCES, compare, parse_tolerances
from splitsec.records.official import SUBMISSION
from splitsec.records.reading import load_record
from splitsec.records.record import Evidence, Leakage, Record
from splitsec.records.store import load_records, write_record
from splitsec.running.verification import read_claims, sources_of
from support.claims import MINE, dry, evaluate, first, rewrite, run
from support.records import make_ensemble, make_record


def run_refused(*words: object) -> str:
    """Return what is said of words that the command refuses."""
    done = CliRunner().invoke(command, [str(one) for one in words])
    assert done.exit_code == 2
    return done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "my_defense.py").write_text(MINE)
    assert [one.status for one in evaluate(folder, seed=range(2))] == ["ok", "ok"]
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder, whose records name the copied source."""
    folder = tmp_path / "mine"
    shutil.copytree(made, folder)
    for file in sorted((folder / "results").glob("*/record.json")):
        rewrite(file, plugin=str(folder / "my_defense.py"))
    return folder


def test_the_same_cells_are_identical_and_the_verdict_is_kept(mine: Path, tmp_path: Path) -> None:
    result = run(mine / "results", "--output", tmp_path / "again", "--json")
    assert result.return_value == Exit.OK, result.output
    assert [json.loads(line)["outcome"] for line in result.stdout.splitlines()] == ["identical"] * 2
    again = load_records([tmp_path / "again"])
    assert [one.evidence for one in again] == [Evidence(agreement="identical")] * 2
    assert {one.cell_id for one in again} == {one.cell_id for one in load_records([mine])}


def test_numbers_that_were_changed_differ(mine: Path, tmp_path: Path) -> None:
    record = load_record(first(mine))
    assert record.utility is not None
    better = record.utility.model_copy(update={"accuracy": record.utility.accuracy + 0.2})
    rewrite(first(mine), utility=better)
    result = run(first(mine), "--output", tmp_path / "again")
    assert result.return_value == Exit.FAILED
    assert "differs: none against my-defense" in result.stdout
    assert "accuracy" in result.stdout and "-0.2000" in result.stdout
    (kept,) = load_records([tmp_path / "again"])
    assert kept.evidence == Evidence(agreement="differs")
    loose = run(first(mine), "--output", tmp_path / "again", "--tolerance", "utility=0.3")
    assert (loose.return_value, loose.stdout.partition(":")[0]) == (Exit.OK, "within tolerance")


def test_a_sample_is_run_and_the_rest_is_checked(mine: Path) -> None:
    result = run(mine / "results", "--sample", 1, "--seed", 7, "--json")
    said = [json.loads(line)["outcome"] for line in result.stdout.splitlines()]
    assert sorted(said) == ["identical", "not run"]
    assert "1 identical" in result.stderr and "1 not run" in result.stderr


def test_another_source_is_another_cell(mine: Path) -> None:
    (mine / "my_defense.py").write_text(MINE + "\nraise RuntimeError('imported')\n")
    code, (one, other) = dry(mine / "results")
    assert code == Exit.FAILED
    assert one["outcome"] == other["outcome"] == "could not be run"
    (problem,) = one["problems"]
    assert "the source of defense 'my-defense' here is not the record's" in problem
    assert "it is another cell" in problem


def test_a_source_that_is_not_here_can_be_named(mine: Path, tmp_path: Path) -> None:
    rewrite(first(mine), plugin="./work/my_defense.py")
    code, (said,) = dry(first(mine))
    assert code == Exit.FAILED
    assert "say where its source is with --plugin my-defense=PATH" in said["problems"][0]
    moved = (mine / "my_defense.py").rename(tmp_path / "renamed.py")
    code, (said,) = dry(first(mine), "--plugin", f"my-defense={moved}")
    assert (code, said["problems"]) == (Exit.OK, [])
    with pytest.raises(UsageError, match=r"is not of the form my-attack=\./my_attack"):
        raise_of("--plugin", "my-defense", first(mine))


def raise_of(*words: object) -> None:
    raise run(*words).exception or AssertionError("it was not refused")


def test_a_source_is_found_above_the_record(mine: Path) -> None:
    rewrite(first(mine), plugin="my_defense.py:Mine")
    assert dry(first(mine))[0] == Exit.OK


def test_what_is_changed_without_a_run_is_said(mine: Path) -> None:
    record = load_record(first(mine))
    changes: dict[str, dict[str, Any]] = {
        "it uses protocol 3": {"protocol": 3},
        "the images of phantom-fundus here are not": {"data": record.data | {"sha256": "0" * 64}},
        "its cell id does not match": {"spec": record.spec.model_copy(update={"profile": "paper"})},
        "does not tell the source of its defense 'my-defense'": {
            "provenance": record.provenance.model_copy(update={"plugins": {}})
        },
    }
    for says, change in changes.items():
        write_record(first(mine).parent, record.model_copy(update=change))
        code, (said,) = dry(first(mine))
        assert code == Exit.FAILED
        assert any(says in problem for problem in said["problems"]), said


def test_a_broken_record_is_one_problem_of_several(mine: Path) -> None:
    text = first(mine).read_text()
    first(mine).write_text(text.replace('"seed": 0', '"seed": 5', 1))
    code, (broken, whole) = dry(mine / "results")
    assert code == Exit.FAILED
    assert "its seal does not fit" in broken["problems"][0]
    assert whole["outcome"] == "not run" and not whole["problems"]
    unsealed = json.loads(text) | {"seal": None}
    first(mine).write_text(json.dumps(unsealed))
    assert "has no seal" in dry(mine / "results")[1][0]["problems"][0]


def test_another_core_is_noted(mine: Path) -> None:
    record = load_record(first(mine))
    rewrite(first(mine), provenance=record.provenance.model_copy(update={"core": "0" * 64}))
    code, (said,) = dry(first(mine))
    assert code == Exit.OK
    assert "splitsec's own source here is not the record's" in said["notes"][0]


def test_records_are_not_compared_with_themselves(mine: Path) -> None:
    with pytest.raises(UsageError, match="would be compared with itself"):
        raise_of(mine / "results", "--output", mine)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no record\.json under"):
        raise_of(tmp_path)


def test_a_secret_partition_is_checked_when_it_is_revealed(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SECRET_VARIABLE, SECRET_FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    secret, other = tmp_path / "secret", tmp_path / "other"
    secret.write_text("s" * 40)
    other.write_text("o" * 40)
    shutil.rmtree(mine / "results")
    with secret_from(secret):
        evaluate(mine, defense="none")
    code, (said,) = dry(first(mine))
    assert code == Exit.FAILED and "which is not here" in said["problems"][0]
    code, (said,) = dry(first(mine), "--partition-secret-file", other)
    assert code == Exit.FAILED and "is not the one of this partition" in said["problems"][0]
    result = run(first(mine), "--partition-secret-file", secret)
    assert result.return_value == Exit.OK
    assert result.stdout.startswith("identical:")


def test_a_measure_may_be_a_little_off_and_not_more() -> None:
    claimed = make_record()
    assert claimed.leakage is not None and claimed.leakage.value is not None
    for by, agreement in (
        (0.0, "identical"),
        (0.9 * TOLERANCES["leakage"], "within tolerance"),
        (1.1 * TOLERANCES["leakage"], "differs"),
        (-1.1 * TOLERANCES["leakage"], "differs"),
    ):
        moved = claimed.leakage.model_copy(update={"value": claimed.leakage.value + by})
        found = compare(claimed, claimed.model_copy(update={"leakage": moved}))
        assert found.agreement == agreement
        assert [one.measure for one in found.differences] == (["leakage"] if by else [])


def test_what_a_member_of_an_ensemble_recovered_is_compared() -> None:
    claimed = make_ensemble()
    first, *others = claimed.members
    assert first.held_out is not None

    def moved(by: float) -> Record:
        assert first.held_out is not None
        assert first.held_out.leakage is not None
        scores = first.held_out.model_copy(update={"leakage": first.held_out.leakage + by})
        one = first.model_copy(update={"held_out": scores, "seconds": 99.0})
        return claimed.model_copy(update={"members": (one, *others)})

    assert compare(claimed, moved(0.0)).agreement == "identical"
    assert compare(claimed, moved(0.01)).agreement == "within tolerance"
    (found,) = compare(claimed, moved(0.1)).differences
    assert (found.measure, found.within) == ("a held_out leakage", False)


def of_seeds(*leakages: float) -> list[Record]:
    """Return one cell's records of several seeds, which differ in the headline alone."""
    return [
        make_record(seed=seed).model_copy(
            update={"leakage": Leakage(value=value, victims="training")}
        )
        for seed, value in enumerate(leakages)
    ]


def test_a_claim_of_another_machine_lies_where_another_seed_would() -> None:
    rerun, *others = of_seeds(0.62, 0.60, 0.66, 0.58, 0.64)
    for value, agreement in ((0.70, "within prediction"), (0.55, "within prediction")):
        (claimed,) = of_seeds(value)
        assert compare(claimed, rerun).agreement == "differs"
        found = compare(claimed, rerun, others=others)
        assert found.agreement == agreement
        (leakage,) = found.differences
        assert leakage.low is not None and leakage.low < value
    (claimed,) = of_seeds(0.99)
    assert compare(claimed, rerun, others=others).agreement == "differs"
    assert compare(claimed, rerun, others=others[:1]).agreement == "differs", "two seeds tell none"
    (close,) = of_seeds(0.63)
    assert compare(close, rerun, others=others).agreement == "within tolerance"


def test_few_honest_claims_of_another_machine_are_refused() -> None:
    draws = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        claimed, rerun, *others = of_seeds(*draws.normal(0.5, 0.05, size=6))
        rerun = rerun.model_copy(update={"cell_id": claimed.cell_id})
        refused += compare(claimed, rerun, others=others).agreement == "differs"
    assert refused <= 5


def elsewhere(file: Path, **changes: Any) -> None:
    """Rewrite a record as if another processor had made it."""
    provenance = load_record(file).provenance.model_copy(update={"processor": "another, AVX9"})
    rewrite(file, provenance=provenance, **changes)


def with_accuracy(file: Path, by: float) -> dict[str, Any]:
    utility = load_record(file).utility
    assert utility is not None
    return {"utility": utility.model_copy(update={"accuracy": utility.accuracy + by})}


def test_other_seeds_are_run_for_a_claim_of_another_machine(mine: Path, tmp_path: Path) -> None:
    elsewhere(first(mine), **with_accuracy(first(mine), -0.2))
    words = (first(mine), "--output", tmp_path / "again", "--seeds", "4", "--json")
    result = run(*words)
    said = json.loads(result.stdout)
    assert "compared with 4 seeds that were run here" in said["notes"]
    (accuracy,) = said["differences"]
    assert accuracy["measure"] == "accuracy"
    assert accuracy["low"] < accuracy["rerun"] < accuracy["high"]
    assert said["outcome"] == ("within prediction" if accuracy["within"] else "differs")
    (kept,) = load_records([tmp_path / "again"])
    assert kept.evidence.agreement == said["outcome"], "the other seeds are no part of it"
    seeds = {load_record(one).spec.seed for one in (tmp_path / "again").rglob("record.json")}
    assert seeds == {0, 1, 2, 3}


def test_the_same_machine_is_promised_the_same_numbers(mine: Path, tmp_path: Path) -> None:
    rewrite(first(mine), **with_accuracy(first(mine), 0.01))
    result = run(first(mine), "--output", tmp_path / "again", "--json")
    said = json.loads(result.stdout)
    assert said["outcome"] == "within tolerance"
    assert said["notes"] == ["on the same kind of machine the numbers should be identical"]
    rewrite(first(mine), **with_accuracy(first(mine), 0.2))
    result = run(first(mine), "--output", tmp_path / "again", "--json")
    said = json.loads(result.stdout)
    assert (said["outcome"], said["notes"]) == ("differs", []), "no other seed excuses it"
    assert not (tmp_path / "again" / ".seeds").exists()


def test_two_seeds_are_too_few_for_a_prediction(mine: Path) -> None:
    result = run_refused(first(mine), "--seeds", "2")
    assert "is not in the range x>=3" in result


def test_a_measure_that_is_missing_differs() -> None:
    claimed = make_record()
    assert claimed.leakage is not None
    without = claimed.leakage.model_copy(update={"value": None})
    (found,) = compare(claimed, claimed.model_copy(update={"leakage": without})).differences
    assert not found.within and found.difference is None


def test_an_outcome_that_is_other_differs() -> None:
    failed = make_record(status="failed", reason="it diverged")
    found = compare(make_record(), failed)
    assert found.agreement == "differs"
    assert found.sentence == "it is claimed to be ok, and here it is failed (it diverged)"


def test_what_may_differ_between_machines_is_not_compared() -> None:
    claimed = make_record()
    other = claimed.model_copy(
        update={
            "timings": {"attack": 9.0},
            "flags": ["isolated"],
            "notes": ["other words"],
            "evidence": Evidence(origin="claimed"),
        }
    )
    assert compare(claimed, other).agreement == "identical"


@pytest.mark.parametrize("text", ["leakage", "leakage=-1", "leakage=nan", "leakage=wide"])
def test_a_tolerance_is_a_number(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not of the form leakage=0\.05, 0 or more"):
        parse_tolerances((text,))


def test_an_unknown_tolerance_has_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'leakage'"):
        parse_tolerances(("leakge=1",))


# What a stranger's defense can do.

CURIOUS = '''"""Half of what is sent, and whatever it can get at."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from splitsec import Attack, Defense, Parameters, ThreatModel

def tried(what):
    try:
        return str(what())
    except OSError as error:
        return type(error).__name__

def read(*path):  # by another program: what Python itself opens would be refused
    done = subprocess.run(["cat", os.path.join(*path)], capture_output=True, text=True)
    return done.stdout or "nothing"

FOUND = {{
    "home": read({home!r}),
    "write": tried(lambda: Path({mark!r}).write_text("here")),
    "network": tried(lambda: socket.create_connection(("127.0.0.1", {port}), 2).close()),
    "processes": str(len([one for one in os.listdir("/proc") if one.isdigit()]) > 20),
    "data": read(os.environ.get("SPLITSEC_DATA", "/nothing"), "note"),
}}

class Mine(Defense):
    """Halves smashed data."""

    def release(self, images, smashed):
        print("the defense found", json.dumps(FOUND), file=sys.stderr)
        return smashed / 2

class Guess(Attack[Parameters]):
    """It guesses."""

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True)

    def reconstruct(self, smashed):
        if {data!r} in str(os.environ) or Path({data!r}).exists():
            raise ValueError("an attack sees the data")
        return torch.zeros(len(smashed), *self.view.image_shape)
'''


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_in_the_sandbox_a_defense_sees_images_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("home", "data", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "secret").write_text("a secret")
    (tmp_path / "data" / "note").write_text("the data")
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "work")
    file = Path("my_defense.py")
    with socket.create_server(("127.0.0.1", 0)) as server:
        file.write_text(
            CURIOUS.format(
                home=str(tmp_path / "home" / "secret"),
                mark=str(tmp_path / "home" / "mark"),
                port=server.getsockname()[1],
                data=str(tmp_path / "data"),
            )
        )
        (record,) = evaluate(
            Path(),
            attack=f"./{file}:Guess",
            defense=f"./{file}:Mine",
            isolation=Isolation(sandbox=True),
        )
        assert record.status == "ok", record.reason
        loaded = load_plugin("defense", f"./{file}:Mine").cls
        open_to_it = vars(sys.modules[loaded.__module__])["FOUND"]
        assert open_to_it["home"] == "a secret", "without the sandbox it is all open"
        assert (tmp_path / "home" / "mark").exists()
        (tmp_path / "home" / "mark").unlink()
        words = ["verify", "results", "--isolate", "--sandbox", "--output", "again"]
        assert cli.run(words) == Exit.OK
    found = json.loads(_heard(capfd, "the defense found"))
    assert found["data"] == "nothing", "it gets images, and no data set"
    assert found["processes"] == "False"
    assert (found["home"], found["write"]) == ("nothing", "FileNotFoundError")
    assert found["network"] == "OSError", "it has no sockets of the Internet"
    assert not (tmp_path / "home" / "mark").exists()
    (again,) = load_records([Path("again")])
    assert again.evidence.agreement == "identical"
    assert again.provenance.isolation == "sandbox"


def _heard(capfd: pytest.CaptureFixture[str], what: str) -> str:
    """Return what a plug-in printed of itself."""
    lines = capfd.readouterr().err.splitlines()
    return next(line for line in lines if what in line).partition(what)[2]


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_the_sandbox_is_shown_what_the_medmnist_package_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".medmnist").mkdir()
    (tmp_path / ".medmnist" / "octmnist.npz").touch()
    words = ["check", "data", "medmnist:set=octmnist", "--only", "available", "--json"]
    assert run_confined(words, (), ()) == Exit.OK
    assert "found at /tmp/.medmnist/octmnist.npz" in capfd.readouterr().out


def test_only_sources_that_records_are_of_are_shown(mine: Path) -> None:
    (claim, *_) = read_claims([mine / "results"])
    defense = mine / "my_defense.py"
    assert sources_of([claim], {}) == {defense}
    assert sources_of([], {"my-defense": "./other.py", "dcor": "dcor"}) == {Path("other.py")}
    defense.write_text(f"{MINE}\n# of another source")
    assert sources_of([claim], {}) == set()


def test_the_sandbox_and_a_cluster_do_not_go_together(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(mine / "results"), "--sandbox", "--executor", "ray"]
    assert cli.run(words) == Exit.USAGE
    assert "no network, which --executor ray needs" in capsys.readouterr().err


def test_the_sandbox_is_shown_which_submission_records_are_in(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Path] = []

    def seeing(words: list[str], places: list[Path], writable: list[Path]) -> list[Any]:
        assert words[-4:-1] == ["--sandbox", "--json", "--output"]
        assert writable == [Path(words[-1])]
        shown.extend(places)
        return []

    monkeypatch.setattr("splitsec.cli.verify_in_sandbox.heard_from_confined", seeing)
    (mine / SUBMISSION).write_text("# Mine")
    assert cli.run(["verify", str(mine / "results"), "--sandbox"]) == Exit.FAILED
    assert set(shown) == {mine / "results", mine / "my_defense.py", mine / SUBMISSION}
