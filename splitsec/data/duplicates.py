"""Finds copies of one photograph: exact ones, and those that were saved or scaled anew.

Two images are compared at 32x32 pixels, in colour. They are copies if

1. their root mean squared difference is less than a tolerance, by default 4 of 255,
2. it is also less than half of how far each one's twentieth neighbour is, among 2,048 images of the
   data set, and
3. their details, what is left when the blurred image is subtracted, correlate by 0.8 or more.

Where details correlate by 0.998 or more, as after a change of brightness, the second is not asked.
The second and third keep photographs apart that a camera makes look alike: dark discs on black may
all differ by less than any fixed tolerance.

Copies are grouped around the image that has the most of them. Every image of a group is a copy of
this one, so groups do not chain from one image to the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from splitsec.errors import DataError

_SIDE = 32
_NEARER = 0.5  # than the usual neighbour. In RetinaMNIST copies have 0.18 or less
_ALIKE = 0.8  # least correlation of the details of copies
_SAME = 0.998  # correlation of details that no two photographs have
_RANK = 20  # which neighbour of a sample is the usual one
_SAMPLE = 2048  # images from which the usual neighbour is estimated
_BLUR = 1.5  # standard deviation, pixels of 32
_COARSE = 8
_CHUNK = 512
_SPARSE = 0.02  # share of pairs up to which pairs are compared one by one
_PAIRS_AT_ONCE = 4096
_FLAT = 1e-3  # length of the details of an image without any
_MOST_PAIRS = 10_000_000

Rows = NDArray[np.int64]
Features = NDArray[np.float32]


class _Pairs(NamedTuple):
    one: Rows
    other: Rows


def group_copies(images: NDArray[np.uint8], tolerance: float) -> Rows:
    """Group the copies of each photograph.

    Args:
        images: shape (N, C, H, W).
        tolerance: root mean squared difference, of 255, at or above which images are never
            copies.

    Returns:
        Shape (N,), equal for the copies of a photograph.

    Raises:
        DataError: so many images look alike that they cannot be told apart.
    """
    if not len(images):
        return np.empty(0, np.int64)
    small = _small(images)
    seen: dict[bytes, int] = {}
    same = np.array([seen.setdefault(image.tobytes(), len(seen)) for image in small], np.int64)
    first = np.unique(same, return_index=True)[1]
    return _around_centres(_pairs(small[first], tolerance), np.bincount(same))[same]


def _around_centres(pairs: _Pairs, counts: Rows) -> Rows:
    """Group images around those with the most copies; an image may stand for several equal ones."""
    ends = np.concatenate([pairs.one, pairs.other])
    others = np.concatenate([pairs.other, pairs.one])[np.argsort(ends, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=len(counts)))])
    weight = counts + np.bincount(np.sort(ends), counts[others], minlength=len(counts))
    group = np.full(len(counts), -1, np.int64)
    for centre in np.argsort(-weight, kind="stable").tolist():
        if group[centre] < 0:
            around = others[starts[centre] : starts[centre + 1]]
            group[around[group[around] < 0]] = centre
            group[centre] = centre
    return group


def _pairs(small: Features, tolerance: float) -> _Pairs:
    """Return the pairs of copies among images of shape (N, C, h, w) that all differ."""
    coarse = _flat(_averaged(small, _COARSE))
    flat = _flat(small)
    details: Features | None = None
    usual: Features | None = None
    found, total = [_Pairs(np.empty(0, np.int64), np.empty(0, np.int64))], 0
    for start in range(0, len(flat), _CHUNK):
        rows = slice(start, start + _CHUNK)
        # Averaging brings images nearer, so no pair is lost that is near in full.
        maybe = np.triu(_squared(coarse[rows], coarse[start:]) < tolerance**2, 1)
        at = np.nonzero(maybe)
        if not len(at[0]):
            continue
        if details is None or usual is None:  # most data sets have no pair that is near
            details, usual = _details(small), _usual_distance(flat)
        pairs = _Pairs(at[0] + start, at[1] + start)
        if len(pairs.one) > _SPARSE * maybe.size:
            distance = np.sqrt(_squared(flat[rows], flat[start:])[at])
            alike = (details[rows] @ details[start:].T)[at]
        else:
            distance, alike = _one_by_one(flat, details, pairs)
        nearer = distance < _NEARER * np.minimum(usual[pairs.one], usual[pairs.other])
        copied = (nearer & (alike >= _ALIKE)) | (alike >= _SAME)
        chosen = copied & (distance < tolerance)
        found.append(_Pairs(pairs.one[chosen], pairs.other[chosen]))
        total += int(chosen.sum())
        if total > _MOST_PAIRS:
            raise DataError(
                f"more than {_MOST_PAIRS:,} pairs of images look like copies of one photograph; "
                "give another tolerance, such as duplicates=1, or duplicates=0 if none are copies"
            )
    return _Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _one_by_one(flat: Features, details: Features, pairs: _Pairs) -> tuple[Features, Features]:
    """Return distances and correlations of pairs."""
    distance = np.empty(len(pairs.one), np.float32)
    alike = np.empty_like(distance)
    for start in range(0, len(distance), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        one, other = pairs.one[part], pairs.other[part]
        distance[part] = np.sqrt(np.square(flat[one] - flat[other]).mean(1))
        alike[part] = np.einsum("ij,ij->i", details[one], details[other])
    return distance, alike


def _usual_distance(flat: Features) -> Features:
    """Return how far each image's neighbours usually are, shape (N,)."""
    sample = np.unique(np.linspace(0, len(flat) - 1, min(len(flat), _SAMPLE)).astype(int))
    rank = min(_RANK, len(sample) - 1)
    usual = np.full(len(flat), np.inf, np.float32)
    for start in range(0, len(flat) if rank else 0, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(flat)))
        squared = _squared(flat[rows], flat[sample])
        squared[rows[:, None] == sample] = np.inf
        usual[rows] = np.sqrt(np.partition(squared, rank - 1, axis=1)[:, rank - 1])
    return usual


