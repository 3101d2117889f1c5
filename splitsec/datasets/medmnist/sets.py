"""What MedMNIST states of its 2D sets: classes, channels, and checksums of the official files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

SIZES = (28, 64, 128, 224)
"""Heights and widths at which MedMNIST publishes a set, pixels; the first has the plain name."""

SET_NAME = r"\w[\w-]*"
"""What a set may be called, since files and folders have its name."""


@dataclass(frozen=True)
class MedMnistSet:
    """A set of images, of MedMNIST or of somebody else in the same layout.

    Attributes:
        name: as files are called, such as ``pneumoniamnist``.
        title: as the publishers write it, such as ``PneumoniaMNIST``.
        classes: names in the order of the labels; None where nobody states them.
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
        """Return what MedMNIST calls the file of a size, such as ``pneumoniamnist_64.npz``."""
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
    """Return a set by its name; one that MedMNIST does not publish states nothing."""
    return official_sets().get(name) or MedMnistSet(name, name)


def set_name(file_name: str) -> str:
    """Return the set that a file is of by its name: ``octmnist_64.npz`` is of ``octmnist``."""
    stem = file_name.removesuffix(".npz")
    for pixels in SIZES[1:]:
        stem = stem.removesuffix(f"_{pixels}")
    return stem
