"""Runs sessions as tasks on a Ray cluster, whose nodes need not share a folder with this machine.

A task runs one session in a process of its own. It receives cells as JSON, loads their plug-ins,
and sends back records with their artifacts, which are written here. Ray schedules the tasks and
detects processes and nodes that die.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from splitsec.cells.cell import Cell
from splitsec.cells.provenance import collect, core_sha256
from splitsec.cells.transport import CellMessage, load_cell
from splitsec.data.loading import ImageHashes, load_data
from splitsec.data.secret import SECRET_FILE_VARIABLE
from splitsec.errors import SplitsecError, UsageError, WorkerError
from splitsec.metrics.lpips_weights import FILE_VARIABLE
from splitsec.plugins.names import Kind
from splitsec.plugins.packing import PackedPlugin, pack_plugin
from splitsec.progress import Relay
from splitsec.records.artifacts import artifact
from splitsec.records.cell_progress import CellProgress
from splitsec.records.reading import read_record
from splitsec.records.record import Record, Status
from splitsec.records.store import keep_record, record_folder
from splitsec.running.session_queue import Queue

_WAITING = 2  # sessions queued at Ray: enough for an autoscaler, the rest is for other runs
_LOSSES = 3  # a cell fails once this many nodes died while they ran it
_CONNECT_SECONDS = 10.0
_GRACE_SECONDS = 10.0  # for a task to clean up after its last record
_ENVIRONMENT = ("SPLITSEC_DATA", "SPLITSEC_CACHE", FILE_VARIABLE, SECRET_FILE_VARIABLE)

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports from a cluster started for a run
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray would print nodes' faults on stdout
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # errors of cancelled tasks
}


class _CellMessage(BaseModel):
    """A message that describes a cell, with the hashes that decide its numbers on the sender."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    cell: CellMessage
    plugins: dict[Kind, PackedPlugin]
    identity: dict[str, Any]

    def load(self, folder: Path) -> Cell:
        """Build the cell on a node, with its plug-ins' sources in a folder of their own."""
        specs = {kind: one.unpack(folder / kind) for kind, one in self.plugins.items()}
        unloaded = {kind: one.moved(specs[kind]) for kind, one in self.cell.unloaded.items()}
        return load_cell(self.cell.model_copy(update={"plugins": specs, "unloaded": unloaded}))


class _Errand(BaseModel):
    """A message that describes a session, with the sender's environment and working folder."""

    cells: list[_CellMessage]
    environment: dict[str, str]
    folder: str
    keep_models: bool


@dataclass
class _Task:
    """A session at Ray and its cells without a record; the first cell has the deadline."""

    stream: Any
    cells: list[Cell]
    node: str | None = None
    deadline: float = math.inf
    over: bool = False


