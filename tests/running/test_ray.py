"""A real Ray cluster: the same records, and faults that cost no more than they must."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli.exit_codes import Exit
from splitsec.errors import UsageError, WorkerError
from splitsec.plugins.packing import PackedPlugin
from splitsec.progress import Silent
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.store import load_records, record_folder
from splitsec.running.executors import ray as executor
from splitsec.running.executors.ray import Ray
from splitsec.running.runs import run_cells
from support.cells import COUNTS
from support.workers import Telling, gone

DEFENSE = '''
"""A defense for a test."""
import os, subprocess, time
from pathlib import Path
from splitsec import Defense

class Under(Defense):
    def release(self, images, smashed):
        {body}
        return smashed
'''

# Waits on the node that is to be killed, and nowhere else.
ATTACK = '''
"""An attack for a test."""
import os, time
from pathlib import Path
from splitsec.attacks.adra import Adra

class Slow(Adra):
    def fit(self, progress):
        if mark := os.environ.get("SPLITSEC_TEST_MARK"):
            Path(mark).touch()
            time.sleep(600)
        super().fit(progress)
'''


def processes(folder: Path) -> list[str]:
    """Return the command lines of the processes of a cluster that keeps its files in a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node with one CPU; tests add others, and take them away."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a socket's path must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("TMPDIR", str(folder))  # of the nodes: who is killed leaves files behind
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        one = Cluster()
        one.add_node(num_cpus=1, include_dashboard=False)
        yield one
        one.shutdown()
        for _ in range(100):
            if not processes(folder):
                break
            time.sleep(0.1)
        assert not processes(folder)
    shutil.rmtree(folder)


@pytest.fixture
def second(cluster: Any) -> Iterator[None]:
    """Another node."""
    node = cluster.add_node(num_cpus=1, env_vars={"SPLITSEC_TEST_NODE": "second"})
    yield
    cluster.remove_node(node)


def grid(attack: str = "none", defense: str = "none", seeds: int = 1) -> list[Cell]:
    return resolve(
        Request(
            attack=attack,
            defense=defense,
            target="fsha-client",
            cut=1,
            size=16,
            seed=range(seeds),
            settings=COUNTS,
            threads=1,
        )
    )


def under_test(folder: Path, body: str) -> str:
    file = folder / "under_test.py"
    file.write_text(DEFENSE.format(body=body))
    return str(file)


def by_id(records: list[Record]) -> dict[str, Any]:
    return {one.cell_id: one.numbers() for one in records}


