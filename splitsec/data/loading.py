"""Loads, decodes and partitions the images of a data specification."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.data.cache import PORTION, cached_images, cached_in_portions
from splitsec.data.decoding import DECODING
from splitsec.data.duplicates import group_copies
from splitsec.data.files import fingerprint
from splitsec.data.partition import (
    SPARES,
    PartNotFilledError,
    assign,
    candidates,
    conflicting,
    stay_together,
    wanted,
)
from splitsec.data.parts import Data, Part
from splitsec.data.sources import build_source
from splitsec.errors import DataError, NotApplicable, blaming
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import Plugin, is_builtin, load_plugin
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import (
    DUPLICATE_TOLERANCE,
    TRAINED,
    Catalogue,
    ImageParameters,
    Source,
    decode_checked,
    decode_masks_checked,
    list_checked,
)
from splitsec.progress import Progress

_TOLD = 3  # photographs, and copies of each, that a message names


def load_data(spec: DataSpec, progress: Progress) -> Data:
    """Load, decode (or take from the cache) and partition a data set.

    Args:
        spec: the images, their size and their parts.
        progress: receives progress reports while images are decoded.

    Raises:
        DataError: images or masks are missing, unreadable, too few or of one class.
        UsageError: the specification asks for what the source does not have.
        PluginError: the source raised, or broke its contract.
    """
    plugin = load_plugin("data", spec.source)
    source: Source[Parameters] = build_source(plugin, spec.parameters)
    with blaming(f"data {plugin.name!r}", "catalogue()"):
        catalogue = list_checked(source, spec)
    parts, said, notes = _divided(_Loaded(source, plugin, catalogue), spec, progress)
    if source.task_for(source.parameters) == "classification":
        _refuse_a_single_class(parts, spec)
    else:
        _refuse_uniform_masks(parts, spec)
    images_sha256 = _sha256(parts.values())
    return Data(
        spec=spec,
        classes=catalogue.classes,
        sha256=_with_classes(images_sha256, catalogue.classes),
        images_sha256=images_sha256,
        private=tuple(parts[f"private-{client}"] for client in range(spec.clients)),
        public=parts["public"],
        validation=parts["validation"],
        held_out=parts["held-out"],
        disclosures=(*catalogue.disclosures, *said, *_says_secret(spec)),
        notes=tuple(notes),
        training_known=TRAINED in catalogue.pools,
    )


class _Division(NamedTuple):
    """The parts, with sentences for a reader of results and for the person at this machine."""

    parts: dict[str, Part]
    disclosures: list[str]
    notes: list[str]


class _Loaded(NamedTuple):
    """A source with its catalogue."""

    source: Source[Parameters]
    plugin: Plugin
    catalogue: Catalogue


def _divided(loaded: _Loaded, spec: DataSpec, progress: Progress) -> _Division:
    """Decode the images that the parts need, or more if these do not fill them, and divide them."""
    rows = candidates(loaded.catalogue, spec, SPARES[0])
    for spare in SPARES[1:]:
        try:
            return _divide(rows, loaded, spec, progress)
        except PartNotFilledError:
            more = candidates(loaded.catalogue, spec, spare)
            if len(more) == len(rows):
                raise
            rows = more
    return _divide(rows, loaded, spec, progress)


def _divide(
    rows: NDArray[np.int64], loaded: _Loaded, spec: DataSpec, progress: Progress
) -> _Division:
    catalogue, keys = loaded.catalogue, loaded.catalogue.keys[rows]
    with blaming(f"data {loaded.plugin.name!r}", "decode()"):
        images, masks = _decoded(loaded, rows, spec, progress)
    given = loaded.source.parameters
    tolerance = given.duplicates if isinstance(given, ImageParameters) else DUPLICATE_TOLERANCE
    copied = group_copies(images, tolerance)
    unlike = conflicting(copied, catalogue.labels[rows])
    (agreeing,) = np.nonzero(~unlike)
    together = stay_together(copied[agreeing], catalogue.groups[rows[agreeing]])
    _, patients = np.unique(catalogue.groups, return_inverse=True)
    parts = {}
    for name, taken in assign(rows[agreeing], together, catalogue, spec).items():
        places = agreeing[taken]
        parts[name] = Part(
            images=np.ascontiguousarray(images[places]),
            labels=catalogue.labels[rows[places]],
            indices=keys[places],
            masks=None if masks is None else np.ascontiguousarray(masks[places]),
            patients=patients[rows[places]].astype(np.int64),
            names=tuple(catalogue.names[row] for row in rows[places]) if catalogue.names else (),
        )
    said = [*_say_conflicts(copied[unlike]), *_say_counts(parts, spec)]
    return _Division(parts, said, _name_conflicts(rows[unlike], copied[unlike], catalogue))


def _name_conflicts(
    rows: NDArray[np.int64], copied: NDArray[np.int64], catalogue: Catalogue
) -> list[str]:
    """Name copies of one photograph that have different labels."""
    groups = np.unique(copied)
    notes = []
    for group in groups[:_TOLD]:
        own = [
            f"{catalogue.name_of(row)} ({catalogue.classes[catalogue.labels[row]]})"
            for row in np.sort(rows[copied == group])[:_TOLD].tolist()
        ]
        listed = ", ".join(own)
        notes.append(f"left out, as copies of one photograph with different labels: {listed}")
    if len(groups) > _TOLD:
        notes.append(f"... and {len(groups) - _TOLD} more such photographs")
    return notes


def _say_conflicts(copied: NDArray[np.int64]) -> list[str]:
    """Disclose how many copies of one photograph with different labels are left out."""
    count = len(np.unique(copied))
    what = "photograph has" if count == 1 else "photographs have"
    said = f"{count} {what} copies with different labels: all {len(copied)} copies are left out"
    return [said] if count else []


def _say_counts(parts: Mapping[str, Part], spec: DataSpec) -> list[str]:
    """Disclose the parts that do not have the number of images that was asked for."""
    uneven = [
        f"{len(parts[name])} instead of {count} in the {name} part"
        for name, count in wanted(spec).items()
        if len(parts[name]) != count
    ]
    if not uneven:
        return []
    return [f"images that stay together do not make up the numbers asked for: {', '.join(uneven)}"]


class ImageHashes:
    """Hashes of the images of data specifications; each specification is loaded once.

    Args:
        progress: receives progress reports while images are decoded.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._known: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    def of(self, spec: DataSpec) -> str:
        """Return :attr:`Data.sha256` of a specification.

        Raises:
            SplitsecError: see :func:`load_data`.
        """
        key = spec.model_dump_json()
        if key in self._refused:
            raise NotApplicable(self._refused[key])
        if key not in self._known:
            try:
                data = load_data(spec, self._progress)
            except NotApplicable as error:
                self._refused[key] = str(error)
                raise
            for note in data.notes:
                self._progress.message(note)
            self._known[key] = data.sha256
        return self._known[key]


