"""The built-in data sources, by name; listing them imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from splitsec.errors import UsageError, blaming, unknown_name

if TYPE_CHECKING:
    from splitsec.data.source import Task
    from splitsec.plugins import Plugin


class Entry(NamedTuple):
    """Where a built-in source is, and what is said of it without importing it."""

    module: str
    summary: str
    task: Task = "classification"


SOURCES = {
    "phantom-fundus": Entry("phantom_source", "drawn fundus photographs; nothing to download"),
    "retinamnist": Entry("retinamnist", "1,600 real fundus photographs of 28 px (RetinaMNIST)"),
    "diabetic-retinopathy": Entry(
        "diabetic_retinopathy",
        "35,000 real fundus photographs (Kaggle diabetic-retinopathy-resized)",
    ),
    "phantom-cxr": Entry(
        "phantom_cxr_source",
        "drawn chest X-rays with masks of the lungs; nothing to download",
        "segmentation",
    ),
    "lung-segmentation": Entry(
        "lung_segmentation",
        "704 real chest X-rays with masks of the lungs (Montgomery and Shenzhen, Kaggle)",
        "segmentation",
    ),
    "folder": Entry("folder", "your own folder of images with a CSV of labels"),
}


def list_sources() -> list[tuple[str, str]]:
    """Return name and one line about each built-in data set."""
    return [(name, entry.summary) for name, entry in SOURCES.items()]


def source_task(name: str) -> Task:
    """Return what a built-in data set is labelled for, without importing it.

    Raises:
        UsageError: an unknown name.
    """
    return _entry(name).task


def get_source(spec: str, parameters: Mapping[str, Any]) -> Any:
    """Return a source with its parameters.

    Args:
        spec: name, ``distribution/name`` or path, see :mod:`splitsec.plugins`.
        parameters: of the source.

    Raises:
        UsageError: an unknown name or parameter.
        PluginError: the source cannot be loaded.
    """
    from splitsec.plugins import load_plugin  # noqa: PLC0415 - it reads the table above

    return build_source(load_plugin("data", spec), parameters)


def build_source(plugin: Plugin, parameters: Mapping[str, Any]) -> Any:
    """Return a loaded source with its parameters.

    Raises:
        UsageError: an unknown parameter.
        PluginError: the source raised.
    """
    from splitsec.parameters import build_parameters  # noqa: PLC0415 - pydantic is slow to import

    label = f"data {plugin.name!r}"
    given = build_parameters(label, plugin.cls.Parameters, parameters)
    with blaming(label, "__init__()"):
        return plugin.cls(given)


def _entry(name: str) -> Entry:
    if name not in SOURCES:
        raise UsageError(unknown_name("data", name, SOURCES, see="splitsec list data"))
    return SOURCES[name]
