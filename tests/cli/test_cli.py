"""The command line: exit codes, what goes to which stream, and what may not be imported."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import splitsec.cells.resolve
import splitsec.cli.examination
import splitsec.running.runs
from splitsec.cells.requests import Request
from splitsec.cli import Exit, group, run
from splitsec.cli.examination import Requirement
from splitsec.cli.progress_bars import duration, seconds_left, shown
from splitsec.devices import CPU, Device
from splitsec.errors import DataError
from splitsec.isolation import Isolation
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec
from splitsec.records.store import record_folder, write_record
from support.records import failed_record, make_record

EVAL = ["eval", "--attack", "fsha", "--defense", "dcor"]


@dataclass(frozen=True)
class FakeCell:
    """A cell that costs nothing to run."""

    seed: int
    device: Device = CPU

    @property
    def spec(self) -> CellSpec:
        return make_record(seed=self.seed).spec

    def session_key(self) -> str:
        return str(self.seed)


class FakeEvaluation:
    """Stands in for the evaluation; runs no cell, but remembers what was asked.

    Attributes:
        request: what ``resolve`` was given.
        isolation: what it was given beside.
        does: per seed, an exception to raise or a record to return.
        ran: seeds in the order that they ran in.
        devices: where the cells were to run.
    """

    def __init__(self) -> None:
        self.request = Request(attack="none")
        self.isolation: Isolation | None = None
        self.does: dict[int, Any] = {}
        self.ran: list[int] = []
        self.devices: list[str] = []

    def resolve(self, request: Request, isolation: Isolation | None) -> list[FakeCell]:
        self.request, self.isolation = request, isolation
        return [FakeCell(seed) for seed in request.seed]

    def run_cells(
        self, cells: list[FakeCell], output: Path, progress: Any, **_: Any
    ) -> Iterator[Record]:
        if "unreadable" in self.request.settings:
            raise DataError("the images are unreadable")
        self.devices = [cell.device.name for cell in cells]
        for cell in cells:
            progress.begin(cell.spec)
            record = self._run(cell, output, progress)
            progress.end(record)
            yield record

    def _run(self, cell: FakeCell, output: Path, progress: Any) -> Record:
        self.ran.append(cell.seed)
        with progress.stage("attack", 2) as stage:
            stage.advance(2, note="loss 0.1")
        print("a library says something")  # noqa: T201 - what the test is about
        todo = self.does.get(cell.seed)
        if isinstance(todo, BaseException):
            raise todo
        if callable(todo):
            todo()
        record = todo if isinstance(todo, Record) else make_record(seed=cell.seed)
        write_record(record_folder(output, record), record)
        return record


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEvaluation:
    monkeypatch.chdir(tmp_path)
    stand_in = FakeEvaluation()
    monkeypatch.setattr(splitsec.cells.resolve, "resolve", stand_in.resolve)
    monkeypatch.setattr(splitsec.running.runs, "run_cells", stand_in.run_cells)
    return stand_in


def spawn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "splitsec", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        **options,
    )


# What may be imported


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["eval", "--help"],
        ["doctor", "--help"],
        ["list", "attacks"],
        ["list", "defenses"],
        ["list", "targets"],
        ["list", "data"],
        ["show", "{record}"],
        ["show", "{record}", "--json"],
    ],
)
def test_torch_is_not_imported(arguments: list[str], tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    arguments = [argument.format(record=tmp_path) for argument in arguments]
    program = (
        f"import sys; from splitsec.cli import run; code = run({arguments!r}); "
        "loaded = [name for name in ('torch', 'matplotlib', 'splitsec.attacks.fsha') "
        "if name in sys.modules]; assert not loaded, loaded; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["list", "attacks"]])
def test_it_starts_with_click_alone(arguments: list[str]) -> None:
    program = (
        "import sys; before = set(sys.modules); from splitsec.cli import run; "
        f"code = run({arguments!r}); packages = {{name.split('.')[0] for name in sys.modules}}; "
        "print(*packages - before - set(sys.stdlib_module_names), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stderr.split()) == {"click", "splitsec"}


# Exit codes


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "1000"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
    ],
)
def test_threads_soon_sleep_while_they_wait_unless_a_person_chose(
    given: dict[str, str], found: str
) -> None:
    code = (
        "import os; from splitsec import cli; cli.run = lambda: print(os.getenv('{}')); cli.main()"
    )
    command = [sys.executable, "-c", code.format("GOMP_SPINCOUNT")]
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {name: value for name, value in os.environ.items() if name not in chosen} | given
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


def test_help_and_version() -> None:
    runner = CliRunner()
    for arguments in ([], ["--help"], ["-h"]):
        text = runner.invoke(group, arguments).output
        for name in ("eval", "list", "show", "doctor"):
            assert f"  {name} " in text
    assert "0.1.0" in runner.invoke(group, ["--version"]).output
    assert run(["--help"]) == Exit.OK


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evla"], "did you mean 'eval'?"),
        ([*EVAL, "--sead", "1"], "--seed"),
        ([*EVAL, "--seed", "1", "--seeds", "2"], "give --seed or --seeds, not both"),
        ([*EVAL, "--seed", "-1"], "-1"),
        ([*EVAL, "--channels", "2"], "'2' is not one of"),
        (["eval", "--attack", "fhsa"], "unknown attack 'fhsa'; did you mean 'fsha'?"),
        (["eval", "--attack", "fsha", "--defense", "dcro"], "did you mean 'dcor'?"),
        ([*EVAL, "--target", "resnt"], "did you mean 'resnet'?"),
        ([*EVAL, "--data", "retinamnst"], "did you mean 'retinamnist'?"),
        ([*EVAL, "--profile", "quik"], "did you mean 'quick'?"),
        ([*EVAL, "--set", "attack.fsha.iteration=5"], "did you mean 'iterations'?"),
        ([*EVAL, "--set", "attack.fsha.iterations=many"], "iterations"),
        ([*EVAL, "--set", "nonsense"], "--set 'nonsense'"),
        ([*EVAL, "--cut", "99"], "cut 99"),
        ([*EVAL, "--cut", "two"], "--cut 'two'"),
        ([*EVAL, "--shard", "3"], "--shard '3' is not of the form 2/5"),
        ([*EVAL, "--shard", "0/2"], "--shard '0/2' is not of the form 2/5"),
        ([*EVAL, "--shard", "3/2"], "--shard '3/2' is not of the form 2/5"),
        ([*EVAL, "--address", "here:1"], "--address is for a Ray cluster; add --executor ray"),
        ([*EVAL, "--gpus", "1"], "--gpus is for a Ray cluster; add --executor ray"),
        ([*EVAL, "--executor", "ray", "--workers", "2"], "--workers is for this machine"),
        ([*EVAL, "--executor", "ray", "--gpus", "1.5"], "--gpus 1.5: a part of one GPU"),
        ([*EVAL, "--device", "gpu"], "--device 'gpu' is not auto, cpu, cuda, cuda:1 or mps"),
        ([*EVAL, "--executor", "ray", "--device", "cuda"], "a Ray cluster has --gpus"),
        ([*EVAL, "--sandbox", "--device", "cuda"], "--sandbox shows no GPU to what runs in it"),
        (["check", "dcor", "--sandbox", "--device", "mps"], "--sandbox shows no GPU"),
        (["check", "dcor", "--device", "gpu"], "--device 'gpu' is not auto, cpu"),
        ([*EVAL, "--size", "2"], "size"),
        (["eval", "--attack", "./nowhere.py"], "nowhere.py"),
        (["list", "everything"], "'everything' is not one of"),
        (["show", "nowhere"], "nowhere"),
    ],
)
def test_usage_errors_are_a_sentence_and_exit_4(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == Exit.USAGE
    shown_to_person = capsys.readouterr()
    assert says in shown_to_person.err
    assert "Traceback" not in shown_to_person.err
    assert shown_to_person.out == ""
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", '{"cell_id": 3}', "\x00"):
        (tmp_path / "record.json").write_text(text)
        assert run(["show", str(tmp_path)]) == Exit.USAGE
        assert "not a splitsec record" in capsys.readouterr().err


def test_all_cells_ok(fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*EVAL, "--seeds", "2"]) == Exit.OK
    said = capsys.readouterr()
    assert said.out.count("recovered 62%") == 2
    assert "cell 2 of 2" in said.err
    assert "attack: 0 s (loss 0.1)" in said.err
    assert fake.ran == [0, 1]
    assert len(list(Path("results").iterdir())) == 2


def test_options_reach_the_evaluation(fake: FakeEvaluation) -> None:
    arguments = [*EVAL, "--seed", "7", "--cut", "2,3", "--set", "a=1", "--set", "b=2"]
    assert run([*arguments, "--threads", "3", "--channels", "1", "--output", "o"]) == Exit.OK
    assert fake.ran == [7]
    isolation = fake.isolation
    assert isolation is not None
    assert (isolation.attacks, isolation.sandbox) == ("others", False)
    assert isolation.hidden == (str(Path("o").absolute()),)
    assert fake.request == Request(
        attack="fsha",
        defense="dcor",
        cut=(2, 3),
        channels=1,
        seed=7,
        settings=("a=1", "b=2"),
        threads=3,
    )


@pytest.mark.parametrize(
    ("gpus", "words", "device"),
    [
        (0, [], "cpu"),
        (2, [], "cuda:0"),
        (2, ["--device", "cuda:1"], "cuda:1"),
        (2, ["--device", "cpu"], "cpu"),
    ],
)
def test_cells_run_where_they_are_asked_to(
    gpus: int,
    words: list[str],
    device: str,
    fake: FakeEvaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert run([*EVAL, "--seeds", "2", *words]) == Exit.OK
    assert fake.devices == [device, device]


def test_a_shard_runs_and_prints_its_cells_alone(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*EVAL, "--seeds", "5", "--shard", "2/2", "--json"]) == Exit.OK
    said = capsys.readouterr()
    assert fake.ran == [1, 3]
    assert [json.loads(line)["spec"]["seed"] for line in said.out.splitlines()] == [1, 3]
    assert "2 of 2 cells done" in said.err
    assert run([*EVAL, "--seeds", "1", "--shard", "2/2"]) == Exit.OK
    assert "shard 2/2: the grid has fewer sessions" in capsys.readouterr().err
    assert fake.ran == [1, 3]


def test_some_cells_failed(fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]) -> None:
    fake.does[0] = failed_record(0)
    assert run([*EVAL, "--seeds", "2"]) == Exit.FAILED
    assert fake.ran == [0, 1]
    said = capsys.readouterr()
    assert "training diverged at step 7" in said.out
    assert "1 of 2 cells done, 1 failed" in said.err


def test_a_skipped_cell_is_no_failure(fake: FakeEvaluation) -> None:
    fake.does[0] = failed_record().model_copy(update={"status": "skipped"})
    assert run(EVAL) == Exit.OK


def test_ctrl_c_keeps_finished_cells(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.does[1] = lambda: signal.raise_signal(signal.SIGINT)
    assert run([*EVAL, "--seeds", "3"]) == Exit.INTERRUPTED
    assert fake.ran == [0, 1]
    (folder,) = Path("results").iterdir()
    assert load_record(folder).spec.seed == 0
    said = capsys.readouterr().err
    assert "interrupted" in said
    assert "Traceback" not in said


def test_an_internal_error_shows_its_traceback(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.does[0] = ZeroDivisionError("a defect")
    assert run(EVAL) == Exit.INTERNAL
    said = capsys.readouterr()
    assert "Traceback" in said.err
    assert "ZeroDivisionError: a defect" in said.err
    assert said.out == ""


def test_an_empty_grid(fake: FakeEvaluation) -> None:
    assert run([*EVAL, "--seeds", "0"]) == Exit.EMPTY
    assert fake.ran == []
    assert not Path("results").exists()


def test_data_that_cannot_be_loaded(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*EVAL, "--set", "unreadable"]) == Exit.USAGE
    assert fake.ran == []
    assert capsys.readouterr().err.strip().endswith("error: the images are unreadable")


def test_an_output_that_cannot_be_written_is_said_before_any_cell(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    assert run([*EVAL, "--output", "file/below"]) == Exit.USAGE
    assert fake.ran == []
    assert "cannot write" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["file"]


# Streams


def test_json_is_the_only_thing_on_stdout(
    fake: FakeEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.does[1] = failed_record(1)
    assert run([*EVAL, "--seeds", "2", "--json"]) == Exit.FAILED
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [Record.model_validate_json(line).spec.seed for line in lines] == [0, 1]
    assert "a library says something" in said.err


def test_show_prints_a_record_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = write_record(tmp_path, make_record())
    for place in (tmp_path, tmp_path / "record.json"):
        assert run(["show", str(place), "--json"]) == Exit.OK
        assert Record.model_validate_json(capsys.readouterr().out) == record
        assert run(["show", str(place)]) == Exit.OK
        text = capsys.readouterr().out
        assert "recovered 62%" in text
        assert str(tmp_path / "panel.png") in text


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("attacks", "fsha"),
        ("defenses", "dcor"),
        ("targets", "resnet"),
        ("data", "phantom-fundus"),
    ],
)
def test_list(what: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what]) == Exit.OK
    assert any(line.startswith(f"{name} ") for line in capsys.readouterr().out.splitlines())
    assert run(["list", what, "--json"]) == Exit.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    row = next(row for row in rows if row["name"] == name)
    assert row["summary"]
    assert set(row) == {"name", "summary", "origin"}


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    command = [sys.executable, "-m", "splitsec", "show", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read().decode()
    assert "Traceback" not in complaint
    assert "BrokenPipe" not in complaint


def test_ascii_terminals(tmp_path: Path) -> None:
    write_record(tmp_path, make_record())
    done = spawn("show", str(tmp_path), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "recovered 62%" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("splitsec eval --attack fs", "fsha"),
        ("splitsec eval --defense none,dc", "none,dcor"),
        ("splitsec eval --target res", "resnet"),
        ("splitsec eval --data ret", "retinamnist"),
        ("splitsec eval --profile st", "standard"),
        ("splitsec sh", "show"),
    ],
)
def test_shell_completion(words: str, offered: str) -> None:
    last = len(words.split()) - 1
    environment = {
        "_SPLITSEC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(last),
    }
    done = spawn(env={**os.environ, **environment})
    assert f"plain,{offered}" in done.stdout.splitlines()


# Doctor


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path))
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    yield tmp_path


def test_doctor(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == Exit.OK
    text = " ".join(capsys.readouterr().out.split())
    for part in ("torch ", "torchvision ", "CPU cores", "LPIPS weights", "memory", "writable"):
        assert part in text
    assert "absent data set diabetic-retinopathy unpack Kaggle's" in text
    assert "data set medmnist any 2D set: --data medmnist:set=NAME" in text
    assert "The default command can run" in text


def test_doctor_as_json(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == Exit.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {row["what"]: Requirement(**row) for row in rows}
    assert found["data set phantom-fundus"].ok
    assert found["data set phantom-fundus"].needed
    assert str(healthy / "cache") in found["cache folder"].sentence
    assert len(found) == len(rows)


def test_doctor_says_how_to_mend_a_torchvision_that_does_not_fit(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import_module = splitsec.cli.examination.importlib.import_module

    def broken(name: str) -> Any:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")
        return import_module(name)

    monkeypatch.setattr(splitsec.cli.examination.importlib, "import_module", broken)
    assert run(["doctor"]) == Exit.FAILED
    text = " ".join(capsys.readouterr().out.split())
    assert "MISSING torchvision" in text
    assert "operator torchvision::nms does not exist" in text
    assert "pip install --upgrade torch torchvision" in text
    assert "cannot run: see torchvision above" in text


def test_doctor_without_a_cache_it_can_write(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (healthy / "file").write_text("in the way")
    monkeypatch.setenv("SPLITSEC_CACHE", str(healthy / "file" / "below"))
    assert run(["doctor"]) == Exit.OK
    text = " ".join(capsys.readouterr().out.split())
    assert "absent cache folder" in text
    assert "SPLITSEC_CACHE" in text


# Progress


def test_durations_and_time_left() -> None:
    assert [duration(s) for s in (0.2, 59.4, 185, 7800)] == [
        "0 s",
        "59 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
    assert seconds_left(10.0, 2, 8) == 30.0
    assert seconds_left(10.0, 0, 8) is None
    assert seconds_left(0.0, 2, 8) is None


def test_long_stages_report_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 50))
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr("splitsec.cli.progress_bars.time", clock)
    with shown(1) as progress, progress.stage("training", 4) as stage:
        for _ in range(4):
            stage.advance(note="loss [0.1]")
    assert capsys.readouterr().err.splitlines() == [
        "training: 2 of 4, 1 min 40 s left",
        "  training: 5 min 00 s (loss [0.1])",
    ]


def test_a_stage_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(DataError), shown(2) as progress, progress.stage("training", 4):
        raise DataError("no")
    assert "training" not in capsys.readouterr().err


# The real thing


@pytest.mark.slow
def test_a_real_cell(tmp_path: Path) -> None:
    small = ["attack.fsha.iterations=5", "attack.fsha.image_steps=5", "training.epochs=1"]
    settings = [word for setting in small for word in ("--set", setting)]
    done = spawn(*EVAL, "--json", *settings, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    record = Record.model_validate_json(line)
    assert record.status == "ok"
    assert record.spec.attack == "fsha"
    assert record.spec.defense == "dcor"
    folder = record_folder(tmp_path, record)
    assert load_record(folder) == record
    again = spawn(*EVAL, "--json", *settings, "--output", str(tmp_path))
    assert again.stdout == done.stdout, "the same command takes the record that is there"
    assert "1 of 1 cells have a record, which is used" in again.stderr
    assert set(record.artifacts) == {"panel", "curves", "pictures", "per_image"}
    for name in record.artifacts:
        check_artifact(artifact(folder, record, name))
    assert "scoring" in done.stderr
    assert "What the server recovered" in spawn("show", str(folder)).stdout
