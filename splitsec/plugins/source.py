"""Data sets: where images and labels come from, before they are partitioned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from splitsec.errors import PluginError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.identifiers import Column, check_classes, check_names, groups_of
from splitsec.plugins.parameters import Parameters
from splitsec.progress import Progress

P = TypeVar("P", bound=Parameters)

Task = Literal["classification", "segmentation"]

ANY, TRAIN, VALIDATION, TEST, SHIFTED = "", "train", "validation", "test", "shifted"
TRAINED = "trained"

DUPLICATE_TOLERANCE = 4.0
"""Default of :attr:`ImageParameters.duplicates`. In RetinaMNIST the 26 pairs of copies differ by
less than 3, all others by more than 5.8."""


class ImageParameters(Parameters):
    """Base class of the parameters of data sets whose images may be copies of each other.

    Attributes:
        duplicates: see :mod:`splitsec.data.duplicates`; other data sets have the default.
    """

    duplicates: float = Field(
        DUPLICATE_TOLERANCE,
        ge=0,
        description="root mean squared difference of two images at 32x32, of 255, at or above "
        "which they are never taken for copies of one photograph; 0: only equal ones are",
    )


class Catalogue(NamedTuple):
    """All N images of a data set, not yet decoded.

    Attributes:
        keys: shape (N,), int64, unique; ``decode`` gets the keys of the images that it decodes.
        labels: shape (N,), int64, class indices from 0; zeros where images have masks.
        groups: shape (N,), int64, or texts, which are read as people write them
            (:func:`splitsec.plugins.identifiers.groups_of`); images of one patient share a value
            and a part.
        classes: names of the classes; empty where images have masks.
        pools: shape (N,), the pool of each image: ``TRAIN``, ``VALIDATION`` or ``TEST`` where the
            publishers fixed a split, ``SHIFTED`` for the attacker's other population, ``TRAINED``
            for images that trained the model's weights, which are private and in no other part,
            else ``ANY``.
        fingerprint: any text that changes whenever the images behind the keys change. If
            :meth:`Source.files` names the files that hold them, leave it empty: then the content
            of those that are needed counts.
        disclosures: sentences that a reader of results must know.
        balanced: whether to draw as many images of each class, instead of their natural shares.
        names: what a person calls each image, such as its file's name, for messages that no
            record holds; empty: they are called by their keys.
        shuffled_by: JSON values on which the order of the images depends, beside the name of the
            data set and the partition's seed. They tell apart which images are meant, and never
            where they are: equal images must be shuffled alike.

    Examples:
        >>> import numpy as np
        >>> from splitsec.plugins.source import ANY
        >>> keys = np.arange(4)
        >>> catalogue = Catalogue(
        ...     keys=keys, labels=keys % 2, groups=keys // 2, classes=("healthy", "disease"),
        ...     pools=np.full(4, ANY), fingerprint="version 1",
        ... )
        >>> catalogue.labels, catalogue.groups  # two patients with two images each
        (array([0, 1, 0, 1]), array([0, 0, 1, 1]))
    """

    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    classes: tuple[str, ...]
    pools: NDArray[np.str_]
    fingerprint: str = ""
    disclosures: tuple[str, ...] = ()
    balanced: bool = False
    names: tuple[str, ...] = ()
    shuffled_by: Mapping[str, Any] = MappingProxyType({})

    def name_of(self, row: int) -> str:
        """Return what a person calls an image."""
        return self.names[row] if self.names else f"image {self.keys[row]}"


@dataclass(frozen=True)
class Availability:
    """Whether a data set can be used here.

    Attributes:
        found: whether its images are here.
        sentence: what they are, or how to get them.

    Examples:
        >>> Availability(False, "set SPLITSEC_DATA to a folder that holds 'scans'").found
        False
    """

    found: bool
    sentence: str


class Source(ABC, Generic[P]):
    """Base class of data sets: a subclass lists its images and decodes them.

    Attributes:
        Parameters: the parameter class.
        parameters: this source's parameters.
        task: ``"classification"`` where images have class labels, ``"segmentation"`` where they
            have masks. A source for segmentation overrides ``decode_masks``.
        other_tasks: tasks for which some parameters label the images, with what a person writes
            to get them; such a source overrides ``task_for``.

    Examples:
        A data set of grey squares, dark or light:

        >>> import numpy as np
        >>> from splitsec import Parameters
        >>> from splitsec.plugins.source import ANY, Availability, Catalogue
        >>> class Squares(Source[Parameters]):
        ...     def availability(self):
        ...         return Availability(True, "drawn on demand")
        ...     def catalogue(self, spec):
        ...         keys = np.arange(spec.total)
        ...         pools = np.full(spec.total, ANY)
        ...         return Catalogue(keys, keys % 2, keys, ("dark", "light"), pools, "version 1")
        ...     def decode(self, keys, size, channels, progress):
        ...         levels = 64 + 128 * (np.asarray(keys, np.uint8) % 2)
        ...         return np.tile(levels[:, None, None, None], (channels, size, size))
        >>> squares = Squares(Parameters())
        >>> images = squares.decode([0, 1], size=8, channels=3, progress=None)
        >>> images.shape, images.dtype, images.max(axis=(1, 2, 3))
        ((2, 3, 8, 8), dtype('uint8'), array([ 64, 192], dtype=uint8))
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    task: ClassVar[Task] = "classification"
    other_tasks: ClassVar[Mapping[Task, str]] = MappingProxyType({})

    @classmethod
    def task_for(cls, parameters: P) -> Task:
        """Return the task that images read with these parameters are labelled for."""
        return cls.task

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @abstractmethod
    def availability(self) -> Availability:
        """Return whether the images are here, or how to get them; download nothing."""

    @abstractmethod
    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all images; a source that draws its images lists as many as ``spec`` needs.

        Args:
            spec: the size, channels and counts that a cell needs; ``spec.total`` images in all.

        Raises:
            DataError: the images are missing or their labels unreadable.
            UsageError: ``spec`` asks for something that the source does not have.
        """

    def files(self) -> Sequence[Path]:
        """Return the file of each image of the catalogue, in its order; empty if they have none."""
        return ()

    def mask_files(self) -> Sequence[Path]:
        """Return the file of each image's mask, in the same order; empty if they have none."""
        return ()

    @abstractmethod
    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Return the images of some keys.

        Args:
            keys: n keys of the catalogue.
            size: height and width, pixels.
            channels: 1 (grey) or 3 (RGB).
            progress: shows stages and messages to the person.

        Returns:
            Images in the order of the keys, resized, uint8, shape (n, channels, size, size).

        Raises:
            DataError: an image is unreadable; the error names it.
        """

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Return the masks of some keys; called for segmentation only.

        Args:
            keys: n keys of the catalogue.
            size: height and width, pixels.
            progress: shows stages and messages to the person.

        Returns:
            Masks in the order of the keys, resized, uint8, 0 or 1, shape (n, 1, size, size).

        Raises:
            DataError: a mask is unreadable or does not fit its image; the error names it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no masks")


def list_checked(source: Source[P], spec: DataSpec) -> Catalogue:
    """Return a source's catalogue, with patients as numbers.

    Raises:
        PluginError: its arrays do not fit together.
        DataError: a patient or class is missing, or is a variant of another one, or there are too
            many classes.
    """
    given: object = source.catalogue(spec)
    if not isinstance(given, Catalogue):
        raise PluginError(f"{spec.name}: catalogue() gave {type(given).__name__}, no Catalogue")
    columns = {name: getattr(given, name) for name in ("keys", "labels", "groups", "pools")}
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.shape != (len(given.keys),):
            shape = np.shape(column)
            raise PluginError(
                f"{spec.name}: {name} of the catalogue has shape {shape}; expected one value per "
                f"key, ({len(given.keys)},)"
            )
        if name == "groups" and column.dtype.kind in "UO":
            patients = Column(spec.name, "groups", [str(one) for one in column.tolist()])
            given = given._replace(groups=groups_of(patients))
        elif name != "pools" and column.dtype != np.int64:
            raise PluginError(
                f"{spec.name}: {name} of the catalogue is {column.dtype}; expected int64"
            )
    if len(np.unique(given.keys)) < len(given.keys):
        raise PluginError(f"{spec.name}: the catalogue has a key twice")
    unknown = set(given.pools.tolist()) - {ANY, TRAIN, VALIDATION, TEST, SHIFTED, TRAINED}
    if unknown:
        raise PluginError(f"{spec.name}: the catalogue names unknown pools {sorted(unknown)}")
    is_classified = source.task_for(source.parameters) == "classification"
    classes = len(given.classes) if is_classified else 1
    if len(given.labels) and not 0 <= given.labels.min() <= given.labels.max() < classes:
        raise PluginError(
            f"{spec.name}: the catalogue has labels {given.labels.min()} to {given.labels.max()}; "
            f"they index {classes} classes, from 0"
        )
    files, masks = len(source.files()), len(source.mask_files())
    if not given.fingerprint and (files != len(given.keys) or masks not in (0, files)):
        raise PluginError(
            f"{spec.name}: the fingerprint is empty, so files() must name the file of each of the "
            f"{len(given.keys)} images, and mask_files() that of each mask or none; they name "
            f"{files} and {masks}"
        )
    if len(given.names) not in (0, len(given.keys)):
        raise PluginError(
            f"{spec.name}: the catalogue names {len(given.names)} of its {len(given.keys)} images"
        )
    if is_classified:
        counts = np.bincount(given.labels, minlength=classes).tolist()
        check_names(spec.name, given.classes)
        named = dict(zip(given.classes, counts, strict=True))
        check_classes(spec.name, named, "are these labels, or something else?")
    return given


def decode_checked(
    source: Source[P], keys: Sequence[int], size: int, channels: int, progress: Progress
) -> NDArray[np.uint8]:
    """Return decoded images, uint8, shape (n, channels, size, size).

    Raises:
        PluginError: the source returned another shape or type.
    """
    images = source.decode(keys, size, channels, progress)
    _check_pixels(source, "decode", images, (len(keys), channels, size, size))
    return images


def decode_masks_checked(
    source: Source[P], keys: Sequence[int], size: int, progress: Progress
) -> NDArray[np.uint8]:
    """Return decoded masks, uint8, 0 or 1, shape (n, 1, size, size).

    Raises:
        PluginError: the source returned another shape or type, or other values than 0 and 1.
    """
    masks = source.decode_masks(keys, size, progress)
    _check_pixels(source, "decode_masks", masks, (len(keys), 1, size, size))
    if masks.size and masks.max() > 1:
        raise PluginError(
            f"{type(source).__name__}.decode_masks() gave {masks.max()}; masks are 0 or 1"
        )
    return masks


def _check_pixels(source: Source[P], method: str, given: object, shape: tuple[int, ...]) -> None:
    if isinstance(given, np.ndarray) and given.shape == shape and given.dtype == np.uint8:
        return
    what = type(given).__name__
    if isinstance(given, np.ndarray):
        what = f"{given.dtype} of shape {given.shape}"
    raise PluginError(f"{type(source).__name__}.{method}() gave {what}; expected uint8 of {shape}")
