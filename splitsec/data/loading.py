"""Loading a data set: catalogue, sample, decode or reuse, find duplicates, partition."""

from __future__ import annotations

import numpy as np
import PIL
from numpy.typing import NDArray

from splitsec.data.cache import cached
from splitsec.data.catalogue import Catalogue, Decoded, Source
from splitsec.data.partition import (
    Quota,
    choose_candidates,
    duplicate_pairs,
    join_duplicates,
    partition,
)
from splitsec.data.parts import Data, Part, hash_parts, named_parts
from splitsec.data.sources import source_class
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError
from splitsec.progress import Progress
from splitsec.randomness import numpy_generator


def load_data(spec: DataSpec, progress: Progress) -> Data:
    """Load and partition a data set.

    Args:
        spec: source, size, counts and partition.
        progress: receives the stage of decoding or drawing, and messages about the cache.

    Returns:
        The parts; no image, patient or near duplicate is in two of them.

    Raises:
        UsageError: unknown source or parameter, or no shifted population.
        DataError: missing, unreadable or too few images, or a single class.
    """
    source = source_class(spec.name)(spec)
    catalogue = source.catalogue(progress)
    _check_classes(catalogue.classes, catalogue.labels, f"data source {spec.name!r}")
    quotas = _quotas(spec)
    generator = numpy_generator("partition", source=spec.name, partition=spec.partition)
    candidates = choose_candidates(catalogue, quotas, generator)
    decoded = _decode(source, candidates, progress)
    groups, disclosures = catalogue.groups[candidates], list(catalogue.disclosures)
    if not catalogue.independent:
        pairs = len(duplicate_pairs(decoded.signatures))
        if pairs:
            groups = join_duplicates(groups, decoded.signatures)
            disclosures.append(
                f"{pairs} pairs of exact or near duplicates were found; each stays in one part"
            )
    rows = partition(catalogue, candidates, groups, quotas, generator)
    parts = {name: _part(catalogue, candidates, decoded, rows[name]) for name in rows}
    private = tuple(parts[quota.part] for quota in quotas if quota.role == "private")
    public, validation, held_out = parts["public"], parts["validation"], parts["held_out"]
    for name, part in (*_clients(private), ("held-out part", held_out)):
        _check_classes(catalogue.classes, part.labels, f"the {name} of {spec.name!r}")
    return Data(
        spec=spec,
        classes=catalogue.classes,
        sha256=hash_parts(named_parts(private, public, validation, held_out)),
        private=private,
        public=public,
        validation=validation,
        held_out=held_out,
        disclosures=tuple(disclosures),
    )


def _quotas(spec: DataSpec) -> list[Quota]:
    each, more = divmod(spec.private, spec.clients)
    private = [
        Quota(f"private-{client}", "private", each + (client < more))
        for client in range(spec.clients)
    ]
    if spec.clients == 1:
        private = [Quota("private", "private", spec.private)]
    return [
        *private,
        Quota("public", "public", spec.public),
        Quota("validation", "validation", spec.validation),
        Quota("held_out", "held_out", spec.held_out),
    ]


def _decode(source: Source, rows: NDArray[np.int64], progress: Progress) -> Decoded:
    spec = source.spec
    key = {
        "parameters": source.parameters.model_dump(mode="json"),
        "size": spec.size,
        "channels": spec.channels,
        "files": source.fingerprint(rows),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }

    def build() -> Decoded:
        with progress.stage(source.stage, len(rows)) as stage:
            return source.decode(rows, stage)

    return cached(source.name, key, build, progress)


def _part(
    catalogue: Catalogue,
    candidates: NDArray[np.int64],
    decoded: Decoded,
    rows: NDArray[np.int64],
) -> Part:
    places = np.searchsorted(candidates, rows)
    images = np.ascontiguousarray(decoded.images[places])
    return Part(images=images, labels=catalogue.labels[rows], indices=rows)


def _clients(private: tuple[Part, ...]) -> list[tuple[str, Part]]:
    if len(private) == 1:
        return [("private part", private[0])]
    return [(f"private part of client {client}", part) for client, part in enumerate(private)]


def _check_classes(classes: tuple[str, ...], labels: NDArray[np.int64], where: str) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        names = ", ".join(repr(classes[label]) for label in present) or "none"
        raise DataError(
            f"{where} holds a single class ({names}, {len(labels)} images); a classifier needs "
            "two: ask for more images, or correct the labels"
        )