def _squared(one: Features, other: Features) -> Features:
    """Return the mean squared differences of all pairs, shape (n, m)."""
    lengths = np.square(one).mean(1)[:, None] + np.square(other).mean(1)
    squared: Features = lengths - one @ other.T * np.float32(2 / one.shape[1])
    return np.maximum(squared, 0, out=squared)


def _flat(small: Features) -> Features:
    """Return images as rows around their mean, so that products of float32 lose less."""
    rows = small.reshape(len(small), -1)
    centred: Features = rows - rows.mean(0)
    return centred


def _details(small: Features) -> Features:
    """Return what blurring takes from each image, of length 1, or 0 for a flat image."""
    width = _BLUR * small.shape[-1] / _SIDE
    details = np.empty((len(small), small[0].size), np.float32)
    for row, image in enumerate(small):
        detail = image - gaussian_filter(image, (0, width, width))
        length = float(np.linalg.norm(detail))
        details[row] = (detail / length if length > _FLAT else 0 * detail).ravel()
    return details


def _small(images: NDArray[np.uint8]) -> Features:
    """Return images at 32x32, or as they are if they are smaller, shape (N, C, h, w), of 255."""
    parts = [
        _averaged(images[start : start + _CHUNK], _SIDE) for start in range(0, len(images), _CHUNK)
    ]
    return np.concatenate(parts)


def _averaged(images: Features | NDArray[np.uint8], side: int) -> Features:
    """Return the means of blocks: ``side`` blocks in height and width, or fewer for few pixels."""
    averaged: NDArray[Any] = images
    for axis in (2, 3):
        extent = images.shape[axis]
        starts = np.unique(np.linspace(0, extent, side + 1)[:-1].astype(int))
        counts = np.diff(np.append(starts, extent)).astype(np.float32)
        shape = [-1 if one == axis else 1 for one in range(4)]
        if averaged.dtype == np.uint8:  # rows: sums of bytes are exact in any order
            ends = np.append(starts[1:], extent)
            blocks = [
                averaged[:, :, start:end].sum(axis, dtype=np.uint32)
                for start, end in zip(starts, ends, strict=True)
            ]
            summed = np.stack(blocks, axis).astype(np.float32)
        else:
            summed = np.add.reduceat(averaged, starts, axis)
        averaged = summed / counts.reshape(shape)
    return averaged
