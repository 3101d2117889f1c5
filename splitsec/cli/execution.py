"""Runs cells from the command line, for ``eval``, ``run`` and ``verify``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.keys import sign_option, signed_in_place, signer_for
from splitsec.cli.saying import say, say_json
from splitsec.data.secret import secret_from
from splitsec.errors import UsageError
from splitsec.isolation import Isolation, isolation_for
from splitsec.records.store import Rerun

if TYPE_CHECKING:
    from splitsec.devices import Device

F = TypeVar("F", bound=Callable[..., Any])


class Shard(NamedTuple):
    """One of several parts of a grid's sessions, numbered from 1."""

    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"


def _read_shard(ctx: click.Context, param: click.Parameter, text: str | None) -> Shard | None:
    """Read a text such as ``2/5``."""
    if text is None:
        return None
    number, _, parts = text.partition("/")
    if number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts):
        return Shard(int(number), int(parts))
    raise UsageError(f"--shard {text!r} is not of the form 2/5, the second of five")


def refuse_gpu_in_sandbox(device: str) -> None:
    """Raise a UsageError if a person asks for a GPU in the sandbox."""
    if device not in ("auto", "cpu"):
        raise UsageError(f"--sandbox shows no GPU to what runs in it; --device {device}")


class Execution(NamedTuple):
    """The options of running cells.

    Attributes:
        executor: where sessions run: on this machine or on a Ray cluster.
        workers: number of processes on this machine.
        address: address of the cluster, or None for Ray's own choice.
        gpus: GPUs that Ray reserves for each session.
        device: where models and batches live, as a person names it.
        shard: the part of the grid to run, or None for all of it.
        timeout: seconds that a cell may take, or None.
        isolate: whether attacks run in processes of their own; None for those not built in.
        sandbox: whether bubblewrap denies these the network and files.
        attack_seconds: time limit of an isolated attack per cell.
        attack_memory: its memory limit in GiB.
        attack_processes: its limit of processes at once.
        rerun: which cells with a record run again.
        output: folder for records.
        keep_models: whether trained models are kept beside them.
        as_json: whether records are printed as JSON.
        dry_run: whether nothing is run.
        secret_file: file of the secret that splits the images, or None for the set one.
        key: file of the private key that signs the records, or None.
    """

    executor: Literal["local", "ray"]
    workers: int
    address: str | None
    gpus: float
    device: str
    shard: Shard | None
    timeout: float | None
    isolate: bool | None
    sandbox: bool
    attack_seconds: float
    attack_memory: float
    attack_processes: int
    rerun: Rerun
    output: Path
    keep_models: bool
    as_json: bool
    dry_run: bool
    secret_file: Path | None = None
    key: Path | None = None

    def isolation(self) -> Isolation | None:
        """Return the isolation of attacks, or None if none is isolated."""
        hidden = () if self.output is None else (str(self.output),)
        return isolation_for(
            self.isolate,
            sandbox=self.sandbox,
            hidden=hidden,
            seconds=self.attack_seconds,
            memory_gib=self.attack_memory,
            processes=self.attack_processes,
        )

    def devices(self) -> list[Device]:
        """Return the devices that sessions use, see :func:`splitsec.devices.devices_named`."""
        from splitsec.devices import CPU, Device, devices_named

        if self.executor == "ray":  # which shows a session the GPUs that it reserved
            there = self.gpus and self.device != "cpu" and not self.dry_run  # that times steps here
            return [Device("cuda:0") if there else CPU]
        return [CPU] if self.sandbox else devices_named(self.device)

    def check(self) -> None:
        """Raise a UsageError if options contradict each other."""
        self.isolation()
        if self.sandbox:
            refuse_gpu_in_sandbox(self.device)
        if self.executor == "ray" and self.device not in ("auto", "cpu"):
            raise UsageError("--device is for this machine; a Ray cluster has --gpus")
        if self.sandbox:
            from splitsec.isolation.sandbox import check_sandbox

            check_sandbox()
        if self.executor == "ray":
            if self.workers > 1:
                raise UsageError(
                    "--workers is for this machine; a Ray cluster takes as many sessions as it "
                    "has CPUs for (--threads each)"
                )
            if self.gpus > 1 and not self.gpus.is_integer():
                raise UsageError(f"--gpus {self.gpus:g}: a part of one GPU, or whole ones")
        elif self.address is not None or self.gpus:
            option = "--gpus" if self.address is None else "--address"
            raise UsageError(f"{option} is for a Ray cluster; add --executor ray")

    def make_executor(self) -> Any:
        """Return the executor of the sessions."""
        if self.executor == "ray":
            from splitsec.running.executors.ray import Ray

            return Ray(self.address, self.gpus, self.timeout, self.keep_models)
        from splitsec.running.executors import InProcess
        from splitsec.running.executors.workers import Workers

        if self.workers > 1 or self.timeout is not None:
            return Workers(self.workers, self.timeout, self.keep_models, self.devices())
        return InProcess(self.keep_models)


