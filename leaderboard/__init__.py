"""The leaderboard: ranks records and makes tables and pages of them, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if __name__ != "splitsec.leaderboard":
    raise ImportError(
        "import splitsec.leaderboard, not leaderboard: its classes would be loaded twice"
    )

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load"]


def load(*paths: str | Path) -> pd.DataFrame:
    """Return records as a data frame, one row per cell.

    Args:
        *paths: folders, searched for ``record.json``; such files; or ``.jsonl`` files.

    Returns:
        The columns of :func:`splitsec.records_frame`, for the headline's victims, with timings
        and the counts and training settings of the specification.

    Raises:
        DataError: there is no record, or none that can be believed.
    """
    from splitsec.leaderboard import tables
    from splitsec.records.store import load_records

    return tables.load(load_records(paths))
