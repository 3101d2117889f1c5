"""Who gets which image: a random partition that keeps groups and duplicates together.

A partition depends on the source's name, on the images and on the spec (``partition`` and the
counts), never on a cell's seed or on the size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from splitsec.data.catalogue import Catalogue, Role
from splitsec.errors import DataError

Integers = NDArray[np.int64]

#: Root mean square difference, in grey levels of 255 on 16x16 averages, under which two
#: images are taken for the same photograph. In RetinaMNIST repeated photographs differ by up
#: to 1.6 and the nearest different ones by 3.9.
DUPLICATE_TOLERANCE = 2.5

_BLOCK = 2048


class Quota(NamedTuple):
    """How many images one part needs."""

    part: str
    role: Role
    count: int


class _Plan(NamedTuple):
    """Progress of a partition: what every part has and still lacks."""

    rows: list[list[int]]  # per part
    lacking: NDArray[np.int64]  # (parts, classes)


def join_duplicates(groups: Integers, signatures: NDArray[np.uint8]) -> Integers:
    """Merge groups that contain the same photograph, exactly or nearly.

    Args:
        groups: group of each image, shape (n,).
        signatures: 16x16 grey averages, shape (n, 16, 16).

    Returns:
        New group numbers, shape (n,); images in one old group stay in one new group.
    """
    count = len(groups)
    pairs = duplicate_pairs(signatures)
    _, leaders, members = np.unique(groups, return_index=True, return_inverse=True)
    edges = np.concatenate([pairs, np.stack([np.arange(count), leaders[members]], axis=1)])
    graph = coo_matrix((np.ones(len(edges), bool), edges.T), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    return np.asarray(components, dtype=np.int64)


def duplicate_pairs(signatures: NDArray[np.uint8]) -> Integers:
    """Return pairs of rows (k, 2), first < second, that show the same photograph."""
    flat = signatures.reshape(len(signatures), -1).astype(np.float32) - 128
    squares = (flat**2).sum(axis=1)
    limit = DUPLICATE_TOLERANCE**2 * flat.shape[1]
    found = []
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        distance = squares[block, None] + squares[None, start:] - 2 * flat[block] @ flat[start:].T
        first, second = np.nonzero(distance <= limit)
        pairs = np.stack([first, second], axis=1) + start
        found.append(pairs[first < second])
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def choose_candidates(
    catalogue: Catalogue, quotas: Sequence[Quota], generator: np.random.Generator
) -> Integers:
    """Choose the rows that are decoded: all of a small source, a random sample of a large one.

    A few per cent more than the parts need are chosen, because groups that must stay together
    may not fill a part exactly.

    Raises:
        DataError: fewer images than the partition needs.
    """
    _check_enough(catalogue, quotas)
    chosen = []
    for pool in sorted({catalogue.pool_of[quota.role] for quota in quotas}):
        rows = np.flatnonzero(catalogue.pools == pool)
        served = [quota for quota in quotas if catalogue.pool_of[quota.role] == pool]
        wanted = _class_counts(catalogue, rows, served).sum(axis=0)
        spare = np.ceil(wanted * 1.05) + 32
        if catalogue.independent or len(rows) <= spare.sum():
            chosen.append(rows)
            continue
        order = generator.permutation(np.unique(catalogue.groups[rows]))
        place = np.empty(int(catalogue.groups.max()) + 1, np.int64)
        place[order] = np.arange(len(order))
        rows = rows[np.argsort(place[catalogue.groups[rows]], kind="stable")]
        if not catalogue.balanced:
            chosen.append(rows[: int(spare.sum())])
            continue
        labels = catalogue.labels[rows]
        chosen.extend(rows[labels == c][: int(spare[c])] for c in range(len(spare)))
    return np.sort(np.concatenate(chosen))


def partition(
    catalogue: Catalogue,
    candidates: Integers,
    groups: Integers,
    quotas: Sequence[Quota],
    generator: np.random.Generator,
) -> dict[str, Integers]:
    """Deal groups of images to parts in random order, class by class in proportion.

    A group goes whole to one part; where it is larger than what the part still needs, its
    surplus images are left out of every part.

    Args:
        catalogue: the source's images.
        candidates: rows that may be used, shape (n,).
        groups: group of each candidate, shape (n,).
        quotas: the parts.
        generator: decides which group goes where, and the order within a part.

    Returns:
        Part name -> rows of the source, in random order.

    Raises:
        DataError: the images do not suffice.
    """
    plan = _Plan([[] for _ in quotas], _lacking(catalogue, candidates, quotas))
    pool_of_part = np.array([catalogue.pool_of[quota.role] for quota in quotas])
    full = np.maximum(plan.lacking, 1)
    spare: list[tuple[list[int], list[int]]] = []  # rows left over, and parts they may join
    for members in _shuffled_groups(groups, generator):
        rows = candidates[members]
        part = _neediest(plan, full, catalogue, rows, pool_of_part)
        if part is None:
            pools = set(catalogue.pools[rows].tolist())
            spare.append((rows.tolist(), [p for p, at in enumerate(pool_of_part) if at in pools]))
            continue
        rest = []
        for row in rows[catalogue.pools[rows] == pool_of_part[part]].tolist():
            label = catalogue.labels[row]
            if plan.lacking[part, label] > 0:
                plan.rows[part].append(row)
                plan.lacking[part, label] -= 1
            else:
                rest.append(row)
        spare.append((rest, [part]))
    if not catalogue.balanced:
        _fill(plan, catalogue, spare, pool_of_part)
    _check_filled(plan, catalogue, quotas)
    return {
        quota.part: generator.permutation(np.array(rows, dtype=np.int64))
        for quota, rows in zip(quotas, plan.rows, strict=True)
    }


def _shuffled_groups(groups: Integers, generator: np.random.Generator) -> list[Integers]:
    order = np.argsort(groups, kind="stable")
    borders = np.flatnonzero(np.diff(groups[order])) + 1
    members = np.split(order, borders)
    return [members[i] for i in generator.permutation(len(members))]


def _neediest(
    plan: _Plan,
    full: Integers,
    catalogue: Catalogue,
    rows: Integers,
    pool_of_part: Integers,
) -> int | None:
    """Return the part that lacks the largest share of what a group offers, or None."""
    classes = plan.lacking.shape[1]
    need = np.zeros(len(pool_of_part))
    for pool in np.unique(catalogue.pools[rows]):
        offered = np.bincount(
            catalogue.labels[rows[catalogue.pools[rows] == pool]], minlength=classes
        )
        served = pool_of_part == pool
        usable = np.minimum(offered, plan.lacking[served])
        need[served] = (usable * plan.lacking[served] / full[served]).sum(axis=1)
    part = int(np.argmax(need))
    return part if need[part] > 0 else None


def _fill(
    plan: _Plan,
    catalogue: Catalogue,
    spare: list[tuple[list[int], list[int]]],
    pool_of_part: Integers,
) -> None:
    """Fill parts that lack images of one class with left-over images of another.

    A left-over group goes to one part only; images left over from a group that a part already
    holds may join that part only.
    """
    for rows, parts in spare:
        short = [part for part in parts if plan.lacking[part].sum() > 0]
        if not short:
            continue
        part = max(short, key=lambda p: int(plan.lacking[p].sum()))
        for row in rows:
            missing = int(np.argmax(plan.lacking[part]))
            if plan.lacking[part, missing] > 0 and catalogue.pools[row] == pool_of_part[part]:
                plan.rows[part].append(row)
                plan.lacking[part, missing] -= 1


def _lacking(catalogue: Catalogue, candidates: Integers, quotas: Sequence[Quota]) -> Integers:
    """Return the images that each part needs per class, shape (parts, classes)."""
    lacking = np.zeros((len(quotas), len(catalogue.classes)), dtype=np.int64)
    for pool in {catalogue.pool_of[quota.role] for quota in quotas}:
        served = [i for i, quota in enumerate(quotas) if catalogue.pool_of[quota.role] == pool]
        rows = candidates[catalogue.pools[candidates] == pool]
        lacking[served] = _class_counts(catalogue, rows, [quotas[i] for i in served])
    return lacking


def _class_counts(catalogue: Catalogue, rows: Integers, quotas: Sequence[Quota]) -> Integers:
    """Share each part's count among the classes: equally, or as in ``rows``."""
    classes = len(catalogue.classes)
    share = np.full(classes, 1 / classes)
    if not catalogue.balanced:
        share = np.bincount(catalogue.labels[rows], minlength=classes) / max(1, len(rows))
    counts = np.zeros((len(quotas), classes), dtype=np.int64)
    for part, quota in enumerate(quotas):
        exact = share * quota.count
        counts[part] = np.floor(exact + 1e-9)
        rest = quota.count - counts[part].sum()
        # odd images go to the classes in turn, so that parts do not all favour the same one
        order = np.argsort(-(exact - counts[part]), kind="stable")
        order = np.roll(order, part) if catalogue.balanced else order
        counts[part, order[:rest]] += 1
    return counts


