"""The parts of a data set: the images of each client, of the attacker, and held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import Task


@dataclass(frozen=True)
class Part:
    """The images of one part.

    Attributes:
        images: shape (N, C, H, W), uint8.
        labels: shape (N,), class indices; zeros for segmentation.
        indices: shape (N,), rows of the source.
        masks: shape (N, 1, H, W), 0 or 1; None for classification.
        patients: shape (N,); images of one patient share a number. None: each has its own.
        names: what a person calls each image, such as the name of its file; empty: by its row. No
            record has them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    masks: NDArray[np.uint8] | None = None
    patients: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: Sequence[int]) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, C, H, W), copied."""
        return torch.from_numpy(self.images[np.asarray(rows, dtype=np.int64)]).float() / 255

    def all(self) -> Tensor:
        """Return all images as float32 in [0, 1], shape (N, C, H, W), copied."""
        return self.batch(range(len(self)))

    def targets(self, rows: Sequence[int]) -> Tensor:
        """Return the targets that a model learns, copied.

        Returns:
            Labels as int64, shape (n,); for segmentation masks as float32, shape (n, 1, H, W).
        """
        chosen = np.asarray(rows, dtype=np.int64)
        if self.masks is not None:
            return torch.from_numpy(self.masks[chosen]).float()
        return torch.from_numpy(self.labels[chosen])


@dataclass(frozen=True)
class Data:
    """A partitioned data set.

    Attributes:
        spec: the data specification.
        classes: names of the classes; labels index them. Empty for segmentation.
        sha256: hash of the classes and of the decoded images, labels and masks of all parts, in
            order.
        images_sha256: the same without the classes, whose names decide no number.
        private: one part per client, disjoint.
        public: the attacker's images.
        validation: images that choose the strongest blind attacker.
        held_out: images that train nothing.
        disclosures: sentences that a reader of results must know.
        notes: sentences for the person at this machine, such as names of files; no record has them.
        training_known: whether the images that trained the model's weights are known; they are
            private.
    """

    spec: DataSpec
    classes: tuple[str, ...]
    sha256: str
    images_sha256: str
    private: tuple[Part, ...]
    public: Part
    validation: Part
    held_out: Part
    disclosures: tuple[str, ...]
    notes: tuple[str, ...] = ()
    training_known: bool = False

    @property
    def task(self) -> Task:
        """The task that the images are labelled for."""
        return "classification" if self.held_out.masks is None else "segmentation"

    @property
    def outputs(self) -> int:
        """Number of a model's outputs for the task: one per class, or one map of logits."""
        return len(self.classes) if self.task == "classification" else 1

    def parts(self) -> dict[str, Part]:
        """Return all parts by name; clients are ``private-0``, ``private-1``, ..."""
        clients = {f"private-{index}": part for index, part in enumerate(self.private)}
        return clients | {
            "public": self.public,
            "validation": self.validation,
            "held-out": self.held_out,
        }

    def balance(self) -> dict[str, dict[str, float]]:
        """Return the composition of each part, as JSON values.

        Returns:
            Part to class to number of images; for segmentation, part to ``images``, their
            number, and ``foreground``, the share of all pixels that masks cover.
        """
        return {name: self._balance(part) for name, part in self.parts().items()}

    def _balance(self, part: Part) -> dict[str, float]:
        if part.masks is not None:
            covered = int(np.count_nonzero(part.masks)) / max(1, part.masks.size)
            return {"images": len(part), "foreground": round(covered, 4)}
        return {
            label: int((part.labels == index).sum()) for index, label in enumerate(self.classes)
        }