_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where sessions run: on this machine, or on a Ray cluster (splitsec[ray]).",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Worker processes; cells that share a session run in the same one.",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Head of the Ray cluster.  [default: RAY_ADDRESS, one that runs here, or a new one]",
    ),
    click.option(
        "--gpus",
        type=click.FloatRange(0),
        default=0.0,
        metavar="SHARE",
        help="GPUs, such as 0.25, that Ray reserves per session, which then uses them.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="Where models live: cpu, cuda (all GPUs), cuda:1 or mps. auto: cuda, or else cpu.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Kill a cell's process and its children after this time.  [default: never]",
    ),
    click.option(
        "--isolate/--no-isolate",
        default=None,
        help="Run every attack, or none, in a process that holds nothing private.  [default: "
        "attacks that are not built in]",
    ),
    click.option(
        "--sandbox",
        is_flag=True,
        help="Run isolated attacks in bubblewrap: no network, files or other processes.",
    ),
    click.option(
        "--attack-seconds",
        type=click.FloatRange(0, min_open=True),
        default=86_400.0,
        metavar="SECONDS",
        help="Time limit of an isolated attack per cell.  [default: a day]",
    ),
    click.option(
        "--attack-memory",
        type=click.FloatRange(0, min_open=True),
        default=8.0,
        show_default=True,
        metavar="GIB",
        help="Memory limit of an isolated attack.",
    ),
    click.option(
        "--attack-processes",
        type=click.IntRange(1),
        default=32,
        show_default=True,
        help="Process limit of an isolated attack.",
    ),
    click.option(
        "--partition-secret-file",
        "secret_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Split the images with the secret in FILE instead of the public seed; records "
        "store only its hash.  [default: SPLITSEC_PARTITION_SECRET]",
    ),
)

_STORE_OPTIONS = (
    click.option(
        "--shard",
        callback=_read_shard,
        metavar="I/N",
        help="Run one of N parts of the grid, such as 2/5; for job arrays over one OUTPUT.",
    ),
    click.option(
        "--rerun",
        type=click.Choice(["failed", "all", "never"]),
        default="failed",
        show_default=True,
        help="Which cells to run again although OUTPUT has their record.",
    ),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        help="Folder for records and pictures.",
    ),
    click.option(
        "--keep-models",
        is_flag=True,
        help="Keep trained models in OUTPUT, for splitsec.load_model; a ResNet-34 takes 85 MB. "
        "Cells that have a record are not run again for it: see --rerun.",
    ),
    sign_option,
    click.option("--json", "as_json", is_flag=True, help="One JSON record per line on stdout."),
    click.option(
        "--dry-run", is_flag=True, help="Print the cells and how long they may take; run nothing."
    ),
)


