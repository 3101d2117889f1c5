"""The command line. A command is imported when it runs, so that help does not wait for torch."""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say
from splitsec.errors import OutputError, SplitsecError, WorkerError
from splitsec.interruption import Interruption, interrupt_on_signals

_COMMANDS = {
    "eval": ("splitsec.cli.eval", "Attack split models behind defenses and record what leaks."),
    "audit": (
        "splitsec.cli.audit",
        "Attack a model of your own, on your own images, and write a report.",
    ),
    "decide": (
        "splitsec.cli.decide",
        "Find a cut, a defense and a strength that keep your limits.",
    ),
    "inspect": (
        "splitsec.cli.inspect",
        "Look at your images before any run: classes, patients, copies, suspicious files.",
    ),
    "new": ("splitsec.cli.new", "Write a new attack, defense, target or data set that runs."),
    "check": ("splitsec.cli.check", "Check that a plug-in keeps its contract."),
    "list": ("splitsec.cli.listing", "List attacks, defenses, targets or data sets."),
    "leaderboard": (
        "splitsec.cli.leaderboard",
        "Rank defenses, attacks or targets by their records.",
    ),
    "report": (
        "splitsec.cli.report",
        "Write one page for the person who decides: what leaks, what it costs.",
    ),
    "power": (
        "splitsec.cli.power",
        "Say how many seeds and images a difference needs.",
    ),
    "reproduce": (
        "splitsec.cli.reproduce",
        "Reproduce a table or figure of the original report.",
    ),
    "run": ("splitsec.cli.grid", "Run a grid file or an official track."),
    "verify": ("splitsec.cli.verify", "Run the cells of records again and compare."),
    "keys": ("splitsec.cli.keys", "Make the keys that sign records."),
    "submit": ("splitsec.cli.submit", "Assemble records and plug-ins for a submission."),
    "show": ("splitsec.cli.show", "Print a record again, or describe a plug-in."),
    "doctor": ("splitsec.cli.doctor", "Show which data, weights and devices are available."),
}


class _ClosedOutputError(Exception):
    """Whoever read our output has closed it."""


class _LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # at which click would exit without a word
            raise _ClosedOutputError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            from splitsec.errors import unknown_name

            raise click.UsageError(unknown_name("command", args[0], _COMMANDS))
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="splitsec")
def group() -> None:
    """What can the server of a split-trained model see? Attack it and find out."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; user errors show one sentence.

    Args:
        arguments: without the program's name; the process's own by default.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        result = group.main(args=words, prog_name="splitsec", standalone_mode=False, obj=words)
        sys.stdout.flush()  # a full disk or a closed pipe is found here, and not at exit
    except (Exception, KeyboardInterrupt) as error:
        return _report(error, runs_cells=bool(words) and words[0] in _RUN_CELLS)
    return int(result) if isinstance(result, int) else Exit.OK


def _report(error: BaseException, runs_cells: bool) -> int:
    """Say what ended a command, and return its exit code."""
    kept = "; finished cells are kept, and the same command resumes" if runs_cells else ""
    code = Exit.USAGE
    match error:
        case click.Abort() | KeyboardInterrupt():
            _say(f"{_signal_of(error)}{kept}")
            code = Exit.INTERRUPTED
        case click.ClickException():
            _show(error)
        case OutputError() | WorkerError() if _refused_by_the_machine(error):
            _say(f"error: {error}{kept}")
            code = Exit.FAILED
        case SplitsecError():
            _say(f"error: {error}")
        case BrokenPipeError() | _ClosedOutputError():
            _give_up_output()
            if runs_cells:
                _say(f"ended, because whoever read the output has closed it{kept}")
            code = Exit.FAILED
        case OSError() if error.errno in _MACHINE:
            _give_up_output()
            place = f" {error.filename}" if error.filename else ""
            _say(f"error: this machine refused to read or write{place}: {error.strerror}{kept}")
            code = Exit.FAILED
        case _:
            traceback.print_exception(error)
            _say("this is a defect of splitsec or of a plug-in; please report it")
            code = Exit.INTERNAL
    return code


_RUN_CELLS = ("eval", "audit", "run", "verify", "reproduce")

_MACHINE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO", "EMFILE", "ENFILE")
    if hasattr(errno, name)
}
"""Errors of the operating system that are no defect of ours, wherever they come up."""


def _refused_by_the_machine(error: BaseException) -> bool:
    """Return whether an error is the machine's; a place that cannot be is the request's."""
    return isinstance(error, WorkerError) or (
        isinstance(error.__cause__, OSError) and error.__cause__.errno in _MACHINE
    )


def _say(text: str) -> None:
    with suppress(OSError):  # nobody may be left to read it
        say(text, err=True)


def _show(error: click.ClickException) -> None:
    """Say what click found wrong with the command, and how it is used."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        _say(error.ctx.get_usage())
        _say(f"Try '{error.ctx.command_path} --help' for help.")
    _say(f"Error: {error.format_message()}")


def _signal_of(error: BaseException) -> str:
    """Return in words what interrupted the command; click wraps the interruption."""
    cause = error if isinstance(error, Interruption) else error.__cause__ or error.__context__
    if isinstance(cause, Interruption) and str(cause) != "SIGINT":
        return f"ended by {cause}"
    return "interrupted"


def _give_up_output() -> None:
    """Write what is left for stdout nowhere, or Python would report it once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line and exit."""
    _use_utf8()
    _spin_briefly()
    interrupt_on_signals()
    sys.exit(run())


def _spin_briefly() -> None:
    """Let torch's threads soon sleep while they wait for each other, unless a person set otherwise.

    By default they spin for long. On a machine with other work, such as a second session, a
    spinning thread takes the core that the awaited thread needs, and a step takes many times as
    long; see ``docs/performance.md``. GNU's OpenMP reads the variable when torch is imported, in
    this process and in those that it starts.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _use_utf8() -> None:
    """Start again in UTF-8 mode where Python knows ASCII alone, and names like é would be lost.

    That is so under ``LC_ALL=C`` if ``PYTHONUTF8=0`` forbids the usual remedy.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts, too
        os.execv(sys.executable, [sys.executable, "-m", "splitsec", *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="backslashreplace")
