"""Images by role, as every other module receives them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splitsec.data.spec import DataSpec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The images of one role, in random order: the first n are a random sample.

    Attributes:
        images: uint8 of shape (N, C, H, W).
        labels: class of each image, shape (N,).
        indices: row of each image in its source, shape (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Sequence[int] | slice) -> Tensor:
        """Return images ``rows`` as float32 in [0, 1], shape (n, C, H, W)."""
        import torch  # noqa: PLC0415 - listing data sources must not wait for torch

        chosen = self.images[rows if isinstance(rows, slice) else np.asarray(rows, np.int64)]
        return torch.from_numpy(np.array(chosen)).float().div_(255)

    def all(self) -> Tensor:
        """Return all images as float32 in [0, 1], shape (N, C, H, W)."""
        return self.batch(slice(None))

    def targets(self, rows: Sequence[int] | slice = slice(None)) -> Tensor:
        """Return the classes of images ``rows`` as int64, shape (n,)."""
        import torch  # noqa: PLC0415

        chosen = self.labels[rows if isinstance(rows, slice) else np.asarray(rows, np.int64)]
        return torch.from_numpy(np.array(chosen))

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the number of images of each class."""
        numbers = np.bincount(self.labels, minlength=len(classes))
        return {name: int(number) for name, number in zip(classes, numbers, strict=True)}


@dataclass(frozen=True)
class Data:
    """A data set, partitioned; no image is in two parts.

    Attributes:
        spec: what was asked for.
        classes: class names, in the order of the labels.
        sha256: of the decoded images and labels of all parts, in order.
        private: one part per client.
        public: the attacker's images.
        validation: images that choose and tune.
        held_out: images that trained nothing.
        disclosures: sentences that a reader of results must know.
    """

    spec: DataSpec
    classes: tuple[str, ...]
    sha256: str
    private: tuple[Part, ...]
    public: Part
    validation: Part
    held_out: Part
    disclosures: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield every part with its name; several clients are ``private-0``, ``private-1``..."""
        yield from named_parts(self.private, self.public, self.validation, self.held_out)

    def balance(self) -> dict[str, dict[str, int]]:
        """Return part -> class -> number of images."""
        return {name: part.counts(self.classes) for name, part in self.parts()}


def named_parts(
    private: Sequence[Part], public: Part, validation: Part, held_out: Part
) -> Iterator[tuple[str, Part]]:
    """Yield the parts with their names, in the order in which they are hashed."""
    for client, part in enumerate(private):
        yield ("private" if len(private) == 1 else f"private-{client}"), part
    yield "public", public
    yield "validation", validation
    yield "held_out", held_out


def hash_parts(parts: Iterator[tuple[str, Part]]) -> str:
    """Return the SHA-256 over names, shapes, images and labels of the parts."""
    digest = hashlib.sha256()
    for name, part in parts:
        digest.update(f"{name} {part.images.shape}\n".encode())
        digest.update(np.ascontiguousarray(part.images))
        digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()
