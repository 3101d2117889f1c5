"""Looks at a data set before any run: what is in it, and what is suspicious.

Nothing is partitioned. Images are decoded as a cell would decode them, and compared as the
partition compares them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.duplicates import group_copies
from splitsec.data.partition import conflicting
from splitsec.data.sources import build_source
from splitsec.errors import blaming
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.source import (
    DUPLICATE_TOLERANCE,
    Catalogue,
    ImageParameters,
    decode_checked,
    decode_masks_checked,
    list_checked,
)
from splitsec.progress import Progress

_FLAT = 2.0  # standard deviation of grey levels, of 255, at or below which an image shows nothing
_DARK, _LIGHT = 5, 250  # mean grey levels of images that are nearly black or white
_SHOWN = 12  # groups of copies, and images of one kind, that have pictures
_GREY = 1  # grey levels by which channels of a grey photograph may differ
_RARE = 10  # images of a class, below which it is called rare


class Group(NamedTuple):
    """Images that show one photograph.

    Attributes:
        rows: places in the catalogue.
        names: what a person calls them.
        labels: names of their classes; empty for masks.
        conflicting: whether their labels differ.
    """

    rows: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    conflicting: bool


@dataclass(frozen=True)
class Inspection:
    """What is known of a data set.

    Attributes:
        name: of the data set.
        images: number of images.
        classes: name of a class to its number of images; empty for masks.
        patients: number of patients.
        images_per_patient: fewest, median and most; None where no patient has two images.
        sizes: width x height of the files to their number; empty if there are no files.
        modes: Pillow's mode of the files to their number.
        copies: images that show one photograph as another one, in groups.
        grey: images that are grey, though stored or read in colour.
        flat: names of images that show a single grey level.
        dark: names of images that are nearly black.
        light: names of images that are nearly white.
        mask_share: least, median and largest share of an image that its mask covers; None for
            classes.
        empty_masks: names of images whose mask marks nothing, or everything.
        warnings: sentences about what is suspicious.
        disclosures: what the data set itself says that readers must know.
    """

    name: str
    images: int
    classes: Mapping[str, int]
    patients: int
    images_per_patient: tuple[int, float, int] | None
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    copies: tuple[Group, ...]
    grey: int
    flat: tuple[str, ...]
    dark: tuple[str, ...]
    light: tuple[str, ...]
    mask_share: tuple[float, float, float] | None
    empty_masks: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    disclosures: tuple[str, ...] = ()
    pictures: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values."""
        values = asdict(self)
        del values["pictures"]
        values["copies"] = [one._asdict() for one in self.copies]
        return values


def inspect_data(spec: DataSpec, progress: Progress) -> Inspection:
    """Look at all images of a data set.

    Args:
        spec: the data set, its parameters, and the size at which it is looked at.
        progress: receives progress reports.

    Raises:
        DataError: images or labels cannot be read.
        UsageError: a parameter is wrong.
    """
    plugin = load_plugin("data", spec.source)
    source = build_source(plugin, spec.parameters)
    label = f"data {plugin.name!r}"
    with blaming(label, "catalogue()"):
        catalogue = list_checked(source, spec)
    keys = catalogue.keys.tolist()
    with blaming(label, "decode()"):
        images = decode_checked(source, keys, spec.size, spec.channels, progress)
        masks = None
        if source.task_for(source.parameters) == "segmentation":
            masks = decode_masks_checked(source, keys, spec.size, progress)
    given = source.parameters
    tolerance = given.duplicates if isinstance(given, ImageParameters) else DUPLICATE_TOLERANCE
    copies = tuple(_groups(catalogue, group_copies(images, tolerance)))
    grey_levels = images.mean((1, 2, 3))
    deviations = images.std((1, 2, 3))
    names = [catalogue.name_of(row) for row in range(len(keys))]
    sizes, modes = _of_files(source.files())
    covered = None if masks is None else masks.mean((1, 2, 3))
    found = Inspection(
        name=spec.name,
        images=len(keys),
        classes=_counts(catalogue),
        patients=len(np.unique(catalogue.groups)),
        images_per_patient=_per_patient(catalogue),
        sizes=sizes,
        modes=modes,
        copies=copies,
        grey=int(np.count_nonzero(_is_grey(images))),
        flat=_named(names, deviations <= _FLAT),
        dark=_named(names, (grey_levels <= _DARK) & (deviations > _FLAT)),
        light=_named(names, (grey_levels >= _LIGHT) & (deviations > _FLAT)),
        mask_share=None
        if covered is None
        else (float(covered.min()), float(np.median(covered)), float(covered.max())),
        empty_masks=() if covered is None else _named(names, (covered == 0) | (covered == 1)),
        disclosures=catalogue.disclosures,
    )
    shown = [row for one in copies[:_SHOWN] for row in one.rows[:_SHOWN]]
    suspicious = np.flatnonzero((deviations <= _FLAT) | (grey_levels <= _DARK))
    rows = dict.fromkeys([*shown, *suspicious[:_SHOWN].tolist()])
    return Inspection(
        **{
            **{name: getattr(found, name) for name in found.__dataclass_fields__},
            "warnings": tuple(_warnings(found)),
            "pictures": {row: images[row] for row in rows},
        }
    )


