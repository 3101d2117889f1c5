"""Parameters of plug-ins: typed, documented and frozen; unknown names are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.reading import give


class _InputMark:
    """Marks a parameter whose value is a path."""


InputPath = Annotated[str, _InputMark()]
"""The type of a parameter that names a file or folder to read, such as trained weights.

A cell's identity has the content behind the path, not the path: other weights under the same name
are another cell, and the same weights under another name are the same cell. An isolated attack is
shown the file, read-only. An empty text names nothing. Of a data set's files the images count.
"""


class Parameters(BaseModel):
    """Base class of the parameters of an attack, defense, target or data set.

    A subclass has one annotated field per parameter. Each field has a default, its limits, and a
    ``Field(description=...)`` that states the unit and the paper's value. Values arrive as JSON
    or as text from the command line, and are converted to the annotated type.

    Examples:
        >>> from pydantic import Field
        >>> from splitsec.plugins.parameters import InputPath, build_parameters
        >>> class NoiseParameters(Parameters):
        ...     sigma: float = Field(0.1, ge=0, description="standard deviation; paper 0.5")
        >>> NoiseParameters(sigma="0.2")
        NoiseParameters(sigma=0.2)
        >>> build_parameters("defense 'noise'", NoiseParameters, {"sigam": 0.2})
        Traceback (most recent call last):
        splitsec.errors.UsageError: unknown parameter of defense 'noise': 'sigam'; did you mean ...
        >>> class Pretrained(Parameters):
        ...     weights: InputPath = Field("", description="a file of weights; empty: none")
        >>> Pretrained(weights="model.safetensors").input_paths()
        {'weights': 'model.safetensors'}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    part_of_no_state: ClassVar[bool] = True  # whoever holds them was built with them

    def input_paths(self) -> dict[str, str]:
        """Return the paths that were given, by the names of their parameters."""
        return {name: path for name in self.input_names() if (path := getattr(self, name))}

    @classmethod
    def input_names(cls) -> list[str]:
        """Return the names of the parameters that name files or folders."""
        fields = cls.model_fields.items()
        return [name for name, field in fields if _InputMark in map(type, _marks(field))]


P = TypeVar("P", bound=Parameters)


def build_parameters(owner: str, cls: type[P], values: Mapping[str, Any]) -> P:
    """Return the parameters that ``values`` describe.

    Args:
        owner: the plug-in that has the parameters, for errors, for example ``"attack 'fsha'"``.
        cls: the parameter class.
        values: from a parameter's name to its value; text is converted to the field's type.

    Returns:
        The frozen parameters.

    Raises:
        UsageError: an unknown parameter, or a value of the wrong type or range.
    """
    for name in values:
        if name not in cls.model_fields:
            raise UsageError(unknown_name(f"parameter of {owner}:", name, cls.model_fields))
    try:
        built = _build(cls, values)
    except ValidationError as error:
        raise UsageError(_complaint(owner, error.errors()[0])) from None
    give(built.input_paths().values())
    return built


def profile_defaults(plugin: type[Any], profile: str) -> Mapping[str, Any]:
    """Return the defaults that a plug-in's class states for a profile; empty if it states none."""
    by_profile: Mapping[str, Any] = getattr(plugin, "profiles", {}).get(profile, {})
    return by_profile


def unlike_defaults(parameters: Parameters, by_profile: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the parameters whose values are not the defaults.

    Args:
        parameters: resolved parameters.
        by_profile: the plug-in's own defaults under a profile, which win over the others.
    """
    try:
        usual = build_parameters("the plug-in", type(parameters), by_profile).model_dump(
            mode="json"
        )
    except UsageError:  # a parameter without a default, so that every value is a choice
        usual = {}
    given = parameters.model_dump(mode="json")
    return tuple(name for name in given if name not in usual or given[name] != usual[name])


def _marks(field: FieldInfo) -> Iterator[object]:
    """Yield what annotates a field's type, also if it may be None."""
    yield from field.metadata
    for part in get_args(field.annotation):
        yield from getattr(part, "__metadata__", ())


def _complaint(owner: str, error: ErrorDetails) -> str:
    """Return which value is wrong, or why several values do not fit together."""
    where = ".".join(str(part) for part in error["loc"])
    says = error["msg"].removeprefix("Value error, ")
    if not where:
        return f"parameters of {owner}: {says}"
    return f"parameter {where!r} of {owner}: {says} (got {error['input']!r})"


def _build(cls: type[P], values: Mapping[str, Any]) -> P:
    """Validate; read text that does not fit as JSON once, so that 18 and null are accepted."""
    try:
        return cls(**values)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
        read = {name: _read(values[name]) for name in wrong if isinstance(values.get(name), str)}
        if not read:
            raise
        try:
            return cls(**{**values, **read})
        except ValidationError:
            raise error from None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings; where a name is in several layers, the last one counts."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return merged