class Ray:
    """Runs sessions on a Ray cluster, as many at once as it has room for.

    A session requests as many CPUs as its cells have threads. A cell whose process dies is
    recorded as failed, and one that takes too long as timed out; the rest of its session starts
    again from scratch. If a node dies, its sessions run again on other nodes.

    Args:
        address: ``HOST:PORT`` of the cluster's head; this machine must be one of its nodes. By
            default the cluster that ``RAY_ADDRESS`` names or that runs on this machine; if
            there is none, one is started for the run.
        gpus: number or fraction of GPUs that Ray reserves for each session.
        timeout: seconds that a cell may take, or None; the first cell of a session includes its
            training. Waiting for room does not count.
        keep_models: whether trained models are kept beside the records.

    Raises:
        UsageError: Ray is not installed, or the address does not work with it.
    """

    def __init__(
        self,
        address: str | None = None,
        gpus: float = 0.0,
        timeout: float | None = None,
        keep_models: bool = False,
    ) -> None:
        os.environ |= {**_QUIET, **os.environ}
        try:
            import ray  # noqa: F401 - an extra
        except ModuleNotFoundError:
            raise UsageError('Ray is not installed: pip install "splitsec[ray]"') from None
        if address is not None and address.startswith("ray://"):
            raise UsageError(
                f"{address} is for Ray's client, which cannot stream records; start splitsec on "
                "a machine of the cluster, with --address HOST:PORT of its head"
            )
        self.address = address
        self.gpus = gpus
        self.timeout = timeout
        self.keep_models = keep_models

    def run(
        self, queue: Queue, store: Path, progress: CellProgress
    ) -> Iterator[tuple[Cell, Record]]:
        """Run sessions; see :class:`splitsec.running.executors.Executor`.

        Raises:
            UsageError: the cluster cannot be reached.
            WorkerError: a session could not run because of a defect or the end of the cluster.
        """
        first = queue.take()
        if first is None:
            return
        queue.put_back(first)
        running: list[_Task] = []
        with _connected(self.address):
            cluster = _Cluster(self, store, progress)
            try:
                while True:
                    while (
                        sum(task.node is None for task in running) < _WAITING
                        and (cells := queue.take()) is not None
                    ):
                        running.append(cluster.submit(cells))
                    if not running:
                        return
                    for task in cluster.ready(running):
                        given = cluster.receive(task)
                        if task.over:
                            running.remove(task)
                            if task.cells:
                                queue.put_back(task.cells)
                        yield from given
            finally:
                for task in running:
                    cluster.cancel(task)


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster, unless this process is already connected to one."""
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        host, _, port = (address or "").rpartition(":")
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        at = f" at {address}" if address else ""
        raise UsageError(f"cannot connect to a Ray cluster{at}: {_line(error, 0)}") from None
    try:
        yield
    finally:
        ray.shutdown()


class _Cluster:
    """The sessions that one run has submitted to the cluster."""

    def __init__(self, settings: Ray, store: Path, progress: CellProgress) -> None:
        import ray

        self._ray = ray
        # Each task has a process of its own, so that no plug-in's leftovers affect another task.
        self._work = ray.remote(max_calls=1, max_retries=0)(_work)
        self._settings = settings
        self._store = store
        self._progress = progress
        self._core = core_sha256()
        self._images = ImageHashes(progress)
        self._losses: Counter[str] = Counter()
        self._said: set[str] = set()

    def submit(self, cells: list[Cell]) -> _Task:
        """Submit a session to Ray."""
        wanted = {"CPU": float(cells[0].spec.threads), "GPU": self._settings.gpus}
        self._say_if_no_node_has(wanted)
        errand = _Errand(
            cells=[
                _CellMessage(
                    cell=CellMessage.of(cell),
                    plugins={one.plugin.kind: pack_plugin(one.plugin) for one in cell.plugins},
                    identity=cell.identity(self._images.of(cell.data_spec())),
                )
                for cell in cells
            ],
            environment={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            folder=str(Path.cwd()),
            keep_models=self._settings.keep_models,
        )
        work = self._work.options(
            num_cpus=wanted["CPU"],
            num_gpus=wanted["GPU"],
            num_returns="streaming",
            name=cells[0].spec.title(),
        )
        return _Task(work.remote(self._core, errand.model_dump_json()), cells)

    def ready(self, running: Sequence[_Task]) -> list[_Task]:
        """Wait for tasks that have sent something, have died, or are late, and return them."""
        earliest = min(task.deadline for task in running)
        until = None if earliest == math.inf else max(0.0, earliest - time.monotonic())
        said, _ = self._ray.wait([task.stream for task in running], timeout=until)
        now = time.monotonic()
        return [task for task in running if task.stream in said or now >= task.deadline]

    def receive(self, task: _Task) -> list[tuple[Cell, Record]]:
        """Return the records that a task has just finished or failed to make; often none."""
        exceptions = self._ray.exceptions
        if not self._ray.wait([task.stream], timeout=0)[0]:
            self.cancel(task)
            said = f"it took longer than {self._settings.timeout:g} seconds; its process was ended"
            return [self._without_result(task, "timeout", said)]
        try:
            kind, *content = self._ray.get(next(task.stream))
        except (exceptions.NodeDiedError, exceptions.ObjectLostError):
            return self._lost(task)
        except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError):
            said = "its worker process died; it may have run out of memory"
            return [self._without_result(task, "failed", said)]
        except (exceptions.RayError, StopIteration) as error:
            raise WorkerError(
                f"the cluster could not run a session: {_line(error, -1)}; finished cells are "
                "kept, and the same command resumes"
            ) from None
        if kind == "message":
            self._progress.message(*content)
        elif kind == "began":
            task.node = content[0]
            self._begin(task)
        elif kind == "record":
            return [self._keep(task, *content)]
        elif kind == "refused":
            said = f"on node {task.node}: {content[0]}"
            return [self._without_result(task, "failed", said) for _ in tuple(task.cells)]
        elif kind == "defect":
            self._without_result(task, "failed", content[0])
            raise WorkerError(f"a session failed on node {task.node}: {content[0]}")
        return []

    def cancel(self, task: _Task) -> None:
        """End a task's process, or withdraw the task if it has none."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.cancel(task.stream, force=True)

    def _begin(self, task: _Task) -> None:
        if self._settings.timeout is not None:
            task.deadline = time.monotonic() + self._settings.timeout
        self._progress.begin(task.cells[0].spec)

    def _keep(self, task: _Task, text: str, files: Mapping[str, bytes]) -> tuple[Cell, Record]:
        """Write a received record."""
        cell = task.cells.pop(0)
        record = read_record(text, f"the record of {cell.spec.title()}")
        if record.cell_id != cell.cell_id(self._images.of(cell.data_spec())):
            raise WorkerError(f"node {task.node} gave the record of another cell")
        here = collect(cell)
        found = {"plugins": here.plugins, "command": here.command}
        provenance = record.provenance.model_copy(update=found)
        record = record.model_copy(update={"provenance": provenance})
        if task.cells:
            self._begin(task)
        else:
            task.over = True
            self._ray.wait([task.stream], timeout=_GRACE_SECONDS)
        return cell, keep_record(self._store, record, files)

    def _without_result(self, task: _Task, status: Status, reason: str) -> tuple[Cell, Record]:
        """Write the record of the cell that was running when its task ended."""
        from splitsec.cells.evaluation import record_without_result

        task.over = True
        cell = task.cells.pop(0)
        return cell, record_without_result(cell, self._store, status, reason)

    def _lost(self, task: _Task) -> list[tuple[Cell, Record]]:
        task.over = True
        node = f"node {task.node}" if task.node else "a node"
        self._say_once(f"{node} of the cluster died; its sessions run again on other nodes")
        key = task.cells[0].spec.model_dump_json()
        self._losses[key] += 1
        if self._losses[key] < _LOSSES:
            return []
        said = f"{_LOSSES} nodes of the cluster died while they were running it"
        return [self._without_result(task, "failed", said)]

    def _say_if_no_node_has(self, wanted: Mapping[str, float]) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(has.get(what, 0) >= wanted[what] for what in wanted) for has in nodes):
            room = " and ".join(f"{count:g} {what}" for what, count in wanted.items() if count)
            self._say_once(f"no node of the cluster has {room} so far; waiting for one")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.message(text)


