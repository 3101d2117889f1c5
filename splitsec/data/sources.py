"""The data sets that splitsec knows, by name; listing them imports none of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from splitsec.errors import UsageError, unknown_name


class _Entry(NamedTuple):
    module: str
    cls: str
    summary: str


_SOURCES = {
    "phantom-fundus": _Entry(
        "phantom_source", "PhantomFundus", "drawn fundus photographs; nothing to download"
    ),
    "retinamnist": _Entry(
        "retinamnist", "RetinaMnist", "1,600 real fundus photographs of 28 px (RetinaMNIST)"
    ),
    "diabetic-retinopathy": _Entry(
        "diabetic_retinopathy",
        "DiabeticRetinopathy",
        "35,000 real fundus photographs (Kaggle diabetic-retinopathy-resized)",
    ),
    "folder": _Entry("folder", "Folder", "your own folder of images with a CSV of labels"),
}


def list_sources() -> list[tuple[str, str]]:
    """Return name and one line about each data set."""
    return [(name, entry.summary) for name, entry in _SOURCES.items()]


def get_source(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return a source with its parameters.

    Raises:
        UsageError: an unknown name or parameter.
    """
    from splitsec.parameters import build_parameters  # noqa: PLC0415 - pydantic is slow to import

    if name not in _SOURCES:
        raise UsageError(unknown_name("data", name, _SOURCES, see="splitsec list data"))
    entry = _SOURCES[name]
    cls = getattr(importlib.import_module(f"splitsec.data.{entry.module}"), entry.cls)
    return cls(build_parameters(f"data {name!r}", cls.Parameters, parameters))


def check_source(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a source, resolved, as JSON values.

    Raises:
        UsageError: an unknown name or parameter.
    """
    resolved: dict[str, Any] = get_source(name, parameters).parameters.model_dump(mode="json")
    return resolved
