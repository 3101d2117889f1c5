"""The command line. A command is imported when it runs, so that help does not wait for torch."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from splitsec.cli.exit_codes import Exit
from splitsec.errors import SplitsecError

_COMMANDS = {
    "eval": ("splitsec.cli.eval", "Attack split models behind defenses and record what leaks."),
    "new": ("splitsec.cli.new", "Write a new attack, defense, target or data set that runs."),
    "check": ("splitsec.cli.check", "Check that a plug-in keeps its contract."),
    "list": ("splitsec.cli.listing", "List attacks, defenses, targets or data sets."),
    "leaderboard": (
        "splitsec.cli.leaderboard",
        "Rank defenses, attacks or targets by their records.",
    ),
    "reproduce": (
        "splitsec.cli.reproduce",
        "Reproduce a table or figure of the original report.",
    ),
    "run": ("splitsec.cli.grid", "Run a grid file or an official track."),
    "verify": ("splitsec.cli.verify", "Run the cells of records again and compare."),
    "submit": ("splitsec.cli.submit", "Assemble records and plug-ins for a submission."),
    "show": ("splitsec.cli.show", "Print a record again, or describe a plug-in."),
    "doctor": ("splitsec.cli.doctor", "Show which data, weights and devices are available."),
}


class _LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

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
    try:
        words = sys.argv[1:] if arguments is None else arguments
        result = group.main(args=words, prog_name="splitsec", standalone_mode=False, obj=words)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; finished cells are kept", err=True)
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except SplitsecError as error:
        click.echo(f"error: {error}", err=True)
        return Exit.USAGE
    except BrokenPipeError:
        # The reader of our output has closed it, so no message can reach them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception:
        traceback.print_exc()
        click.echo("this is a defect of splitsec or of a plug-in; please report it", err=True)
        return Exit.INTERNAL
    return int(result) if isinstance(result, int) else Exit.OK


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run())
