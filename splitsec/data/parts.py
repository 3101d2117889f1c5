"""Parts of a data set: who holds which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitsec.data.spec import DataSpec


@dataclass(frozen=True)
class Part:
    """Images of one role.

    Attributes:
        images: shape (N, C, H, W), uint8.
        labels: shape (N,), class indices.
        indices: shape (N,), rows of the source.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: Sequence[int]) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, C, H, W), copied."""
        return torch.from_numpy(self.images[np.asarray(rows, dtype=np.int64)]).float() / 255

    def all(self) -> Tensor:
        """Return all images as float32 in [0, 1], shape (N, C, H, W), copied."""
        return self.batch(range(len(self)))

    def targets(self, rows: Sequence[int]) -> Tensor:
        """Return labels as int64, shape (n,), copied."""
        return torch.from_numpy(self.labels[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True)
class Data:
    """A partitioned data set.

    Attributes:
        spec: what was asked.
        classes: names of the classes; labels index them.
        sha256: hash of the decoded images and labels of all parts, in order.
        private: one part per client, disjoint.
        public: the attacker's images.
        validation: choose between trivial attackers.
        held_out: trained nothing.
        disclosures: what a reader of results must know, in sentences.
    """

    spec: DataSpec
    classes: tuple[str, ...]
    sha256: str
    private: tuple[Part, ...]
    public: Part
    validation: Part
    held_out: Part
    disclosures: tuple[str, ...]

    def parts(self) -> dict[str, Part]:
        """Return all parts by name; clients are ``private-0``, ``private-1``, ..."""
        clients = {f"private-{index}": part for index, part in enumerate(self.private)}
        return clients | {
            "public": self.public,
            "validation": self.validation,
            "held-out": self.held_out,
        }

    def balance(self) -> dict[str, dict[str, int]]:
        """Return part to class to number of images."""
        return {
            name: {
                label: int((part.labels == index).sum()) for index, label in enumerate(self.classes)
            }
            for name, part in self.parts().items()
        }
