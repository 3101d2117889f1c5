"""Prints text as it is: nothing in a name or a sentence of somebody else reaches the terminal raw.

All commands print through these functions, or through the consoles beside them.
"""

from __future__ import annotations

import click

from splitsec.escaping import for_json, for_terminal, one_line


def say(text: object, *, err: bool = False) -> None:
    """Print a sentence on one line."""
    click.echo(one_line(text), err=err)


def say_left_out(problem: str) -> None:
    """Say of a record that is left out why it cannot be believed."""
    say(f"note: left out: {problem}", err=True)


def say_lines(text: str) -> None:
    """Print text whose lines are ours; names in it must have been escaped for its form."""
    click.echo(for_terminal(text), nl=False)


def say_json(text: str) -> None:
    """Print JSON on one line."""
    click.echo(for_json(text))
