"""The checks of a defense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from splitsec.errors import NotApplicable, SessionEnded, blaming
from splitsec.plugins.defense import Untrained
from splitsec.plugins.target import SplitModel
from splitsec.randomness import seeded_global_generator
from splitsec.records.record import Record
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.subject import (
    Check,
    Subject,
    documented,
    left_alone,
    repeats,
    small_cells,
)
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape

WATCHED = ("__init__", "begin", "begin_epoch", "release", "send_labels", "penalty", "receive")
FREE = ("__init__", "begin")

TARGETS: dict[str, dict[str, Any]] = {
    "resnet, cut 3": {"target": "resnet:depth=18", "cut": "3"},
    "unet, cut 1, grey images": {"target": "unet:width=4", "cut": "1", "channels": 1},
}
"""Targets on which a defended session runs."""

SHAPES: tuple[tuple[Shape, SmashedShape], ...] = (
    (Shape(3, 16, 16), Shape(8, 8, 8)),
    (Shape(1, 8, 8), Shape(4, 1, 1)),
    (Shape(3, 16, 16), TokenShape(17, 8)),
    (Shape(1, 8, 8), VectorShape(12)),
)
"""Images and smashed data for calls of the hooks: maps, tokens and vectors."""

_TRIED = "the first session that worked"
_LEARNS: dict[str, Any] = {"target": "unet:width=4", "cut": "1", "size": 32, "channels": 1}
_LEARNS_SETTINGS = {"training.epochs": 8, "counts.private": 64, "counts.held_out": 24}
_RETAINED = 0.9
_DEFENDED, _BARE = "a defended session", "the same session without the defense"


class _Hooks(NamedTuple):
    """The values that the hooks returned for one batch."""

    released: Tensor
    received: Tensor | None
    penalty: Tensor | None
    gradient: Tensor | None


def _begun(subject: Subject, image: Shape, smashed: SmashedShape, seed: int) -> Any:
    """Return a defense that has begun, which may train a model of two layers."""

    def split() -> SplitModel:
        sizes = prod(image), prod(smashed)
        client = nn.Sequential(nn.Flatten(), nn.Linear(*sizes), nn.Unflatten(1, tuple(smashed)))
        return SplitModel(client, nn.Sequential(nn.Flatten(), nn.Linear(sizes[1], 2)))

    with seeded_global_generator("check", {}):
        defense = subject.make()
        defense.untrained = Untrained(split, nn.functional.cross_entropy)
        defense.begin(image, smashed, torch.Generator().manual_seed(seed))
    return defense


def _call(subject: Subject, image: Shape, smashed: SmashedShape, alike: bool) -> _Hooks:
    """Call the hooks as the wire does, for a batch of random images or of equal ones."""
    label = subject.configured.label
    with blaming(label, "begin(), begin_epoch(), release(), send_labels(), receive() or penalty()"):
        defense = _begun(subject, image, smashed, seed=3)
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(6, *image, generator=generator)
        sent = torch.rand(6, *smashed, generator=generator)
        if alike:
            images, sent = images[:1].expand(6, *image), torch.zeros(6, *smashed)
        sent.requires_grad_()
        defense.begin_epoch(0)
        released, labels = defense.release(images, sent), torch.arange(6) % 2
        defense.send_labels(labels, 0)
        try:
            received = defense.receive(torch.ones_like(sent), 0, labels)
        except SessionEnded:
            received = None
        penalty = defense.penalty(images, sent, labels)
        weight = float(defense.task_weight)
    root = released.sum() * weight if isinstance(released, Tensor) else None
    if isinstance(penalty, Tensor):
        root = penalty if root is None else root + penalty
    gradient = None
    if root is not None and root.requires_grad:
        (gradient,) = torch.autograd.grad(root.sum(), sent, allow_unused=True)
    return _Hooks(released, received, penalty, gradient)


def hooks(subject: Subject) -> Outcome:
    """Check the hooks on maps, tokens and vectors, and on batches of equal images."""
    refused: dict[str, str] = {}
    for image, smashed in SHAPES:
        for alike in (False, True):
            try:
                given = _call(subject, image, smashed, alike)
            except NotApplicable as error:
                refused[str(smashed)] = str(error)
                continue
            wrong = _wrong(given, smashed)
            if wrong:
                batch = "a batch of equal images" if alike else "a batch"
                return Outcome("failed", f"{wrong}, for {batch} of {image} sent as {smashed}")
    if len(refused) == len(SHAPES):
        return Outcome("failed", f"it applies to no smashed data: {next(iter(refused.values()))}")
    said = "maps, tokens and vectors keep their shapes; penalties and gradients are finite"
    if refused:
        said = f"what it takes keeps its shape; it does not apply to {', '.join(refused)}: "
        said += next(iter(refused.values()))
    return Outcome("ok", said)


def _wrong(given: _Hooks, smashed: SmashedShape) -> str | None:
    """Return what is wrong with the hooks' values, or None."""
    due = (6, *smashed)
    wrong = _wrong_tensor("release", given.released, due)
    if given.received is not None:  # else it ended the session
        wrong = wrong or _wrong_tensor("receive", given.received, due)
    if given.penalty is not None:
        wrong = wrong or _wrong_tensor("penalty", given.penalty, ())
    if given.gradient is None:
        return wrong or (
            "no gradient reaches the client's encoder: release() and penalty() must compute with "
            "the smashed data that they are given, not with a detached copy"
        )
    return wrong or _wrong_tensor("the gradient of release", given.gradient, due)