def _says_secret(spec: DataSpec) -> list[str]:
    if spec.partition_commitment is None:
        return []
    return [f"the images are divided by a secret; its commitment is {spec.partition_commitment}"]


def _decoded(
    loaded: _Loaded, rows: NDArray[np.int64], spec: DataSpec, progress: Progress
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return images, and masks for segmentation, from the cache or decoded."""
    source, plugin, keys = loaded.source, loaded.plugin, loaded.catalogue.keys[rows]
    key: dict[str, Any] = {
        "source": spec.name,
        "parameters": spec.parameters,
        "fingerprint": _fingerprint(loaded, rows, progress),
        "keys": hashlib.sha256(keys.tobytes()).hexdigest(),
        "size": spec.size,
        "decoding": DECODING,
    }
    if not is_builtin("data", plugin.spec):  # fingerprints of built-in sources cover their code
        key["code"] = plugin.sha256

    def decode(some: slice, shown: Progress) -> NDArray[np.uint8]:
        return decode_checked(source, keys[some].tolist(), spec.size, spec.channels, shown)

    # What is in one file is read in one go.
    portion = PORTION if source.files() else len(keys)
    coloured = key | {"channels": spec.channels}
    images = cached_in_portions(coloured, len(keys), portion, decode, progress)
    if source.task_for(source.parameters) == "classification":
        return images, None
    masks = cached_images(
        key | {"masks": True},
        lambda: decode_masks_checked(source, keys.tolist(), spec.size, progress),
        progress,
    )
    return images, masks


def _fingerprint(loaded: _Loaded, rows: NDArray[np.int64], progress: Progress) -> str:
    """Return what the catalogue states, or else the hash of the files that some rows need."""
    if loaded.catalogue.fingerprint:
        return loaded.catalogue.fingerprint
    files = loaded.source.files(), loaded.source.mask_files()
    return fingerprint([own[row] for own in files if own for row in rows.tolist()], progress)


def _refuse_a_single_class(parts: Mapping[str, Part], spec: DataSpec) -> None:
    for name, part in parts.items():
        if name.startswith(("private", "held-out")) and len(np.unique(part.labels)) < 2:
            raise DataError(
                f"{spec.name}: the {name} part of {len(part)} images has a single class; "
                "ask for more images"
            )


def _refuse_uniform_masks(parts: Mapping[str, Part], spec: DataSpec) -> None:
    for name, part in parts.items():
        if part.masks is None or not name.startswith(("private", "held-out")):
            continue
        covered = part.masks.mean()
        if covered in (0, 1):
            what = "all" if covered else "none"
            raise DataError(
                f"{spec.name}: the masks of the {name} part mark {what} of the pixels of its "
                f"{len(part)} images at {spec.size}x{spec.size}; check which values of a mask "
                "count, or ask for a larger size"
            )


def _with_classes(images_sha256: str, classes: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([images_sha256, *classes]).encode()).hexdigest()


def _sha256(parts: Iterable[Part]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.images, part.labels, part.masks):
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
