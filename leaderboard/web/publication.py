"""Prepares records for publication, without paths of their machine and with pictures only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from splitsec.cells.requests import request_of
from splitsec.errors import DataError
from splitsec.leaderboard.web.pictures import file_of, picture_of
from splitsec.plugins.names import KINDS
from splitsec.records.official import claimant_of, key_of
from splitsec.records.per_image import PER_IMAGE, load_per_image, per_image_bytes
from splitsec.records.record import Evidence, Record
from splitsec.records.store import StoredRecord, keep_record

_TEXTS = {"reason", "spec", "data", "session", "notes", "provenance"}  # the rest is numbers
_CELL_ID = re.compile(r"[0-9a-f]{64}")
# The folders of an absolute path, POSIX or Windows, up to its last name; not those of a URL.
# Names may have spaces, so the pattern removes a word too many rather than leave half a name.
_FOLDERS = re.compile(
    r"""(?<![\w./~-])(?:file://)?(?:/[^\s/'"`,;:()<>](?:[^/\n'"`,;:()<>]*[^\s/'"`,;:()<>])?)+/"""
    r"""|\b[A-Za-z]:\\(?:[^\\/:*?"<>|\n]+\\)+"""
)


def without_folders(value: Any) -> Any:
    """Return JSON values with absolute paths shortened to their last name."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    return value


def published(record: Record, artifacts: Mapping[str, str]) -> Record:
    """Return a record as the page offers it, with a new seal.

    Its command is the one that runs this cell again, whatever command made the record.

    Args:
        record: any record.
        artifacts: names and paths, relative to the record's folder, of what is published with it.
    """
    said = record.model_dump(mode="json", include=_TEXTS | {"cell_id", "status"})
    said["provenance"]["command"] = command(record)
    rewritten = Record.model_validate(without_folders(said))
    changes: dict[str, Any] = {name: getattr(rewritten, name) for name in _TEXTS}
    claimant = claimant_of(record)
    if claimant is not None:
        changes["evidence"] = Evidence(origin="claimed", claimant=claimant)
    changes["artifacts"] = dict(artifacts)
    return record.model_copy(update=changes).sealed()


def publish(found: StoredRecord, store: Path) -> Record:
    """Write the publishable form of a record, its picture and its values per image into a store.

    Raises:
        DataError: its picture is not a PNG, or its values per image are missing or damaged.
        OutputError: the store cannot be written.
    """
    picture, values = picture_of(found), values_of(found)
    if values is None:
        load_per_image(found.record)  # says what is missing, if anything is
    files, named = {}, {}

    def keep(name: str, content: bytes, suffix: str) -> None:
        files[name] = content
        named[name] = f"../artifacts/{sha256(content).hexdigest()}{suffix}"

    if picture is not None:
        keep(picture.artifact, picture.content, ".png")
    if values is not None:
        keep(PER_IMAGE, values, ".npz")
    return keep_record(store, published(found.record, named), files)


def command(record: Record) -> list[str]:
    """Return the words of a ``splitsec eval`` that runs a cell again, every setting spelled out.

    Empty if ``eval`` alone cannot request it: a partition other than the usual one, or one that is
    derived from a secret.
    """
    spec = record.spec
    if spec.partition or spec.partition_commitment:
        return []
    plugins = record.provenance.plugins
    specs = {
        kind: _beside(plugins[kind]["spec"]) for kind in KINDS if "spec" in plugins.get(kind, {})
    }
    words: list[str] = without_folders(request_of(spec, specs).command())
    return words


def _beside(spec: str) -> str:
    """Return a plug-in's name, or its path as if it were in the working folder."""
    if not re.match(r"[/~\\]|[A-Za-z]:[\\/]", spec):
        return spec
    return "./" + re.split(r"[/\\]", spec.rstrip("/"))[-1]


def file_stem(record: Record) -> str:
    """Return the stem of a cell's file names; a claim's also says whose it is.

    Raises:
        DataError: its id is not a hash, so it is not a safe file name.
    """
    if not _CELL_ID.fullmatch(record.cell_id):
        raise DataError(f"{record.spec.title()}: its cell_id {record.cell_id[:80]!r} is no SHA-256")
    return key_of(record)


def values_of(found: StoredRecord) -> bytes | None:
    """Return a record's values per image as they may be published.

    Names of files are left out, patients are numbered anew, and rows are left out where the images
    are divided by a secret.

    Returns:
        The content of a file; None if the record names none, or the file is missing.

    Raises:
        DataError: it names a file that does not hold its values, or is neither in its own folder
            nor beside it.
    """
    if file_of(found, PER_IMAGE, "the file of its values per image") is None:
        return None
    values = load_per_image(found.record)
    secret = found.record.spec.partition_commitment is not None
    return per_image_bytes(values.without_identities(rows=not secret))
