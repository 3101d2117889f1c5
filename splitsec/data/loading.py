"""Loads, decodes and partitions the images of a data specification."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.data.cache import cached_images
from splitsec.data.partition import assign, candidates, duplicate_groups
from splitsec.data.parts import Data, Part
from splitsec.data.sources import build_source
from splitsec.errors import DataError, blaming
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import Plugin, is_builtin, load_plugin
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Source, decode_checked, decode_masks_checked, list_checked
from splitsec.progress import Progress


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
    with blaming(f"data {plugin.name!r}", "catalogue() or decode()"):
        catalogue = list_checked(source, spec)
        rows = candidates(catalogue, spec)
        keys = catalogue.keys[rows]
        images, masks = _decoded(source, plugin, catalogue.fingerprint, keys, spec, progress)
    together = duplicate_groups(images, catalogue.groups[rows])
    chosen = assign(rows, together, catalogue, spec)
    parts = {
        name: Part(
            images=np.ascontiguousarray(images[positions]),
            labels=catalogue.labels[rows[positions]],
            indices=keys[positions],
            masks=None if masks is None else np.ascontiguousarray(masks[positions]),
        )
        for name, positions in chosen.items()
    }
    if source.task == "classification":
        _refuse_a_single_class(parts, spec)
    return Data(
        spec=spec,
        classes=catalogue.classes,
        sha256=_sha256(parts.values()),
        private=tuple(parts[f"private-{client}"] for client in range(spec.clients)),
        public=parts["public"],
        validation=parts["validation"],
        held_out=parts["held-out"],
        disclosures=(*catalogue.disclosures, *_says_secret(spec)),
    )


class ImageHashes:
    """Hashes of the images of data specifications; each specification is loaded once.

    Args:
        progress: receives progress reports while images are decoded.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._known: dict[str, str] = {}

    def of(self, spec: DataSpec) -> str:
        """Return the SHA-256 of all parts' images, labels and masks.

        Raises:
            SplitsecError: see :func:`load_data`.
        """
        key = spec.model_dump_json()
        if key not in self._known:
            self._known[key] = load_data(spec, self._progress).sha256
        return self._known[key]


def _says_secret(spec: DataSpec) -> list[str]:
    if spec.partition_commitment is None:
        return []
    return [f"the images are divided by a secret; its commitment is {spec.partition_commitment}"]


def _decoded(
    source: Source[Parameters],
    plugin: Plugin,
    fingerprint: str,
    keys: NDArray[np.int64],
    spec: DataSpec,
    progress: Progress,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return images, and masks for segmentation, from the cache or decoded."""
    key: dict[str, Any] = {
        "source": spec.name,
        "parameters": spec.parameters,
        "fingerprint": fingerprint,
        "keys": hashlib.sha256(keys.tobytes()).hexdigest(),
        "size": spec.size,
    }
    if not is_builtin("data", plugin.spec):  # fingerprints of built-in sources cover their code
        key["code"] = plugin.sha256
    images = cached_images(
        key | {"channels": spec.channels},
        lambda: decode_checked(source, keys.tolist(), spec.size, spec.channels, progress),
        progress,
    )
    if source.task == "classification":
        return images, None
    masks = cached_images(
        key | {"masks": True},
        lambda: decode_masks_checked(source, keys.tolist(), spec.size, progress),
        progress,
    )
    return images, masks


def _refuse_a_single_class(parts: Mapping[str, Part], spec: DataSpec) -> None:
    for name, part in parts.items():
        if name.startswith(("private", "held-out")) and len(np.unique(part.labels)) < 2:
            raise DataError(
                f"{spec.name}: the {name} part of {len(part)} images has a single class; "
                "ask for more images"
            )


def _sha256(parts: Iterable[Part]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
        if part.masks is not None:
            digest.update(part.masks.tobytes())
    return digest.hexdigest()
