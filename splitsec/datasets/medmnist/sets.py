"""MedMNIST's 2D sets: their classes, channels and checksums of the official files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

SIZES = (28, 64, 128, 224)
"""Heights and widths at which MedMNIST publishes a set, pixels; the first has the plain name."""

SET_NAME = r"\w[\w-]*"
"""Pattern of a set's name, which files and folders have too."""


@dataclass(frozen=True)
class MedMnistSet:
    """A set of images, from MedMNIST or in the same layout.

    Attributes:
        name: name in file names, such as ``pneumoniamnist``.
        title: the publishers' name, such as ``PneumoniaMNIST``.
        classes: names in the order of the labels; None if unknown.
        channels: 1 (grey) or 3 (RGB); None for either.
        findings: whether an image may have several labels, or none.
        md5: pixels to the checksum of the official file.
    """

    name: str
    title: str
    classes: tuple[str, ...] | None = None
    channels: int | None = None
    findings: bool = False
    md5: Mapping[int, str] = field(default_factory=dict)

    @property
    def official(self) -> bool:
        """Whether MedMNIST publishes it."""
        return self.classes is not None

    def file_name(self, pixels: int) -> str:
        """Return MedMNIST's name for the file of a size, such as ``pneumoniamnist_64.npz``."""
        return f"{self.name}.npz" if pixels == SIZES[0] else f"{self.name}_{pixels}.npz"


def official_sets() -> dict[str, MedMnistSet]:
    """Return the 2D sets that MedMNIST publishes, by name."""
    stated = tomllib.loads(files(__package__).joinpath("sets.toml").read_text(encoding="utf-8"))
    return {
        name: MedMnistSet(
            name,
            facts["title"],
            tuple(facts["classes"]),
            facts["channels"],
            facts.get("findings", False),
            {int(pixels): md5 for pixels, md5 in facts["md5"].items()},
        )
        for name, facts in stated.items()
    }


def set_of(name: str) -> MedMnistSet:
    """Return a set by its name; for one that MedMNIST does not publish, all else is unknown."""
    return official_sets().get(name) or MedMnistSet(name, name)


def set_name(file_name: str) -> str:
    """Return the set in a file's name: ``octmnist_64.npz`` holds ``octmnist``."""
    stem = file_name.removesuffix(".npz")
    for pixels in SIZES[1:]:
        stem = stem.removesuffix(f"_{pixels}")
    return stem