def _check_enough(catalogue: Catalogue, quotas: Sequence[Quota]) -> None:
    for pool in sorted(set(catalogue.pool_of.values())):
        served = [quota for quota in quotas if catalogue.pool_of[quota.role] == pool]
        rows = np.flatnonzero(catalogue.pools == pool)
        needed = sum(quota.count for quota in served)
        names = ", ".join(f"{quota.part} {quota.count}" for quota in served)
        if needed > len(rows):
            raise DataError(
                f"the partition needs {needed} images ({names}) but the source has {len(rows)} "
                f"for these parts; ask for fewer"
            )
        if not catalogue.balanced:
            continue
        wanted = _class_counts(catalogue, rows, served).sum(axis=0)
        present = np.bincount(catalogue.labels[rows], minlength=len(catalogue.classes))
        for name, want, have in zip(catalogue.classes, wanted, present, strict=True):
            if want > have:
                raise DataError(
                    f"the class-balanced partition needs {want} images of class {name!r} "
                    f"({names}) but the source has {have}; ask for fewer, or set balanced=false"
                )


def _check_filled(plan: _Plan, catalogue: Catalogue, quotas: Sequence[Quota]) -> None:
    missing = plan.lacking.sum(axis=1)
    if not missing.any():
        return
    part = int(np.argmax(missing))
    short = {
        name: int(n) for name, n in zip(catalogue.classes, plan.lacking[part], strict=True) if n
    }
    raise DataError(
        f"part {quotas[part].part!r} lacks {int(missing[part])} of {quotas[part].count} images "
        f"({', '.join(f'{n} of class {name!r}' for name, n in short.items())}) because images "
        "of one patient and near duplicates stay in one part; ask for fewer images"
    )