@pytest.mark.slow
def test_a_cluster_gives_the_same_records(cluster: Any, second: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    package = tmp_path / "under_test"
    package.mkdir()
    body = (
        "node = os.environ.get('SPLITSEC_TEST_NODE', 'first')\n"
        f"        Path({str(marks)!r}, f'{{node}}-{{os.getpid()}}').write_text(__file__)"
    )
    (package / "__init__.py").write_text("from .method import Under\n")
    (package / "method.py").write_text(DEFENSE.format(body=body))
    cells = grid("none,adra:epochs=1,queries=20", str(package), seeds=2)
    alone = list(run_cells(cells, tmp_path / "alone", Silent()))
    told = Telling()
    executor = Ray(cluster.address, keep_models=True)
    there = list(run_cells(cells, tmp_path / "there", told, executor=executor))
    assert all(record.status == "ok" for record in alone)
    assert len(there) == len(cells)
    assert by_id(there) == by_id(alone)
    assert sorted(told.cells) == sorted(cell.spec.title() for cell in cells)
    sources = {one.cell_id: one.provenance.plugins for one in alone}
    for record in there:
        folder = record_folder(tmp_path / "there", record)
        assert load_record(folder) == record
        assert record.seal
        assert record.provenance.plugins == sources[record.cell_id]
        assert "model" in record.artifacts
        for name in record.artifacts:
            check_artifact(artifact(folder, record, name))
    files = {file.name: file.read_text() for file in marks.iterdir()}
    assert files.pop(f"first-{os.getpid()}") == str(package / "method.py")
    assert {name.partition("-")[0] for name in files} == {"first", "second"}
    assert not any(file.startswith(str(tmp_path)) for file in files.values()), "its source travels"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Cell], dict[str, Any]]:
    """Cells of two sessions, and their numbers when they are run in this process."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(ATTACK)
    cells = grid(f"none,{folder / 'slow.py'}:Slow", seeds=2)
    return cells, by_id(list(run_cells(cells, folder, Silent())))


@pytest.mark.slow
@pytest.mark.parametrize(("most", "lost"), [(3, 0), (1, 1)])
def test_a_node_that_is_killed_costs_no_cell_unless_it_is_the_last_try(
    most: int,
    lost: int,
    cluster: Any,
    slow: tuple[list[Cell], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells, numbers = slow
    mark = tmp_path / "under way"
    doomed = cluster.add_node(num_cpus=1, env_vars={"SPLITSEC_TEST_MARK": str(mark)})

    def kill() -> None:
        for _ in range(3000):
            if mark.exists():
                break
            time.sleep(0.1)
        cluster.remove_node(doomed, allow_graceful=False)

    killing = threading.Thread(target=kill)
    killing.start()
    monkeypatch.setattr(executor, "_LOSSES", most)
    told = Telling()
    records = list(run_cells(cells, tmp_path / "out", told, executor=Ray(cluster.address)))
    killing.join()
    assert mark.exists(), "a cell was under way on the node"
    assert max(Counter(one.cell_id for one in records).values()) == 1
    assert len(records) == len(cells)
    failed = [one for one in records if one.status != "ok"]
    assert [one.status for one in failed] == ["failed"] * lost
    assert all("nodes of the cluster died" in (one.reason or "") for one in failed)
    assert sum("of the cluster died" in message for message in told.messages) == 1
    for record in records:
        assert record.status == "failed" or record.numbers() == numbers[record.cell_id]
    kept = {one.cell_id: one for one in load_records([tmp_path / "out"])}
    assert kept == {one.cell_id: one for one in records}


@pytest.mark.slow
def test_a_process_that_dies_costs_its_cell_alone(cluster: Any, tmp_path: Path) -> None:
    been = tmp_path / "been"
    body = (
        f"been = Path({str(been)!r})\n"
        "        if not been.exists():\n"
        "            been.touch()\n"
        "            os._exit(7)"
    )
    cells = grid("none,adra:epochs=1,queries=20", f"none,{under_test(tmp_path, body)}")
    told = Telling()
    records = list(run_cells(cells, tmp_path / "out", told, executor=Ray(cluster.address)))
    said = {(one.spec.attack, one.spec.defense): one for one in records}
    assert len(records) == len(said) == 4
    died = said.pop(("none", "under-test"))
    assert died.status == "failed"
    assert "its worker process died" in (died.reason or "")
    assert {one.status for one in said.values()} == {"ok"}
    assert not told.messages, "nothing is wrong with the cluster"


@pytest.mark.slow
def test_a_cell_that_hangs_is_ended_with_all_that_it_started(cluster: Any, tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    body = (
        "started = subprocess.Popen(['sleep', '600'])\n"
        f"        Path({str(mark)!r}).write_text(f'{{os.getpid()}} {{started.pid}}')\n"
        "        time.sleep(600)"
    )
    (cell,) = grid(defense=under_test(tmp_path, body))
    run = run_cells([cell], tmp_path / "out", Silent(), executor=Ray(cluster.address, timeout=40))
    (record,) = run
    assert record.status == "timeout"
    assert "it took longer than 40 seconds" in (record.reason or "")
    assert all(gone(int(pid)) for pid in mark.read_text().split())


def _older_core(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(executor, "core_sha256", lambda: "0")


def _other_source(patch: pytest.MonkeyPatch) -> None:
    def pack(plugin: Any) -> PackedPlugin:
        return PackedPlugin(
            Path(plugin.spec).name, {"under_test.py": DEFENSE.format(body="pass").encode()}
        )

    real = executor.pack_plugin
    patch.setattr(
        executor, "pack_plugin", lambda one: pack(one) if one.name == "under-test" else real(one)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("differ", "said"),
    [
        (_older_core, "splitsec here and where the run was started are not the same"),
        (_other_source, "a plug-in's source here and where the run was started are not the same"),
    ],
)
def test_a_node_where_the_cell_would_be_another_does_not_run_it(
    differ: Callable[[pytest.MonkeyPatch], None],
    said: str,
    cluster: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = tmp_path / "ran"
    cells = grid("none,adra", under_test(tmp_path, f"Path({str(ran)!r}).touch()"))
    differ(monkeypatch)
    records = list(run_cells(cells, tmp_path / "out", Silent(), executor=Ray(cluster.address)))
    assert [one.status for one in records] == ["failed", "failed"]
    for record in records:
        assert (record.reason or "").startswith("on node ")
        assert (record.reason or "").endswith(said)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("differ", "said"),
    [
        ("data", "the images here"),
        ("spec", "a parameter's file here"),
        ("protocol", "the protocol"),
    ],
)
def test_what_differs_on_a_node_is_named(differ: str, said: str) -> None:
    asked = dict.fromkeys(("data", "sources", "spec", "protocol"), "0")
    executor._check(asked, asked)
    with pytest.raises(WorkerError, match=f"^{said}"):
        executor._check(asked | {differ: "1"}, asked)


def spawn(cluster: Any, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    settings = [part for setting in COUNTS for part in ("--set", setting)]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "splitsec",
            "eval",
            "--target",
            "fsha-client",
            "--cut",
            "1",
            "--size",
            "16",
            "--threads",
            "1",
            "--executor",
            "ray",
            "--address",
            cluster.address,
            *settings,
            "--output",
            str(folder),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_command_line_runs_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    started = spawn(cluster, tmp_path / "there", "--attack", "none", "--json")
    alone = list(run_cells(grid(), tmp_path / "alone", Silent()))
    results, said = started.communicate(timeout=300)
    assert started.returncode == Exit.OK, said
    records = [Record.model_validate(json.loads(line)) for line in results.splitlines()]
    assert by_id(records) == by_id(alone)
    assert "--executor" in records[0].provenance.command


@pytest.mark.slow
def test_an_interruption_ends_what_runs_on_the_cluster(cluster: Any, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    body = f"Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(600)"
    defense = under_test(tmp_path, body)
    started = spawn(cluster, tmp_path / "out", "--attack", "none", "--defense", defense)
    for _ in range(1200):
        if mark.exists() and mark.read_text():
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == Exit.INTERRUPTED, said
    assert "Traceback" not in said
    assert gone(int(mark.read_text()))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", "is for Ray's client"),
        ("127.0.0.1:1", "cannot connect to a Ray cluster at 127.0.0.1:1: "),
        ("nonsense", "cannot connect to a Ray cluster at nonsense: "),
    ],
)
def test_an_address_that_cannot_be_used_is_said(address: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        list(run_cells(grid(), tmp_path, Silent(), executor=Ray(address)))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "splitsec\[ray\]"'):
        Ray()
