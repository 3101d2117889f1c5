"""Splits images into private, public, validation and held-out parts.

No image is in two parts; images of one patient, and copies of one photograph, stay together. The
partition depends only on the data specification (and on a secret, if it commits to one), never on a
cell's seed. The order of the images does not depend on the sizes of the parts: in an existing data
set (phantoms are drawn as needed) a smaller part holds the first images of a larger one, and the
held-out images stay the same when clients or private images are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from splitsec.data.secret import partition_key
from splitsec.errors import DataError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import ANY, SHIFTED, TEST, TRAIN, TRAINED, VALIDATION, Catalogue
from splitsec.randomness import numpy_generator

SPARES = (1.15, 3.0, float("inf"))
"""Shares of the needed images that are decoded, one after the other until they fill the parts:
copies may be left out, and patients may be too large."""

_SPARE_IMAGES = 20
_UNBALANCED = 0.05  # share of a part by which a class may miss its equal share
# If duplicates are in several pools that the publishers fixed, the rightmost pool keeps them.
# A copy of an image that trained the model is never held out.
_PRECEDENCE = (SHIFTED, ANY, TRAIN, VALIDATION, TEST, TRAINED)

Rows = NDArray[np.int64]


class PartNotFilledError(DataError):
    """The candidates do not fill a part."""


def pool_of(part: str, catalogue: Catalogue, spec: DataSpec) -> str:
    """Return the pool from which a part is drawn."""
    fixed = TEST in catalogue.pools
    if part == "public" and spec.public_from == "shifted":
        return SHIFTED
    if TRAINED in catalogue.pools and part.startswith("private"):
        return TRAINED
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


def candidates(catalogue: Catalogue, spec: DataSpec, spare: float) -> Rows:
    """Choose the rows to decode: whole groups, with classes in proportion or balanced.

    Args:
        catalogue: all images.
        spec: gives the numbers of images.
        spare: how many rows to choose, as a share of the needed ones.

    Returns:
        Rows in the order in which parts take them. Groups larger than every part come last.

    Raises:
        DataError: a pool has fewer images than its parts need.
    """
    needed: dict[str, list[int]] = {}
    for part, count in wanted(spec).items():
        needed.setdefault(pool_of(part, catalogue, spec), []).append(count)
    chosen = []
    for pool, counts in needed.items():
        count = sum(counts)
        rows = np.flatnonzero(catalogue.pools == pool)
        if len(rows) < count:
            where = f" in its {pool} pool" if pool else ""
            raise DataError(
                f"{spec.name} has {len(rows)} images{where}, but the partition needs {count} "
                f"({_says(spec)})"
            )
        ordered = _mixed(rows, catalogue, _generator(catalogue, spec, pool))
        _, own, sizes = np.unique(
            catalogue.groups[ordered], return_inverse=True, return_counts=True
        )
        large = sizes[own] > max(counts)
        ordered = np.concatenate([ordered[~large], ordered[large]])
        chosen.append(_whole(ordered, catalogue, min(count * spare, len(rows)) + _SPARE_IMAGES))
    return np.concatenate(chosen)


def _whole(rows: Rows, catalogue: Catalogue, least: float) -> Rows:
    """Return the first rows, at least so many, that hold whole groups."""
    if least >= len(rows):
        return rows
    end = int(least)
    last = catalogue.groups[rows[end - 1]]
    while end < len(rows) and catalogue.groups[rows[end]] == last:
        end += 1
    return rows[:end]


def _generator(catalogue: Catalogue, spec: DataSpec, pool: str) -> np.random.Generator:
    """Return the generator that shuffles one pool; no path decides it."""
    source = {
        "name": spec.name,
        "parameters": dict(catalogue.shuffled_by),
        "partition": spec.partition,
    }
    if spec.partition_commitment is not None:
        source["secret"] = partition_key(spec.partition_commitment)
    return numpy_generator("partition", **source, pool=pool)


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


def conflicting(copied: Rows, labels: Rows) -> NDArray[np.bool_]:
    """Return which images are copies of one photograph that have different labels, shape (N,).

    Args:
        copied: shape (N,), equal for the copies of a photograph.
        labels: shape (N,).
    """
    groups, inverse = np.unique(copied, return_inverse=True)
    return _strata(labels, inverse, len(groups))[inverse] < 0


def stay_together(copied: Rows, groups: Rows) -> Rows:
    """Return what must stay together, because a patient or a photograph is the same, shape (N,).

    Args:
        copied: shape (N,), equal for the copies of a photograph.
        groups: shape (N,), equal for the images of a patient.
    """
    _, photograph = np.unique(copied, return_inverse=True)
    _, patient = np.unique(groups, return_inverse=True)
    photographs = int(photograph.max(initial=-1)) + 1
    size = photographs + int(patient.max(initial=-1)) + 1
    edges = (np.ones(len(copied), np.int8), (photograph, photographs + patient))
    graph = coo_array(edges, shape=(size, size))
    return connected_components(graph, directed=False)[1][photograph].astype(np.int64)


def assign(
    rows: Rows,
    together: Rows,
    catalogue: Catalogue,
    spec: DataSpec,
) -> Mapping[str, Rows]:
    """Give whole groups to parts, in order, until each has its number, or is as near as possible.

    Args:
        rows: candidates, in order.
        together: group of each candidate.
        catalogue: all images.
        spec: gives the number of images per part.

    Returns:
        Part to positions in ``rows``, in the order in which they were taken. A part misses its
        number by less than the images of a usual group.

    Raises:
        PartNotFilledError: too few images are left, their groups are too large, or a class of a
            data set that should be balanced runs out.
    """
    pools = catalogue.pools[rows]
    members: dict[int, list[int]] = {}
    for position, group in enumerate(together.tolist()):
        members.setdefault(group, []).append(position)
    for group, positions in members.items():
        keeper = max((pools[position] for position in positions), key=_PRECEDENCE.index)
        members[group] = [position for position in positions if pools[position] == keeper]
    parts: dict[str, Rows] = {}
    for part, count in wanted(spec).items():
        pool = pool_of(part, catalogue, spec)
        left = {group: own for group, own in members.items() if pools[own[0]] == pool}
        taken = _filled(left, count)
        missed = abs(count - sum(len(left[group]) for group in taken))
        if missed and missed >= np.median([len(own) for own in left.values()] or [0]):
            raise PartNotFilledError(_too_few(part, count, left, taken, spec))
        chosen = [position for group in taken for position in members.pop(group)]
        if catalogue.balanced:
            _refuse_unbalanced(part, catalogue, rows[chosen], spec)
        parts[part] = np.array(chosen, np.int64)
    return parts


def _filled(left: Mapping[int, list[int]], count: int) -> list[int]:
    """Choose groups, in order, until they have ``count`` images, or as near as possible."""
    taken: list[int] = []
    missing = count
    for group, own in left.items():
        if not missing:
            break
        if len(own) <= missing:
            taken.append(group)
            missing -= len(own)
    chosen = set(taken)
    rest = [group for group in left if group not in chosen] if missing else []
    if rest:
        smallest = min(rest, key=lambda group: len(left[group]))
        if not taken or len(left[smallest]) - missing < missing:
            taken.append(smallest)
    return taken


def _too_few(
    part: str, count: int, left: Mapping[int, list[int]], taken: Sequence[int], spec: DataSpec
) -> str:
    """Return why a part cannot be filled, and what to do."""
    available = sum(len(own) for own in left.values())
    if available < count:
        return (
            f"{spec.name}: only {available} of {count} images are left for the {part} part, once "
            f"patients and copies of a photograph stay together ({_says(spec)}); ask for fewer "
            "images"
        )
    got = sum(len(left[group]) for group in taken)
    largest = max(len(own) for own in left.values())
    return (
        f"{spec.name}: {available} images are left for the {part} part, but they cannot make up "
        f"{count}, only {got}: images of a patient and copies of a photograph stay together, and "
        f"the largest group has {largest} images; check the column of patients (group_column), or "
        "lower the tolerance of copies (duplicates), or leave that group out"
    )


def _refuse_unbalanced(part: str, catalogue: Catalogue, rows: Rows, spec: DataSpec) -> None:
    """Raise an error if a part that should be balanced is not."""
    counts = np.bincount(catalogue.labels[rows], minlength=len(catalogue.classes))
    due = len(rows) / len(counts)
    if np.abs(counts - due).max() > max(2.0, _UNBALANCED * len(rows)):
        rarest = catalogue.classes[int(counts.argmin())]
        raise PartNotFilledError(
            f"{spec.name}: the class {rarest!r} runs out: the {part} part would have "
            f"{int(counts.min())} of {due:.0f} such images; ask for fewer images"
        )
