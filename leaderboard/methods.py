"""Names methods: a method is its source, so another source of one name has another name here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from splitsec.escaping import short_name
from splitsec.plugins.loading import builtin_code
from splitsec.plugins.names import METHODS, Kind
from splitsec.records.record import Record

_HASH = 8  # characters


class Methods:
    """The names of methods, among which the one that was last run here keeps the plain name.

    Args:
        official: records that were run here. Of a name that none of them has, the built-in
            method keeps it.
    """

    def __init__(self, official: Iterable[Record]) -> None:
        newest: dict[tuple[Kind, str, int], tuple[str, str]] = {}
        for record in official:
            for kind in METHODS:
                key = (kind, getattr(record.spec, kind), record.protocol)
                found = (record.provenance.created, source_of(record, kind))
                newest[key] = max(found, newest.get(key, found))
        self._usual = {key: source for key, (_, source) in newest.items()}

    def label(self, record: Record, kind: Kind) -> str:
        """Return the name of a record's method, such as ``dcor``, or ``dcor (1a2b3c4d)``."""
        name, source = getattr(record.spec, kind), source_of(record, kind)
        usual = self._usual.get((kind, name, record.protocol))
        if usual is None:
            usual = builtin_code(kind, name)
        shown = distinct(name)
        if source == usual:
            return shown
        return f"{shown} ({distinct(source[:_HASH]) if source else 'source unknown'})"


def source_of(record: Record, kind: Kind) -> str:
    """Return the hash of a method's code as a record states it; empty where it does not."""
    said = record.provenance.plugins.get(kind, {})
    return said.get("code") or said.get("sha256") or ""


def distinct(text: str) -> str:
    """Return a name that can be shown; one that had to be changed ends with a hash of the whole."""
    shown = short_name(text)
    if shown == text:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{shown} #{digest[:_HASH]}"
