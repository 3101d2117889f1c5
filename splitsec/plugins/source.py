"""What a source of images gives, before it is partitioned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import PluginError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import Parameters
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


def list_checked(source: Source[P], spec: DataSpec) -> Catalogue:
    """Return a source's catalogue.

    Raises:
        PluginError: its arrays do not belong together.
    """
    given: object = source.catalogue(spec)
    if not isinstance(given, Catalogue):
        raise PluginError(f"{spec.name}: catalogue() gave {type(given).__name__}, no Catalogue")
    columns = {name: getattr(given, name) for name in ("keys", "labels", "groups", "pools")}
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.shape != (len(given.keys),):
            shape = np.shape(column)
            raise PluginError(
                f"{spec.name}: {name} of the catalogue has shape {shape}; one value per key is "
                f"due, ({len(given.keys)},)"
            )
        if name != "pools" and column.dtype != np.int64:
            raise PluginError(
                f"{spec.name}: {name} of the catalogue is {column.dtype}; int64 is due"
            )
    if len(np.unique(given.keys)) < len(given.keys):
        raise PluginError(f"{spec.name}: the catalogue has a key twice")
    unknown = set(given.pools.tolist()) - {ANY, TRAIN, VALIDATION, TEST, SHIFTED}
    if unknown:
        raise PluginError(f"{spec.name}: the catalogue names unknown pools {sorted(unknown)}")
    classes = len(given.classes) if source.task == "classification" else 1
    if len(given.labels) and not 0 <= given.labels.min() <= given.labels.max() < classes:
        raise PluginError(
            f"{spec.name}: the catalogue has labels {given.labels.min()} to {given.labels.max()}; "
            f"they index {classes} classes, from 0"
        )
    return given


def decode_checked(
    source: Source[P], keys: Sequence[int], size: int, channels: int, progress: Progress
) -> NDArray[np.uint8]:
    """Return decoded images.

    Raises:
        PluginError: they have another shape or type than is due.
    """
    images = source.decode(keys, size, channels, progress)
    _check_pixels(source, "decode", images, (len(keys), channels, size, size))
    return images


def decode_masks_checked(
    source: Source[P], keys: Sequence[int], size: int, progress: Progress
) -> NDArray[np.uint8]:
    """Return decoded masks.

    Raises:
        PluginError: they have another shape or type than is due, or other values than 0 and 1.
    """
    masks = source.decode_masks(keys, size, progress)
    _check_pixels(source, "decode_masks", masks, (len(keys), 1, size, size))
    if masks.size and masks.max() > 1:
        raise PluginError(
            f"{type(source).__name__}.decode_masks() gave {masks.max()}; masks are 0 or 1"
        )
    return masks


def _check_pixels(source: Source[P], method: str, given: object, due: tuple[int, ...]) -> None:
    if isinstance(given, np.ndarray) and given.shape == due and given.dtype == np.uint8:
        return
    what = type(given).__name__
    if isinstance(given, np.ndarray):
        what = f"{given.dtype} of shape {given.shape}"
    raise PluginError(f"{type(source).__name__}.{method}() gave {what}; uint8 of {due} is due")
