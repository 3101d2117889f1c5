"""From a data specification to partitioned images."""

from __future__ import annotations

import hashlib

import numpy as np

from splitsec.data.cache import cached_images
from splitsec.data.partition import assign, candidates, duplicate_groups
from splitsec.data.parts import Data, Part
from splitsec.data.source import Source
from splitsec.data.sources import get_source
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError
from splitsec.parameters import Parameters
from splitsec.progress import Progress
from splitsec.randomness import numpy_generator


def load_data(spec: DataSpec, progress: Progress) -> Data:
    """Load, decode (or take from the cache) and partition a data set.

    Args:
        spec: which images, of what size, in which parts.
        progress: told of decoding.

    Raises:
        DataError: images are missing, unreadable, too few or of one class.
        UsageError: the specification asks for what the source does not have.
    """
    source: Source[Parameters] = get_source(spec.name, spec.parameters)
    catalogue = source.catalogue(spec)
    generator = numpy_generator(
        "partition", **spec.model_dump(mode="json", exclude={"size", "channels"})
    )
    rows = candidates(catalogue, spec, generator)
    keys = catalogue.keys[rows]
    images = cached_images(
        {
            "source": spec.name,
            "parameters": spec.parameters,
            "fingerprint": catalogue.fingerprint,
            "keys": hashlib.sha256(keys.tobytes()).hexdigest(),
            "size": spec.size,
            "channels": spec.channels,
        },
        lambda: source.decode(keys.tolist(), spec.size, spec.channels, progress),
        progress,
    )
    together = duplicate_groups(images, catalogue.groups[rows])
    chosen = assign(rows, together, catalogue, spec, generator)
    parts = {
        name: Part(
            images=np.ascontiguousarray(images[positions]),
            labels=catalogue.labels[rows[positions]],
            indices=keys[positions],
        )
        for name, positions in chosen.items()
    }
    for name, part in parts.items():
        if name.startswith(("private", "held-out")) and len(np.unique(part.labels)) < 2:
            raise DataError(
                f"{spec.name}: the {name} part of {len(part)} images has a single class; "
                "ask for more images"
            )
    digest = hashlib.sha256()
    for part in parts.values():
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
    return Data(
        spec=spec,
        classes=catalogue.classes,
        sha256=digest.hexdigest(),
        private=tuple(parts[f"private-{client}"] for client in range(spec.clients)),
        public=parts["public"],
        validation=parts["validation"],
        held_out=parts["held-out"],
        disclosures=catalogue.disclosures,
    )