def _counts(catalogue: Catalogue) -> dict[str, int]:
    return {
        name: int(np.count_nonzero(catalogue.labels == index))
        for index, name in enumerate(catalogue.classes)
    }


def _per_patient(catalogue: Catalogue) -> tuple[int, float, int] | None:
    _, counts = np.unique(catalogue.groups, return_counts=True)
    if not len(counts) or counts.max() < 2:
        return None
    return int(counts.min()), float(np.median(counts)), int(counts.max())


def _groups(catalogue: Catalogue, copied: NDArray[np.int64]) -> Iterable[Group]:
    """Yield photographs of which there are several images; those with two labels first."""
    unlike = conflicting(copied, catalogue.labels)
    shared, counts = np.unique(copied, return_counts=True)
    groups = []
    for one in shared[counts > 1]:
        rows = np.flatnonzero(copied == one).tolist()
        groups.append(
            Group(
                rows=tuple(rows),
                names=tuple(catalogue.name_of(row) for row in rows),
                labels=tuple(catalogue.classes[catalogue.labels[row]] for row in rows)
                if catalogue.classes
                else (),
                conflicting=bool(unlike[rows[0]]),
            )
        )
    return sorted(groups, key=lambda group: (not group.conflicting, -len(group.rows)))


def _is_grey(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which images have equal channels, but for what JPEG adds."""
    if images.shape[1] == 1:
        return np.ones(len(images), bool)
    spread = images.max(1).astype(np.int16) - images.min(1)
    grey: NDArray[np.bool_] = np.percentile(spread, 99, axis=(1, 2)) <= _GREY
    return grey


def _of_files(files: Sequence[Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Count sizes and modes of image files, by their headers alone."""
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for file in files:
        with Image.open(file) as opened:
            sizes[f"{opened.width} x {opened.height}"] += 1
            modes[opened.mode] += 1
    return dict(sizes.most_common()), dict(modes.most_common())


def _named(names: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(names[row] for row in np.flatnonzero(chosen).tolist())


def _warnings(found: Inspection) -> Iterable[str]:
    """Yield sentences about what a person should look at."""
    conflicts = [one for one in found.copies if one.conflicting]
    if conflicts:
        count = sum(len(one.rows) for one in conflicts)
        yield (
            f"{len(conflicts)} photographs have copies with different labels; all {count} copies "
            "are left out of every run, because nobody knows which label is right"
        )
    if found.copies:
        count = sum(len(one.rows) - 1 for one in found.copies)
        yield f"{count} images are copies of others; copies of a photograph stay in one part"
    if found.images_per_patient is None:
        yield (
            "no patient has several images here: if that is not so, name the column of patients "
            "(group_column), or images of one patient will be on both sides of the attack"
        )
    rare = {name: count for name, count in found.classes.items() if count < _RARE}
    if rare:
        listed = ", ".join(f"{count} of {name!r}" for name, count in rare.items())
        yield f"few images of a class: {listed}; what the model is worth cannot be measured well"
    for what, names in (
        ("show a single grey level", found.flat),
        ("are nearly black", found.dark),
        ("are nearly white", found.light),
        ("have a mask that marks nothing, or everything", found.empty_masks),
    ):
        if names:
            yield f"{len(names)} images {what}: {', '.join(names[:3])}"
    shapes = [tuple(map(int, one.split(" x "))) for one in found.sizes]
    if shapes:
        ratios = [width / height for width, height in shapes]
        if max(ratios) > 1.2 * min(ratios):
            yield (
                f"width / height is {min(ratios):.2f} to {max(ratios):.2f}: images are resized to "
                "a square without keeping it, so some are stretched more than others"
            )
    if len(found.modes) > 1:
        listed = ", ".join(f"{count} {mode}" for mode, count in found.modes.items())
        yield f"the files are stored in several modes ({listed}); all are read in one"
    if found.grey == found.images and found.images:
        yield "all images are grey"
