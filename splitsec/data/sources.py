"""The table of data sources. Reading it imports no source."""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from splitsec.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    from splitsec.data.catalogue import Source


class SourceEntry(NamedTuple):
    """One data source, by name."""

    name: str
    description: str
    home: str  # module:class


class Availability(NamedTuple):
    """Whether a source's data are there, and a sentence: where, or how to get them."""

    ready: bool
    sentence: str


_SOURCES = {
    entry.name: entry
    for entry in (
        SourceEntry(
            "phantom-fundus",
            "drawn fundus photographs, healthy or with diabetic retinopathy; nothing to download",
            "phantom_source:PhantomFundus",
        ),
        SourceEntry(
            "retinamnist",
            "real fundus photographs (RetinaMNIST, 28 px, CC BY 4.0), grade 0 against 1 to 4",
            "medmnist_source:RetinaMnist",
        ),
        SourceEntry(
            "diabetic-retinopathy",
            "real fundus photographs (Kaggle, resized and cropped), grade 0 against 1 to 4",
            "kaggle:DiabeticRetinopathy",
        ),
        SourceEntry(
            "folder",
            "your own folder of images with a CSV of labels",
            "folder:LabelledFolder",
        ),
    )
}


def list_sources() -> list[tuple[str, str]]:
    """Return name and one-line description of every data source."""
    return [(entry.name, entry.description) for entry in _SOURCES.values()]


def describe_source(name: str) -> str:
    """Return the one-line description of a source.

    Raises:
        UsageError: no such source.
    """
    return _entry(name).description


def source_class(name: str) -> type[Source]:
    """Import a source's class.

    Raises:
        UsageError: no such source.
    """
    module, _, attribute = _entry(name).home.partition(":")
    found: type[Source] = getattr(import_module(f"splitsec.data.{module}"), attribute)
    return found


def available(name: str) -> Availability:
    """Look whether a source's data are there, without reading them.

    Raises:
        UsageError: no such source.
    """
    _entry(name)
    if name == "phantom-fundus":
        return Availability(True, "drawn on demand")
    if name == "folder":
        return Availability(True, "give path and csv (--set data.folder.path=... .csv=...)")
    if name == "retinamnist":
        return _retinamnist()
    return _diabetic_retinopathy()


def _entry(name: str) -> SourceEntry:
    if name not in _SOURCES:
        raise UsageError(unknown_name("data source", name, _SOURCES, "splitsec list data"))
    return _SOURCES[name]


def _retinamnist() -> Availability:
    from splitsec.data.medmnist_source import HOW_TO_GET, default_file  # noqa: PLC0415

    file = default_file()
    if file.is_file():
        return Availability(True, f"found {file}")
    if util.find_spec("medmnist") is not None:
        return Availability(True, "will be downloaded through the medmnist package on first use")
    return Availability(False, HOW_TO_GET.format(file=file))


def _diabetic_retinopathy() -> Availability:
    from splitsec.data.kaggle import find_layout  # noqa: PLC0415

    try:
        layout = find_layout(Path())
    except DataError as error:
        return Availability(False, str(error))
    return Availability(True, f"found {layout.images}")
