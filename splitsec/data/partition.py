"""Splits images into private, public, validation and held-out parts.

No image is in two parts; images of one patient, and exact or near duplicates, stay together. The
partition depends only on the data specification (and on a secret, if it commits to one), never on a
cell's seed. The order of the images does not depend on the sizes of the parts: in an existing data
set (phantoms are drawn as needed) a smaller part holds the first images of a larger one, and the
held-out images stay the same when clients or private images are added.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from splitsec.data.secret import partition_key
from splitsec.errors import DataError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import ANY, SHIFTED, TEST, TRAIN, VALIDATION, Catalogue
from splitsec.randomness import numpy_generator

DUPLICATE_TOLERANCE = 3.0
"""Root mean squared difference of two images' 16x16 grey versions, of 255, below which they
count as the same photograph. In RetinaMNIST the nearest pairs lie under 2, all others over 4."""

_SIGNATURE = 16
_SPARE = 1.15  # candidates decoded beyond what is needed, since duplicates may be dropped
_CHUNK = 1024
_UNBALANCED = 0.05  # share of a part by which a class may miss its equal share
# If duplicates are in several pools that the publishers fixed, the rightmost pool keeps them.
_PRECEDENCE = (SHIFTED, ANY, TRAIN, VALIDATION, TEST)

Rows = NDArray[np.int64]


def pool_of(part: str, catalogue: Catalogue, spec: DataSpec) -> str:
    """Return the pool from which a part is drawn."""
    fixed = TEST in catalogue.pools
    if part == "public" and spec.public_from == "shifted":
        return SHIFTED
    if not fixed:
        return ANY
    return {"validation": VALIDATION, "held-out": TEST}.get(part, TRAIN)


def wanted(spec: DataSpec) -> dict[str, int]:
    """Return part to number of images, in the order in which parts are filled."""
    shares = {
        f"private-{client}": spec.private // spec.clients + (client < spec.private % spec.clients)
        for client in range(spec.clients)
    }
    return {
        "held-out": spec.held_out,
        "validation": spec.validation,
        **shares,
        "public": spec.public,
    }


def candidates(catalogue: Catalogue, spec: DataSpec) -> Rows:
    """Choose the rows to decode: whole groups, with classes in proportion or balanced.

    Args:
        catalogue: all images.
        spec: gives the numbers of images.

    Returns:
        Rows in the order in which parts take them, with a few spare ones if available.

    Raises:
        DataError: a pool has fewer images than its parts need.
    """
    needed: dict[str, int] = {}
    for part, count in wanted(spec).items():
        pool = pool_of(part, catalogue, spec)
        needed[pool] = needed.get(pool, 0) + count
    chosen = []
    for pool, count in needed.items():
        rows = np.flatnonzero(catalogue.pools == pool)
        if len(rows) < count:
            where = f" in its {pool} pool" if pool else ""
            raise DataError(
                f"{spec.name} has {len(rows)} images{where}, but the partition needs {count} "
                f"({_says(spec)})"
            )
        ordered = _mixed(rows, catalogue, _generator(spec, pool=pool))
        chosen.append(ordered[: max(int(count * _SPARE) + 20, count)])
    return np.concatenate(chosen)


def _generator(spec: DataSpec, **stage: str) -> np.random.Generator:
    """Return the generator that shuffles one pool or part."""
    source = {"name": spec.name, "parameters": spec.parameters, "partition": spec.partition}
    if spec.partition_commitment is not None:
        source["secret"] = partition_key(spec.partition_commitment)
    return numpy_generator("partition", **source, **stage)


def _says(spec: DataSpec) -> str:
    return (
        f"{spec.private} private, {spec.public} public, {spec.validation} validation, "
        f"{spec.held_out} held-out"
    )


def _mixed(rows: Rows, catalogue: Catalogue, generator: np.random.Generator) -> Rows:
    """Shuffle rows so that any stretch has the classes in proportion and groups whole."""
    groups, inverse = np.unique(catalogue.groups[rows], return_inverse=True)
    strata = _strata(catalogue.labels[rows], inverse, len(groups))
    positions = np.empty(len(groups))
    pure = strata[strata >= 0]
    largest = 0
    if catalogue.balanced and len(pure):
        largest = min(np.bincount(pure)[np.unique(pure)])
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        count = largest or len(members)
        positions[members] = (generator.permutation(len(members)) + generator.random()) / count
    rank = np.argsort(np.argsort(positions))
    return rows[np.argsort(rank[inverse], kind="stable")]


def _strata(labels: Rows, groups: Rows, count: int) -> Rows:
    """Return each group's class, or -1 if its images have several, shape (count,)."""
    lowest, highest = np.full(count, labels.max(initial=0)), np.zeros(count, np.int64)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    return np.where(lowest == highest, lowest, -1)


