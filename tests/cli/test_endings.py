"""How a command ends: by a signal, a machine that refuses to write, a closed pipe, or in ASCII."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.errors import OutputError, WorkerError
from splitsec.records.reading import load_record
from support.cells import COUNTS
from support.workers import gone

SETTINGS = ["--cut=1", "--size=16", "--threads=1", *(f"--set={one}" for one in COUNTS)]
SPLITSEC = [sys.executable, "-m", "splitsec"]
EVAL = [*SPLITSEC, "eval", "--target=fsha-client", *SETTINGS]

SLOW = '''"""Waits in fit()."""
import os, time
from pathlib import Path
import torch
from splitsec import Attack, ThreatModel

class Slow(Attack):
    """Says where it is, and waits until the file "go" is there."""

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel()

    def fit(self, progress):
        progress.message(f"waiting in {{os.getpid()}}")
        while not Path({go!r}).exists():
            time.sleep(0.05)

    def reconstruct(self, smashed):
        return torch.zeros(len(smashed), *self.view.image_shape)
'''


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize(("name", "workers"), [("SIGTERM", "1"), ("SIGHUP", "1"), ("SIGINT", "2")])
def test_a_signal_ends_a_run_in_order_and_it_resumes(
    name: str, workers: str, tmp_path: Path
) -> None:
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup, and so by what is started here")
    (tmp_path / "slow.py").write_text(SLOW.format(go=str(tmp_path / "go")))
    output = tmp_path / "out"
    command = [*EVAL, f"--attack=none,{tmp_path / 'slow.py'}", f"--output={output}"]
    command += ["--workers", workers, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        lines = [running.stderr.readline()]
        while "waiting in" not in lines[-1]:
            assert lines[-1], lines
            lines.append(running.stderr.readline())
        waiting = int(lines[-1].split()[-1])
        running.send_signal(getattr(signal, name))
        said = running.communicate()[1]
    assert running.returncode == Exit.INTERRUPTED, said
    first = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert f"{first}; finished cells are kept, and the same command resumes" in said
    assert "Traceback" not in said
    assert gone(waiting), "a process of the attack is left"
    kept = {one.spec.attack: one.status for one in map(load_record, output.glob("*/record.json"))}
    assert kept == {"none": "ok", "slow": "cancelled"}
    if name == "SIGHUP":
        return  # what is kept does not depend on the signal
    (tmp_path / "go").touch()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == Exit.OK, again.stderr
    assert "1 of 2 cells have a record" in again.stderr
    assert len(again.stdout.splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
def test_an_ignored_signal_stays_ignored() -> None:
    program = (
        "import signal, os\nfrom splitsec.interruption import interrupt_on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\ninterrupt_on_signals()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\nprint('alive')\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except KeyboardInterrupt as error:\n    print(error, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["alive", "SIGTERM"]
    assert done.returncode == -signal.SIGTERM, "the second one ends it at once"


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (OutputError("x is there already"), Exit.USAGE, "x is there already"),
        (WorkerError("a worker failed"), Exit.FAILED, "a worker failed"),
        *(
            (OSError(number, os.strerror(number), "place"), Exit.FAILED, os.strerror(number))
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
        ),
        (OSError(errno.ENOTSOCK, "no socket"), Exit.INTERNAL, "this is a defect"),
        (ValueError("ours"), Exit.INTERNAL, "this is a defect"),
    ],
    ids=str,
)
def test_what_the_machine_refuses_is_no_wrong_request(
    raised: Exception,
    code: Exit,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("splitsec.cli.eval.execute", fail)
    monkeypatch.setattr("splitsec.cli._give_up_output", lambda: None)  # stdout is the test's own
    assert run(["eval", "--attack", "none"]) == code
    said = capsys.readouterr().err
    assert says in said
    assert ("the same command resumes" in said) == (code == Exit.FAILED)
    assert ("Traceback" in said) == (code == Exit.INTERNAL)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_an_output_that_cannot_be_written_is_said_without_blame(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("splitsec.files.tempfile.mkstemp", refuse)
    words = [*EVAL[3:], "--attack=none", f"--output={tmp_path / 'out'}"]
    assert run(words) == Exit.FAILED
    assert os.strerror(number) in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        ["list", "attacks"],
        pytest.param(["show", "attack", "fsha"], marks=pytest.mark.slow),
        ["--help"],
    ],
)
def test_results_that_cannot_be_written_are_said_once(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*SPLITSEC, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == Exit.FAILED
    assert done.stderr.count("No space left on device") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's pipe")
@pytest.mark.parametrize(
    ("words", "kept"),
    [
        pytest.param(
            ["eval", "--attack=none", "--seeds=3", *EVAL[4:], "--json"],
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["eval", "--attack=none", "--seeds=3", *EVAL[4:]], True, marks=pytest.mark.slow
        ),
        (["list", "attacks"], False),
        pytest.param(["show", "attack", "fsha"], False, marks=pytest.mark.slow),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_reader_that_goes_away_ends_a_command_without_a_traceback(
    words: list[str], kept: bool, tmp_path: Path
) -> None:
    if kept:
        words = [*words, f"--output={tmp_path / 'out'}"]
    with subprocess.Popen(
        [*SPLITSEC, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == Exit.FAILED
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert ("finished cells are kept, and the same command resumes" in said) == kept
    if kept:
        assert len(list((tmp_path / "out").glob("*/record.json"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such locale")
@pytest.mark.parametrize("plug_in", [False, True])
def test_names_that_ascii_does_not_have(plug_in: bool, tmp_path: Path) -> None:
    """``LC_ALL=C PYTHONUTF8=0`` is what some cluster nodes and services have."""
    folder = tmp_path / "données, à moi"
    folder.mkdir()
    (folder / "défense.py").write_text(
        '"""Défense: rien."""\nfrom splitsec import Defense\n\n\nclass Own(Defense):\n'
        '    """Rien du tout, à vrai dire."""\n',
        encoding="utf-8",
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    plain.pop("PYTHONIOENCODING", None)

    def call(*words: str) -> str:
        done = subprocess.run(
            [*SPLITSEC, *words], capture_output=True, cwd=folder, env=plain, check=False
        )
        assert done.returncode == Exit.OK, done.stderr.decode()
        return done.stdout.decode()

    if plug_in:
        assert "Défense: rien." in call("show", "defense", "./défense.py")
        return
    assert call("check", "defense", "./défense.py", "--only", "documented")
    words = [*EVAL[4:], "--attack=none", "--defense", str(folder / "défense.py")]
    told = json.loads(call("eval", *words, "--output", "résultats", "--json"))
    assert told["spec"]["defense"] == "défense"
    (file,) = (folder / "résultats").glob("*/record.json")
    assert "défense" in call("show", str(file))


def test_click_has_the_interruption_as_the_cause() -> None:
    """The sentence names the signal, which click wraps."""
    from splitsec.interruption import Interruption

    @click.command()
    def stops() -> None:
        raise Interruption("SIGTERM")

    with pytest.raises(click.Abort) as caught:
        stops.main(args=[], standalone_mode=False)
    assert str(caught.value.__cause__) == "SIGTERM"