def executor_options(function: F) -> F:
    """Add the options for the executor and the partition of the images."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def execution_options(function: F) -> F:
    """Add the options for running a grid and keeping its records; they are last in the help."""
    for option in reversed(_STORE_OPTIONS):
        function = option(function)
    return executor_options(function)


def take_execution(options: dict[str, Any], **given: Any) -> Execution:
    """Take the options of an execution out of a command's options.

    Args:
        options: options of the command; the ones taken are removed.
        **given: values for options that the command does not have.

    Raises:
        UsageError: options contradict each other.
    """
    taken = {name: options.pop(name) for name in Execution._fields if name not in given}
    execution = Execution(**taken, **given)
    execution.check()
    return execution


def execute(
    cells: Callable[[Isolation | None], Sequence[Any]],
    how: Execution,
    done: Callable[[list[Any]], None] | None = None,
) -> int:
    """Resolve cells, run them, and print their records.

    Args:
        cells: resolves them, given the isolation; libraries may print while it runs.
        how: the options of running them.
        done: is called with all records at the end.

    Returns:
        The exit code.
    """
    results = sys.stdout
    # Output of libraries and plug-ins is not a result.
    with redirect_stdout(sys.stderr), secret_from(how.secret_file):
        from splitsec.cli.closing import print_closing
        from splitsec.cli.consoles import result_console
        from splitsec.cli.dry_run import say_plan
        from splitsec.cli.progress_bars import shown
        from splitsec.records.store import check_writable
        from splitsec.running.runs import distinct, run_cells, take_shard

        device = how.devices()[0]
        resolved = [replace(one, device=device) for one in distinct(cells(how.isolation()))]
        if not resolved:
            say("the grid is empty: this request gives no cell", err=True)
            return Exit.EMPTY
        if how.shard is not None:
            resolved = take_shard(resolved, *how.shard)
            if not resolved:
                say(f"shard {how.shard}: the grid has fewer sessions", err=True)
                return Exit.OK
        if how.dry_run:
            with redirect_stdout(results):
                workers = how.workers if how.executor == "local" else None
                say_plan(resolved, how.output, how.rerun, device, workers)
            return Exit.OK
        if how.key is not None:
            _refuse_to_sign_for_strangers(resolved)
        check_writable(how.output)
        signer = signer_for(how.key, how.output)
        records = []
        with shown(len(resolved)) as progress:
            for made in run_cells(
                resolved,
                how.output,
                progress,
                rerun=how.rerun,
                executor=how.make_executor(),
            ):
                record = signed_in_place(made, signer)
                records.append(record)
                with progress.paused(), redirect_stdout(results):
                    _report(record, how, brief=done is not None and len(resolved) > 1)
        with redirect_stdout(results):
            if not how.as_json:
                print_closing(records, how.output, result_console(), reports=done is not None)
            if done is not None:
                done(records)
    failed = sum(record.status not in ("ok", "skipped") for record in records)
    if len(resolved) > 1:
        ran = f"{len(resolved) - failed} of {len(resolved)} cells done, {failed} failed"
        say(f"{ran}; see {how.output}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _refuse_to_sign_for_strangers(resolved: Sequence[Any]) -> None:
    """Raise a UsageError if a cell runs code that is not built in: it could sign with the key."""
    from splitsec.plugins.loading import is_builtin

    for cell in resolved:
        for one in cell.plugins:
            if not is_builtin(one.plugin.kind, one.plugin.spec):
                raise UsageError(
                    f"--sign is for built-in methods, and {one.label} is none: its code could use "
                    "your key; run it without --sign, then use splitsec verify --sandbox --sign"
                )


def _report(record: Any, how: Execution, *, brief: bool) -> None:
    """Print a finished cell's record on stdout; in brief where a report follows."""
    if how.as_json:
        say_json(record.to_json())
        return
    from splitsec.cli.consoles import result_console
    from splitsec.cli.summary import print_brief, print_summary
    from splitsec.records.store import find_folder

    if brief:
        print_brief(record, result_console())
        return
    folder = find_folder(how.output, record.spec, record.cell_id)
    print_summary(record, result_console(), folder)