def _wrong_tensor(method: str, value: object, due: tuple[int, ...]) -> str | None:
    if not isinstance(value, Tensor) or tuple(value.shape) != due:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        return f"{method}() gave {got}; expected a tensor of shape {due}"
    return None if torch.isfinite(value).all() else f"{method}() gave values that are not finite"


def same_draws(subject: Subject) -> Outcome:
    """Check that equal seeds give equal releases, and that `randomised` is correct."""
    shapes = _applies_to(subject)
    first, second = (_call(subject, *shapes, alike=False) for _ in range(2))
    if not torch.equal(first.released, second.released) or _value(first) != _value(second):
        return Outcome(
            "failed",
            "equal seeds gave different values; draw from the generator that begin() receives",
        )
    drawn = not torch.equal(*_releases(subject, *shapes))
    if drawn and not subject.cls.randomised:
        return Outcome(
            "failed", "release() draws random numbers; state randomised = True, so records say so"
        )
    if subject.cls.randomised and not drawn:
        return Outcome("warning", "it states randomised = True, but release() draws no numbers")
    return Outcome("ok", "equal seeds give equal values")


def _value(given: _Hooks) -> float:
    return 0.0 if given.penalty is None else given.penalty.item()


def _applies_to(subject: Subject) -> tuple[Shape, SmashedShape]:
    """Return the first shapes to which the defense applies.

    Raises:
        NotApplicable: it applies to none.
    """
    for shapes in SHAPES[:-1]:
        with suppress(NotApplicable):
            _call(subject, *shapes, alike=False)
            return shapes
    return SHAPES[-1]


def _releases(subject: Subject, image: Shape, smashed: SmashedShape) -> tuple[Tensor, Tensor]:
    """Return the releases of one batch with two different generators."""
    drawn = torch.Generator().manual_seed(0)
    images = torch.rand(6, *image, generator=drawn)
    sent = torch.rand(6, *smashed, generator=drawn)
    made: list[Any] = []
    for seed in (0, 1):
        defense = _begun(subject, image, smashed, seed)
        made.append(defense.release(images, sent).detach())
    return made[0], made[1]


def works(subject: Subject, setting: str) -> Outcome:
    """Check that a session with the defense runs."""
    cells = subject.resolve(**_fitting(subject, TARGETS[setting]))
    record = subject.run_one(cells)
    if record.status != "ok":
        return Outcome("failed", f"{record.reason}")
    subject.tried.setdefault(_TRIED, (cells[0], record))
    if "honest-session-ended" in record.flags:
        return Outcome(
            "warning",
            f"it ends a session with an honest server ({record.session['honest_ended']}): a false "
            "alarm",
        )
    return Outcome("ok", f"{record.session['honest_exchanges']} exchanges with an honest server")


def _fitting(subject: Subject, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to ask for, with a client that mixes no images if the defense refuses others."""
    if not subject.cls.separate:
        return dict(asked)
    return {**asked, "target": f"{asked['target']},norm=group"}


def retains_utility(subject: Subject) -> Outcome:
    """Report how much of a small segmentation model's utility the defense retains."""
    learns = _fitting(subject, _LEARNS)
    (cell,) = subject.resolve(_LEARNS_SETTINGS, **learns)
    (bare,) = small_cells(_LEARNS_SETTINGS, **learns)
    bare = replace(bare, device=subject.device)
    defended, undefended = subject.run([cell, bare])
    if defended.status == "skipped":
        raise NotApplicable(str(defended.reason))
    for record in (undefended, defended):
        if record.status != "ok" or record.utility is None:
            return Outcome("failed", f"{record.spec.title()}: {record.reason}")
    subject.tried[_DEFENDED], subject.tried[_BARE] = (cell, defended), (bare, undefended)
    assert defended.utility is not None
    assert undefended.utility is not None
    trivial = undefended.utility.trivial["jaccard"]
    with_it, without = defended.utility.jaccard or 0.0, undefended.utility.jaccard or 0.0
    if without <= trivial:
        return Outcome("skipped", "the undefended model did not learn its task here")
    retained = (with_it - trivial) / (without - trivial)
    said = f"Jaccard {with_it:.2f} with it, {without:.2f} without, {trivial:.2f} for a mean mask"
    if retained < _RETAINED:
        return Outcome("warning", f"{said}: it retains {max(retained, 0):.0%} of the utility")
    return Outcome("ok", said)


def cost(subject: Subject) -> Outcome:
    """Report how much time the defense adds to a training step."""
    if _DEFENDED not in subject.tried:
        return Outcome("skipped", "the defended session did not run")
    with_it, without = (_step_ms(subject.tried[name][1]) for name in (_DEFENDED, _BARE))
    return Outcome(
        "ok", f"a training step takes {with_it:.1f} ms with it, {without:.1f} ms without"
    )


def _step_ms(record: Record) -> float:
    exchanges: int = record.session["honest_exchanges"]
    return 1000 * record.timings["honest training"] / max(exchanges, 1)


CHECKS: Sequence[Check] = (
    Check("documented", documented),
    Check("hooks", hooks),
    Check("equal seeds", same_draws),
    *(Check(name, partial(works, setting=name)) for name in TARGETS),
    Check("repeats itself", partial(repeats, purpose=_TRIED)),
    Check("retains utility", retains_utility),
    Check("leaves no trace", left_alone),
    Check("cost", cost),
)
