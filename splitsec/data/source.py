"""What a source of images gives, before it is partitioned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from splitsec.data.spec import DataSpec
from splitsec.parameters import Parameters
from splitsec.progress import Progress

P = TypeVar("P", bound=Parameters)

Task = Literal["classification", "segmentation"]

ANY, TRAIN, VALIDATION, TEST, SHIFTED = "", "train", "validation", "test", "shifted"


class Catalogue(NamedTuple):
    """All images that a source knows of, not yet decoded.

    Attributes:
        keys: shape (N,), by which the source decodes an image.
        labels: shape (N,), class indices; zeros where images are labelled with masks.
        groups: shape (N,), equal for images of one patient, which stay together.
        classes: names of the classes; none where images are labelled with masks.
        pools: shape (N,), to which pool an image belongs: ``TRAIN``, ``VALIDATION`` and
            ``TEST`` where the publishers fixed a split, ``SHIFTED`` for the attacker's other
            population, else ``ANY``.
        fingerprint: changes whenever the images behind the rows do.
        disclosures: what a reader of results must know.
        balanced: sample the classes equally, not as they are.
    """

    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    pools: NDArray[np.str_]
    fingerprint: str
    disclosures: tuple[str, ...] = ()
    balanced: bool = False


@dataclass(frozen=True)
class Availability:
    """Whether a source can be used here, and in one sentence what it is or how to get it."""

    found: bool
    sentence: str


class Source(ABC, Generic[P]):
    """A source of labelled images.

    Attributes:
        Parameters: the parameter class.
        task: whether images are labelled with classes or with masks; a source for segmentation
            overrides ``decode_masks``.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    task: ClassVar[Task] = "classification"

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @abstractmethod
    def availability(self) -> Availability:
        """Say whether the images are here; downloads nothing."""

    @abstractmethod
    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all images; drawn sources list as many as the specification needs.

        Raises:
            DataError: the images are missing or their labels unreadable.
            UsageError: the specification asks for what the source does not have.
        """

    @abstractmethod
    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Return the images of some keys, resized, shape (n, channels, size, size).

        Raises:
            DataError: an image is unreadable; the error names it.
        """

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Return the masks of some keys, resized, 0 or 1, shape (n, 1, size, size).

        Called for segmentation only.

        Raises:
            DataError: a mask is unreadable or does not fit its image; the error names it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no masks")