def duplicate_groups(images: NDArray[np.uint8], groups: Rows) -> Rows:
    """Merge groups whose images are exact or near duplicates.

    Args:
        images: shape (N, C, H, W).
        groups: shape (N,).

    Returns:
        Shape (N,), equal where images must stay together.
    """
    count = len(images)
    signatures = _signatures(images)
    squares = np.square(signatures).mean(1)
    _, group_ids = np.unique(groups, return_inverse=True)
    left, right = [np.arange(count)], [count + group_ids]
    for start in range(0, count, _CHUNK):
        block = signatures[start : start + _CHUNK]
        products = block @ signatures.T / signatures.shape[1]
        distances = squares[start : start + _CHUNK, None] + squares[None] - 2 * products
        one, other = np.nonzero(distances < DUPLICATE_TOLERANCE**2)
        left.append(one + start)
        right.append(other)
    size = count + int(group_ids.max(initial=0)) + 1
    edges = (np.concatenate(left), np.concatenate(right))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(size, size))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)


def _signatures(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return 16x16 grey versions by averaging blocks, shape (N, 256), of 255."""
    edges = [np.linspace(0, extent, _SIGNATURE + 1).astype(int) for extent in images.shape[2:]]
    starts = [
        np.minimum(edge[:-1], extent - 1)
        for edge, extent in zip(edges, images.shape[2:], strict=True)
    ]
    small = np.empty((len(images), _SIGNATURE, _SIGNATURE))
    for start in range(0, len(images), _CHUNK):
        grey = images[start : start + _CHUNK].mean(1, dtype=np.float64)
        summed = np.add.reduceat(np.add.reduceat(grey, starts[0], 1), starts[1], 2)
        counts = np.outer(_counts(starts[0], grey.shape[1]), _counts(starts[1], grey.shape[2]))
        small[start : start + _CHUNK] = summed / counts
    return small.reshape(len(images), -1)


def _counts(starts: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Return the number of rows that ``reduceat`` sums from each start."""
    return np.maximum(np.diff(np.append(starts, extent)), 1)


def assign(
    rows: Rows,
    together: Rows,
    catalogue: Catalogue,
    spec: DataSpec,
) -> Mapping[str, Rows]:
    """Give whole groups to parts, in order, until each has its number.

    Args:
        rows: candidates, in order.
        together: group of each candidate.
        catalogue: all images.
        spec: gives the number of images per part.

    Returns:
        Part to positions in ``rows``, in the order in which they were taken.

    Raises:
        DataError: duplicates leave too few images.
    """
    pools = catalogue.pools[rows]
    members: dict[int, list[int]] = {}
    for position, group in enumerate(together.tolist()):
        members.setdefault(group, []).append(position)
    for group, positions in members.items():
        keeper = max((pools[position] for position in positions), key=_PRECEDENCE.index)
        members[group] = [position for position in positions if pools[position] == keeper]
    parts: dict[str, Rows] = {}
    used: set[int] = set()
    for part, count in wanted(spec).items():
        pool, taken = pool_of(part, catalogue, spec), list[int]()
        for group, positions in members.items():
            if len(taken) == count:
                break
            fits = len(positions) <= count - len(taken)
            if group not in used and fits and pools[positions[0]] == pool:
                taken += positions
                used.add(group)
        if len(taken) < count:
            raise DataError(
                f"{spec.name}: only {len(taken)} of {count} images are left for the {part} part "
                "once patients and duplicates stay together; ask for fewer images"
            )
        if catalogue.balanced:
            _refuse_unbalanced(part, catalogue, rows[taken], spec)
        parts[part] = np.array(taken, np.int64)
    return parts


def _refuse_unbalanced(part: str, catalogue: Catalogue, rows: Rows, spec: DataSpec) -> None:
    """Raise a DataError if a part that should be balanced is not."""
    counts = np.bincount(catalogue.labels[rows], minlength=len(catalogue.classes))
    due = len(rows) / len(counts)
    if np.abs(counts - due).max() > max(2.0, _UNBALANCED * len(rows)):
        rarest = catalogue.classes[int(counts.argmin())]
        raise DataError(
            f"{spec.name}: the class {rarest!r} runs out: the {part} part would have "
            f"{int(counts.min())} of {due:.0f} such images; ask for fewer images"
        )
