"""Images, partitioned once by the data specification into who holds them.

The names below are imported when they are first used: listing data sets needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splitsec.data.loading import ImageHashes, load_data
    from splitsec.data.parts import Data, Part
    from splitsec.data.sources import get_source, list_sources
    from splitsec.data.spec import DataSpec

_HOMES = {
    "ImageHashes": "loading",
    "load_data": "loading",
    "Data": "parts",
    "Part": "parts",
    "get_source": "sources",
    "list_sources": "sources",
    "DataSpec": "spec",
}

__all__ = ["Data", "DataSpec", "ImageHashes", "Part", "get_source", "list_sources", "load_data"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'splitsec.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"splitsec.data.{_HOMES[name]}"), name)
