"""Makes the options of ``splitsec eval`` from the request: one for each axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from annotated_types import Ge
from pydantic.fields import FieldInfo

from splitsec.cells.requests import Option, Request, flag_of, make_request, option_of
from splitsec.errors import UsageError
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.names import KINDS, Kind

F = TypeVar("F", bound=Callable[..., Any])


def request_options(function: F) -> F:
    """Add one option for each axis, and ``--seeds``, in the order of the model's fields."""
    options = []
    for name, field in Request.model_fields.items():
        options.append(click.option(flag_of(name), name, **_details(name, field, option_of(name))))
        if name == "seed":
            seeds = click.IntRange(0)
            options.append(click.option("--seeds", type=seeds, help="Seeds 0 to N-1."))
    for option in reversed(options):
        function = option(function)
    return function


def take_request(options: dict[str, Any]) -> Request:
    """Take the options of a request out of a command's options.

    Args:
        options: options of the command; the ones taken are removed.

    Raises:
        UsageError: two options contradict each other, or a value is out of range.
    """
    asked = {name: options.pop(name) for name in Request.model_fields}
    seeds = options.pop("seeds")
    if seeds is not None:
        if asked["seed"] is not None:
            raise UsageError("give --seed or --seeds, not both")
        asked["seed"] = range(seeds)
    return make_request({name: value for name, value in asked.items() if value is not None})


def _details(name: str, field: FieldInfo, option: Option) -> dict[str, Any]:
    """Return click's arguments for an axis: its help, type, default and completion."""
    details: dict[str, Any] = {
        "help": field.description,
        "metavar": option.metavar,
        "multiple": option.repeated,
        "type": _type_of(field),
        "shell_complete": _completion_of(name),
    }
    if option.otherwise:
        details["help"] += f"  [default: {option.otherwise}]"
    elif isinstance(field.default, tuple):  # click would show it as Python writes it
        shown = ",".join(map(str, field.default))
        details["help"] += f"  [default: {shown}]" if shown else ""
    else:
        details |= {"default": field.default, "show_default": True}
    return details


def _type_of(field: FieldInfo) -> click.ParamType[Any]:
    """Return the click type of a field; the model itself parses lists, which are text here."""
    annotation = field.annotation
    optional = type(None) in get_args(annotation)
    kind = get_args(annotation)[0] if optional else annotation
    if get_origin(kind) is Literal:
        return _Literal(get_args(kind))
    if kind is int:
        least = next((one.ge for one in field.metadata if isinstance(one, Ge)), None)
        return click.IntRange(least)  # type: ignore[arg-type]  # Ge takes whatever compares
    return click.STRING


class _Literal(click.Choice[str]):
    """A choice between values that need not be texts."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        super().__init__([str(value) for value in values])
        self._values = {str(value): value for value in values}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self._values[super().convert(str(value), param, ctx)]


def _completion_of(name: str) -> Any:
    """Return a shell completion for the axes whose values have names, else None."""
    if name == "profile":
        return _complete_profile
    kind = next((kind for kind in KINDS if kind == name), None)
    return None if kind is None else _complete(kind)


def _complete(kind: Kind) -> Any:
    """Return a shell completion of the last name in a comma-separated list."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return _continued(incomplete, [one.name for one in list_plugins(kind)])

    return complete


def _complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from splitsec.cells.profiles import load_profiles

    return [name for name in load_profiles() if name.startswith(incomplete)]


def _continued(incomplete: str, names: list[str]) -> list[str]:
    head, comma, last = incomplete.rpartition(",")
    return [head + comma + name for name in names if name.startswith(last)]
