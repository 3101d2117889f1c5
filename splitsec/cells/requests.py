"""The request: one model of every axis of a grid; :mod:`.resolve` makes its cells.

The options of ``splitsec eval``, the tables of a grid file, tracks, :func:`splitsec.evaluate` and
the reproduction command are made from its fields. To add an axis, add a field here and use it; a
field that :class:`splitsec.records.spec.CellSpec` has too is copied there. Nothing here imports
torch or a plug-in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind, plain_name
from splitsec.records.spec import COUNTS, CellSpec

_NOT_NUMBERS = "not_whole_numbers"


def _joined(value: object) -> object:
    """Join a list of names with commas, as on the command line."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _whole_numbers(value: object) -> tuple[int, ...]:
    """Read one number, several, or text such as ``2,3``."""
    several = value if isinstance(value, list | tuple | range) else str(value).split(",")
    try:
        return tuple(int(str(one)) for one in several)
    except ValueError:
        shown = ",".join(map(str, several))
        raise PydanticCustomError(
            _NOT_NUMBERS, "{shown} is not a list of whole numbers", {"shown": repr(shown)}
        ) from None


def setting_texts(settings: object) -> object:
    """Return settings as texts for ``--set``; texts stay unchanged.

    Args:
        settings: texts, or names to values, such as ``{"training.epochs": 5}``.
    """
    if not isinstance(settings, Mapping):
        return settings
    return tuple(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in settings.items()
    )


Names = Annotated[str, BeforeValidator(_joined)]
"""Plug-ins, comma-separated, or a list of them."""

WholeNumbers = Annotated[tuple[int, ...], BeforeValidator(_whole_numbers)]
"""One number, several, or text such as ``"2,3"``."""

Seeds = Annotated[tuple[Annotated[int, Ge(0)], ...], BeforeValidator(_whole_numbers)]
"""Whole numbers that are 0 or more."""

SettingTexts = Annotated[tuple[str, ...], BeforeValidator(setting_texts)]
"""Texts as for ``--set``, or a mapping of names to values."""


@dataclass(frozen=True)
class Option:
    """How ``splitsec eval`` takes an axis, if its field's name and type are not enough.

    Attributes:
        name: name of the option, or None for the field's.
        metavar: placeholder of the value in the help.
        otherwise: source of the value if none is given, for the help.
        repeated: whether the option is given once per value.
    """

    name: str | None = None
    metavar: str | None = None
    otherwise: str | None = None
    repeated: bool = False


class Request(BaseModel):
    """A request for cells; axes with several values make a grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: Names = Field(
        default="strongest",
        description="Attacks: names or paths, comma-separated; name:parameter=value sets a "
        "parameter.",
    )
    defense: Names = Field(default="none", description="Defenses, in the same form.")
    target: Annotated[Names | None, Option(otherwise="the profile's")] = Field(
        default=None, description="Targets, in the same form."
    )
    data: Annotated[Names | None, Option(otherwise="the profile's")] = Field(
        default=None, description="Data sets, in the same form."
    )
    cut: Annotated[WholeNumbers | None, Option(otherwise="the target's")] = Field(
        default=None,
        min_length=1,
        description="Cut layers, such as 2,3: the client's last layer.",
    )
    size: Annotated[WholeNumbers | None, Option(otherwise="the profile's")] = Field(
        default=None, min_length=1, description="Image sizes, pixels, such as 32,64."
    )
    channels: Literal[1, 3] = Field(default=3, description="Grey or colour images.")
    clients: int = Field(
        default=1, ge=1, description="Number of clients that share the private images."
    )
    profile: Annotated[str, Option(metavar="quick|standard|paper")] = Field(
        default="quick", description="Where all other settings come from."
    )
    seed: Seeds = Field(
        default=(0,), description="One seed, or several, such as 3,7: one cell each."
    )
    public_from: Literal["same", "shifted"] = Field(
        default="same",
        description="Whether the attacker's own images are from the private images' population.",
    )
    threads: Annotated[int | None, Option(otherwise="the profile's")] = Field(
        default=None, ge=1, description="CPU threads."
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32",
        description="In which numbers clients and an honest server compute: bf16 is mixed.",
    )
    settings: Annotated[
        SettingTexts, Option("set", metavar="KIND.NAME.PARAMETER=VALUE", repeated=True)
    ] = Field(
        default=(),
        description="Set a parameter, such as attack.fsha.iterations=500 or training.epochs=5.",
    )
    sweeps: Annotated[
        tuple[str, ...],
        Option("sweep", metavar="KIND.NAME.PARAMETER=VALUE,VALUE", repeated=True),
    ] = Field(
        default=(),
        description="One cell per value, such as defense.dcor.alpha=0.1,0.5,0.9; defense.dcor "
        "alone means the strengths that it states.",
    )

    def replaced(self, **changes: Any) -> Request:
        """Return the request with some axes changed.

        Raises:
            UsageError: an unknown axis, or a value out of range.
        """
        return make_request({**self.model_dump(), **changes})

    def command(self) -> list[str]:
        """Return the words of a ``splitsec eval`` that asks for the same cells."""
        words = ["splitsec", "eval"]
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "seed" and len(value) != 1 and value == tuple(range(len(value))):
                words += ["--seeds", str(len(value))]
            elif option_of(name).repeated:
                words += [word for one in value for word in (flag_of(name), one)]
            elif isinstance(value, tuple):
                words += [flag_of(name), ",".join(map(str, value))]
            elif value is not None:
                words += [flag_of(name), str(value)]
        return words


def option_of(name: str) -> Option:
    """Return how ``splitsec eval`` takes an axis."""
    metadata = Request.model_fields[name].metadata
    return next((one for one in metadata if isinstance(one, Option)), Option())


def flag_of(name: str) -> str:
    """Return the option of an axis, such as ``--public-from``."""
    return f"--{option_of(name).name or name.replace('_', '-')}"


def make_request(values: Mapping[str, Any]) -> Request:
    """Make a request from the values that a person gave.

    Args:
        values: axis to value.

    Raises:
        UsageError: an unknown axis, or a value of the wrong type or range.
    """
    for name in values:
        if name not in Request.model_fields:
            raise UsageError(unknown_name("axis of a request:", name, Request.model_fields))
    try:
        return Request(**values)
    except ValidationError as error:
        raise UsageError(_complaint(error.errors()[0])) from None


def _complaint(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    if error["type"] == _NOT_NUMBERS:
        return f"{flag_of(name)} {error['msg']}"
    return f"{name}: {error['msg']} (got {error['input']!r})"


def request_of(spec: CellSpec, plugins: Mapping[Kind, str]) -> Request:
    """Return the request for one cell alone, with every setting spelled out.

    A request cannot choose the partition of the images, so the partition is left out.

    Args:
        spec: the cell's specification.
        plugins: kind to the plug-in's path or name, if it is not the plain name.

    Raises:
        UsageError: a value of the specification is out of range.
    """
    shared = [name for name in Request.model_fields if name in type(spec).model_fields]
    settings = {f"counts.{name}": getattr(spec, name) for name in COUNTS}
    settings |= {f"training.{name}": value for name, value in spec.training.model_dump().items()}
    asked = {kind: plugins.get(kind, getattr(spec, kind)) for kind in KINDS}
    for kind in KINDS:
        settings |= {
            f"{kind}.{plain_name(asked[kind])}.{name}": value
            for name, value in spec.parameters.get(kind, {}).items()
            if value not in (None, "")
        }
    values = {name: getattr(spec, name) for name in shared}
    values.update({str(kind): name for kind, name in asked.items()})
    return make_request({**values, "settings": settings})
