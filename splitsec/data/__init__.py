"""Data sets: sources of labelled images, their partition, and their cache.

Names are resolved on first use, so that listing the sources imports neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splitsec.data.loading import load_data
    from splitsec.data.parts import Data, Part
    from splitsec.data.sources import Availability, available, describe_source, list_sources
    from splitsec.data.spec import DataSpec

_HOMES = {
    "Availability": "sources",
    "Data": "parts",
    "DataSpec": "spec",
    "Part": "parts",
    "available": "sources",
    "describe_source": "sources",
    "list_sources": "sources",
    "load_data": "loading",
}

__all__ = [
    "Availability",
    "Data",
    "DataSpec",
    "Part",
    "available",
    "describe_source",
    "list_sources",
    "load_data",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
