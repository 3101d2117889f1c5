"""What a data source tells about its images before and while they are decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.data.spec import DataSpec
from splitsec.errors import UsageError
from splitsec.parameters import Parameters, build_parameters
from splitsec.progress import Progress, Stage

Role = Literal["private", "public", "validation", "held_out"]
ROLES: tuple[Role, ...] = ("private", "public", "validation", "held_out")

EVERYTHING: Mapping[Role, int] = dict.fromkeys(ROLES, 0)


@dataclass(frozen=True)
class Catalogue:
    """The images that a source offers for one spec.

    Attributes:
        classes: class names in the order of the labels.
        labels: class of each image, shape (n,).
        groups: images that must stay together (one patient's) share a number, shape (n,).
        pools: which pool each image belongs to, shape (n,).
        pool_of: the pool that serves each role.
        balanced: every part is to hold equally many images of each class.
        independent: no two images can be duplicates, so none are looked for.
        disclosures: sentences that a reader of results must know.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    pools: NDArray[np.int64]
    pool_of: Mapping[Role, int] = field(default_factory=lambda: dict(EVERYTHING))
    balanced: bool = False
    independent: bool = False
    disclosures: tuple[str, ...] = ()


class Decoded(NamedTuple):
    """Decoded images and the signatures by which duplicates are found."""

    images: NDArray[np.uint8]  # (n, C, H, W)
    signatures: NDArray[np.uint8]  # (n, 16, 16), grey, of the whole picture


class Source(ABC):
    """A data source, opened for one spec."""

    name: ClassVar[str]
    parameter_class: ClassVar[type[Parameters]] = Parameters
    stage: ClassVar[str] = "decoding images"
    shifts: ClassVar[bool] = False

    def __init__(self, spec: DataSpec) -> None:
        owner = f"data source {self.name!r}"
        self.spec = spec
        self.parameters = build_parameters(owner, self.parameter_class, spec.parameters)
        if spec.public_from == "shifted" and not self.shifts:
            raise UsageError(
                f"{owner} defines no shifted population; use public_from='same', or "
                "data 'phantom-fundus', which does"
            )

    @abstractmethod
    def catalogue(self, progress: Progress) -> Catalogue:
        """Return what can be had, without decoding an image.

        Raises:
            DataError: files are missing or wrong.
        """

    @abstractmethod
    def fingerprint(self, rows: NDArray[np.int64]) -> object:
        """Return JSON that changes whenever the decoded pixels of ``rows`` may change."""

    @abstractmethod
    def decode(self, rows: NDArray[np.int64], stage: Stage) -> Decoded:
        """Decode ``rows`` at the spec's size and channels.

        Raises:
            DataError: an image cannot be read; the text names its file.
        """
