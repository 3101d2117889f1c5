"""Whose numbers a record has: run by the keeper of these records, or claimed by somebody else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from splitsec.escaping import short_name
from splitsec.records.record import Record

SUBMISSION = "SUBMISSION.md"
"""File that makes a folder a submission: the records in it are claims."""

_SUBMISSIONS = ("leaderboard", "submissions")  # each folder in there is one, whatever it lacks


def is_official(record: Record) -> bool:
    """Return whether a record counts as run here; this alone decides it, for all that ranks.

    A record is claimed if it says so, or if it is in a submission, whatever it says.
    """
    inside = record.folder is not None and submission_of(record.folder) is not None
    return record.evidence.origin == "here" and not inside


def claimant_of(record: Record) -> str | None:
    """Return the name of whoever claims a record; None for an official one.

    Returns:
        The name of its submission; of a record outside of one the name that it was published
        under, or that of the folder that it is in.
    """
    if is_official(record):
        return None
    submission = None if record.folder is None else submission_of(record.folder)
    if submission is not None:
        return short_name(submission.name)
    if record.evidence.claimant is not None:
        return short_name(record.evidence.claimant)
    return "" if record.folder is None else short_name(record.folder.parent.name)


def key_of(record: Record) -> str:
    """Return a key of a record among all cells and claims: the cell's id, and whose claim it is."""
    claimant = claimant_of(record)
    if claimant is None:
        return record.cell_id
    return f"{record.cell_id}-{hashlib.sha256(claimant.encode()).hexdigest()[:8]}"


def submission_of(folder: Path) -> Path | None:
    """Return the submission that a folder is or belongs to, if any."""
    for place in (folder, *folder.parents):
        if (place / SUBMISSION).is_file() or place.parent.parts[-2:] == _SUBMISSIONS:
            return place
    return None
