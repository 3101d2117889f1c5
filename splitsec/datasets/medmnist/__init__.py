"""Any 2D set of MedMNIST: X-rays, tissue, blood cells, retinas and more, of 28 to 224 px.

Yang et al., "MedMNIST v2", Scientific Data 2023, and the larger sizes of MedMNIST+. The licence of
a set is stated at medmnist.com. Other images in the layout of its files work too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator, model_validator

from splitsec.datasets.medmnist.archive import MedMnistFile
from splitsec.datasets.medmnist.sets import SET_NAME, MedMnistSet, official_sets, set_name, set_of
from splitsec.datasets.medmnist.source import FileWish, LabelledImages, MedMnistSource, sets_here
from splitsec.download import Patience
from splitsec.errors import DataError, UsageError
from splitsec.plugins.identifiers import Column, check_mapping, classes_of
from splitsec.plugins.parameters import InputPath
from splitsec.plugins.source import ANY, Availability, ImageParameters


class MedMnistParameters(ImageParameters):
    """Parameters of a set of MedMNIST."""

    set: str = Field(
        "",
        pattern=f"^({SET_NAME})?$",
        description="name, such as pneumoniamnist; empty: as the file that 'path' names",
    )
    pixels: Literal[0, 28, 64, 128, 224] = Field(
        0,
        description="which size of the set is read; 0: of the files that are here, the smallest "
        "that is not smaller than --size, else the largest",
    )
    label: str = Field(
        "", description="one class, by name or number, against all others; empty: all classes"
    )
    classes: Annotated[str, AfterValidator(check_mapping)] = Field(
        "",
        description="which labels, by number, are one class, such as 0:healthy,1-4:ill; "
        "empty: each label",
    )
    split: Literal["official", "pooled"] = Field(
        "official",
        description="official: held-out images are of the publishers' test split only; pooled: of "
        "any split",
    )
    path: InputPath = Field("", description="the .npz file; empty: the data folder")

    @field_validator("set")
    @classmethod
    def _two_dimensions(cls, name: str) -> str:
        if name.endswith("3d"):
            raise ValueError(f"{name} holds volumes; only MedMNIST's 2D sets can be used")
        return name

    @model_validator(mode="after")
    def _one_way(self) -> MedMnistParameters:
        if self.label and self.classes:
            raise ValueError("'label' and 'classes' both choose the classes; give one of them")
        return self


class MedMnist(MedMnistSource[MedMnistParameters]):
    """A set of MedMNIST, all classes or one against the others."""

    Parameters: ClassVar[type[MedMnistParameters]] = MedMnistParameters
    patience: ClassVar[Patience] = Patience(total_seconds=3600)  # some files have gigabytes

    def wish(self) -> FileWish:
        """Return the file that the parameters name."""
        given = self.parameters
        name = given.set or set_name(given.path.replace("\\", "/").rpartition("/")[2])
        if not name:
            raise UsageError(
                "data 'medmnist' needs a set: --data medmnist:set=pneumoniamnist; "
                f"there are {', '.join(official_sets())}"
            )
        return FileWish(set_of(name), given.path, given.pixels)

    def availability(self) -> Availability:
        """Report where the file is or would come from; without a set, the sets that are here."""
        if self.parameters.set or self.parameters.path:
            return super().availability()
        here = ", ".join(sets_here()) or "none"
        return Availability(
            True, f"any 2D set: --data medmnist:set=NAME; in the data folder: {here}"
        )

    def pools(self, file: MedMnistFile) -> NDArray[np.str_]:
        """Return the publishers' split, or one pool of all images."""
        official = super().pools(file)
        return official if self.parameters.split == "official" else np.full_like(official, ANY)

    def labelled(self, file: MedMnistFile, known: MedMnistSet) -> LabelledImages:
        """Return all classes, or the chosen one against the others."""
        height, width = file.extent
        if self.parameters.pixels not in (0, width) or self.parameters.pixels not in (0, height):
            raise DataError(
                f"{file.path} has images of {width} by {height} px, not of "
                f"{self.parameters.pixels}; replace it, or use pixels=0"
            )
        classes = known.classes or tuple(map(str, range(_count(file.labels))))
        seed = {"set": known.name, "pixels": 0, "label": "", "path": ""}
        if self.parameters.label:
            chosen = _position(self.parameters.label, classes, known)
            picked = file.labels[:, chosen] if file.labels.ndim == 2 else file.labels == chosen
            labels = picked.astype(np.int64)
            classes = (f"not {classes[chosen]}", classes[chosen])
            seed["label"] = classes[1]
        elif file.labels.ndim == 2:
            raise UsageError(
                f"{known.title} may name several findings for an image; choose the one that models "
                f"are trained for: --data medmnist:...,label={classes[0]} (or another of "
                f"{', '.join(classes[1:])})"
            )
        elif self.parameters.classes:
            column = Column(str(file.path), "labels", list(map(str, file.labels.tolist())))
            labels, classes = classes_of(column, self.parameters.classes)
        else:
            labels = file.labels
        if len(np.unique(labels)) < 2:
            raise DataError(
                f"{file.path}: all images are of one class, {classes[labels[0]]!r}; two are needed"
            )
        return LabelledImages(labels, classes, self._disclosures(file, known), seed)

    def _disclosures(self, file: MedMnistFile, known: MedMnistSet) -> tuple[str, ...]:
        height, width = file.extent
        said = [
            f"{known.title} does not say which images are of one patient: a patient's images may "
            "be in several parts",
            f"the images were read from {file.path.name}, which has them at {width} by {height} px",
        ]
        if self.parameters.split == "pooled":
            said.append(f"held-out images are of any of the splits of {known.title}'s publishers")
        if not known.official:
            said.append(
                f"{known.title} is no set of MedMNIST: its classes are called by their numbers, "
                "and there is no official file to compare its file with"
            )
        return tuple(said)


def _count(labels: NDArray[np.int64]) -> int:
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _position(label: str, classes: tuple[str, ...], known: MedMnistSet) -> int:
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    raise UsageError(f"{known.title} has no class {label!r}; its classes are {listed}")
