"""The checks of a data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import blaming
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import (
    Availability,
    Task,
    decode_checked,
    decode_masks_checked,
    list_checked,
)
from splitsec.progress import Silent
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.subject import SMALL, Check, Subject, documented, left_alone, repeats

WATCHED = ("__init__", "availability", "catalogue", "decode", "decode_masks")
FREE: tuple[str, ...] = ()

SIZES = (16, 32)
_SHOWN = 6  # images that the check decodes
_TRIED = "a session"
_MODELS = {"classification": "resnet:depth=18", "segmentation": "unet:width=4"}
_COST_SIZE = 32
_DIFFERS = (
    "the same keys in another order gave other {}s; each may depend only on its key, and random "
    "numbers only on a generator seeded from the key"
)


def _spec(subject: Subject) -> DataSpec:
    plugin = subject.configured.plugin
    return DataSpec(
        name=plugin.name,
        plugin=plugin.spec,
        parameters=subject.configured.parameters.model_dump(),
        size=SIZES[0],
        private=SMALL["counts.private"],
        public=SMALL["counts.public"],
        validation=SMALL["counts.validation"],
        held_out=SMALL["counts.held_out"],
    )


def _found(subject: Subject) -> Availability:
    with blaming(subject.configured.label, "availability()"):
        given: Availability = subject.make().availability()
    return given


def available(subject: Subject) -> Outcome:
    """Check that the source reports whether its images are available."""
    given = _found(subject)
    if not isinstance(given, Availability) or not given.sentence.strip():
        return Outcome("failed", "availability() must give an Availability with a sentence")
    if not given.found:
        return Outcome(
            "skipped", f"its images are missing, so they are not checked: {given.sentence}"
        )
    return Outcome("ok", given.sentence)


def catalogue(subject: Subject) -> Outcome:
    """Check the catalogue: one value per image, labels that index the classes, equal each time."""
    if not _found(subject).found:
        return Outcome("skipped", "its images are not here")
    with blaming(subject.configured.label, "catalogue()"):
        first, second = (list_checked(subject.make(), _spec(subject)) for _ in range(2))
    same = all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("keys", "labels", "groups", "pools")
    )
    if not same or first.fingerprint != second.fingerprint:
        return Outcome(
            "failed", "two catalogues differ; list the images in a fixed order: sort the files"
        )
    said = f"{len(first.keys)} images, {len(np.unique(first.groups))} patients"
    if _task(subject) == "classification":
        counts = np.bincount(first.labels, minlength=len(first.classes))
        named = zip(first.classes, counts.tolist(), strict=True)
        said += ": " + ", ".join(f"{count} {name}" for name, count in named)
    if not first.disclosures:
        return Outcome(
            "warning", f"{said}; it discloses nothing; state what a reader of results must know"
        )
    return Outcome("ok", said)


def decodes(subject: Subject) -> Outcome:
    """Check images and masks at several sizes, and that an image depends only on its key."""
    if not _found(subject).found:
        return Outcome("skipped", "its images are not here")
    source, label = subject.make(), subject.configured.label
    with blaming(label, "catalogue(), decode() or decode_masks()"):
        keys = list_checked(source, _spec(subject)).keys[:_SHOWN].tolist()
        for size in SIZES:
            for channels in (1, 3):
                images = decode_checked(source, keys, size, channels, Silent())
                backwards = decode_checked(source, keys[::-1], size, channels, Silent())[::-1]
                if not np.array_equal(images, backwards):
                    return Outcome("failed", _DIFFERS.format("image"))
                if _blank(images):
                    return Outcome("warning", f"at {size} px every image has a single value")
            if source.task_for(source.parameters) == "segmentation":
                masks = decode_masks_checked(source, keys, size, Silent())
                backwards = decode_masks_checked(source, keys[::-1], size, Silent())[::-1]
                if not np.array_equal(masks, backwards):
                    return Outcome("failed", _DIFFERS.format("mask"))
                if _blank(masks):
                    return Outcome("warning", f"at {size} px all masks are empty or full")
    return Outcome("ok", f"uint8 at {SIZES[0]} and {SIZES[1]} px, grey and colour, key by key")


def _blank(pixels: NDArray[np.uint8]) -> bool:
    return bool(pixels.min() == pixels.max())


def _task(subject: Subject) -> Task:
    task: Task = subject.cls.task_for(subject.configured.parameters)
    return task


def works(subject: Subject) -> Outcome:
    """Check that the images can be partitioned and that a whole cell runs on them."""
    if not _found(subject).found:
        return Outcome("skipped", "its images are not here")
    cells = subject.resolve(target=_MODELS[_task(subject)])
    record = subject.run_one(cells)
    if record.status != "ok":
        return Outcome("failed", f"{record.reason}")
    subject.tried[_TRIED] = cells[0], record
    return Outcome("ok", f"partitioned, trained and tested on {cells[0].target.plugin.name}")


def cost(subject: Subject) -> Outcome:
    """Report how long decoding an image takes."""
    if not _found(subject).found:
        return Outcome("skipped", "its images are not here")
    source = subject.make()
    keys = list_checked(source, _spec(subject)).keys[:_SHOWN].tolist()
    start = time.perf_counter()
    source.decode(keys, _COST_SIZE, 3, Silent())
    each = 1000 * (time.perf_counter() - start) / len(keys)
    return Outcome(
        "ok", f"{each:.1f} ms per image of {_COST_SIZE} px; each is decoded once and cached"
    )


CHECKS: Sequence[Check] = (
    Check("documented", documented),
    Check("available", available),
    Check("catalogue", catalogue),
    Check("decodes", decodes),
    Check("works", works),
    Check("repeats itself", partial(repeats, purpose=_TRIED)),
    Check("leaves no trace", left_alone),
    Check("cost", cost),
)
