"""The data sets that splitsec knows, by name; listing them imports none of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from splitsec.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from splitsec.data.source import Task


class _Entry(NamedTuple):
    module: str
    cls: str
    summary: str
    task: Task = "classification"


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
    "phantom-cxr": _Entry(
        "phantom_cxr_source",
        "PhantomCxr",
        "drawn chest X-rays with masks of the lungs; nothing to download",
        "segmentation",
    ),
    "lung-segmentation": _Entry(
        "lung_segmentation",
        "LungSegmentation",
        "704 real chest X-rays with masks of the lungs (Montgomery and Shenzhen, Kaggle)",
        "segmentation",
    ),
    "folder": _Entry("folder", "Folder", "your own folder of images with a CSV of labels"),
}


def list_sources() -> list[tuple[str, str]]:
    """Return name and one line about each data set."""
    return [(name, entry.summary) for name, entry in _SOURCES.items()]


def source_task(name: str) -> Task:
    """Return what a data set is labelled for, without importing it.

    Raises:
        UsageError: an unknown name.
    """
    return _entry(name).task


def get_source(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return a source with its parameters.

    Raises:
        UsageError: an unknown name or parameter.
    """
    from splitsec.parameters import build_parameters  # noqa: PLC0415 - pydantic is slow to import

    entry = _entry(name)
    cls = getattr(importlib.import_module(f"splitsec.data.{entry.module}"), entry.cls)
    return cls(build_parameters(f"data {name!r}", cls.Parameters, parameters))


def check_source(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a source, resolved, as JSON values.

    Raises:
        UsageError: an unknown name or parameter.
    """
    resolved: dict[str, Any] = get_source(name, parameters).parameters.model_dump(mode="json")
    return resolved


def _entry(name: str) -> _Entry:
    if name not in _SOURCES:
        raise UsageError(unknown_name("data", name, _SOURCES, see="splitsec list data"))
    return _SOURCES[name]