def _line(error: BaseException, which: int) -> str:
    """Return one line of an error's text, which may be a node's whole traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[which]


def _work(core: str, errand: str) -> Iterator[tuple[Any, ...]]:
    """Run a session on a node; yield its messages, each with its kind first."""
    import ray

    node = ray.get_runtime_context().get_node_id()[:8]
    yield "began", f"{ray.util.get_node_ip_address()} ({node})"
    try:
        if core != core_sha256():
            raise WorkerError("splitsec here and where the run was started are not the same")
        yield from _run(_Errand.model_validate_json(errand))
    except SplitsecError as error:
        yield "refused", str(error)
    except Exception as error:
        yield "defect", f"defect: {type(error).__name__}: {error}"


def _run(errand: _Errand) -> Iterator[tuple[Any, ...]]:
    from splitsec.cells.evaluation import evaluate_cells

    for name, value in errand.environment.items():
        if name not in os.environ and Path(value).expanduser().exists():
            os.environ[name] = value
    with suppress(OSError):
        os.chdir(errand.folder)
    messages: list[str] = []

    def keep(kind: str, *content: object) -> None:
        if kind == "message":
            messages.append(str(content[0]))

    progress = Relay(keep)
    with tempfile.TemporaryDirectory(prefix="splitsec-") as temporary:
        folder = Path(temporary)
        cells = [sent.load(folder / str(place)) for place, sent in enumerate(errand.cells)]
        data = load_data(cells[0].data_spec(), progress)
        for cell, sent in zip(cells, errand.cells, strict=True):
            _check(cell.identity(data.sha256), sent.identity)
        for record in evaluate_cells(
            cells, folder / "store", progress, data, keep_models=errand.keep_models
        ):
            place = record_folder(folder / "store", record)
            files = {name: artifact(place, record, name).read_bytes() for name in record.artifacts}
            while messages:
                yield "message", messages.pop(0)
            yield "record", record.to_json(), files


def _check(here: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise an error unless a cell is the same on this node as on the sender."""
    names = {"data": "the images", "sources": "a plug-in's source", "spec": "a parameter's file"}
    differ = [names.get(key, f"the {key}") for key in asked if here.get(key) != asked[key]]
    if differ:
        what = " and ".join(differ)
        raise WorkerError(f"{what} here and where the run was started are not the same")
