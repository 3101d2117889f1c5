"""The checks of a target."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from splitsec.data.parts import Part
from splitsec.errors import NotApplicable, PluginError, SplitsecError, UsageError, blaming
from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import (
    SplitModel,
    Target,
    check_target,
    encode,
    nearest_size,
    smashed_shape,
    split_target,
)
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.subject import Check, Subject, documented, left_alone, repeats
from splitsec.shapes import Shape
from splitsec.training.client import Client
from splitsec.training.honest_server import HonestServer
from splitsec.training.loop import Schedule, exchanges_in, run_session
from splitsec.training.optimizers import make_optimizer
from splitsec.training.release import Sender
from splitsec.training.settings import Training
from splitsec.training.wire import Wire

WATCHED = ("__init__", "sizes", "possible_cuts", "preprocessing", "layers", "split", "loss")
FREE = ("__init__", "preprocessing", "layers", "split")

SHAPES = (Shape(1, 16, 16), Shape(3, 32, 32), Shape(3, 48, 48))
"""Images for which every cut is tried; if a target takes others, the nearest that it takes."""

_USUAL = SHAPES[1]
_TRAINING = Training(epochs=1, batch_size=4, optimizer="sgd", learning_rate=0.01)
_ORDER = {"check": "target"}
_TRIED = "a session"
_TOLERANCE = 1e-4


class _Split(NamedTuple):
    """A target split at one cut for images of one shape."""

    image: Shape
    cut: int
    model: SplitModel


def _taken(subject: Subject, image: Shape) -> Shape:
    """Return the image shape that the target takes and that is nearest to this one."""
    target: Target[Any] = subject.make()
    channels = nearest_size(target.channels, image.channels)
    height, width = (nearest_size(target.sizes(), one) for one in (image.height, image.width))
    return Shape(channels, height, width)


def _usual(subject: Subject) -> Shape:
    """Return the image shape of the checks that need one: the first that the target takes."""
    taken = [_taken(subject, image) for image in (_USUAL, *SHAPES)]
    for image in dict.fromkeys(taken):
        with suppress(SplitsecError):
            model = _split(subject, image, _outputs(subject), subject.cls.default_cut)
            with blaming(subject.configured.label, "the client's forward()"):
                smashed_shape(model.client, image)
            return image
    return taken[0]


def _split(subject: Subject, image: Shape, outputs: int, cut: int) -> SplitModel:
    with seeded_global_generator("initialisation", _ORDER):
        return split_target(subject.configured.label, subject.make(), image, outputs, cut)


def _outputs(subject: Subject) -> int:
    return 3 if _task(subject) == "classification" else 1


def _task(subject: Subject) -> str:
    task: str = subject.cls.task_for(subject.make().parameters)
    return task


def _splits(
    subject: Subject, refused: dict[str, int], unstated: list[str] | None = None
) -> Iterator[_Split]:
    """Yield the target split in every way; count the splits that it refuses, by reason.

    Args:
        subject: the target.
        refused: the counts.
        unstated: collects what it does not take although it states no restriction.

    Raises:
        PluginError: the target raised.
    """
    for image in dict.fromkeys(_taken(subject, image) for image in SHAPES):
        for cut in subject.make().possible_cuts():
            try:
                yield _split_once(subject, image, cut)
            except (UsageError, NotApplicable) as error:
                refused[str(error)] = refused.get(str(error), 0) + 1
            except PluginError:
                said = _only_some_channels(subject, image, cut)
                if unstated is None or said is None:
                    raise
                unstated.append(said)
                break


def _split_once(subject: Subject, image: Shape, cut: int) -> _Split:
    model = _split(subject, image, _outputs(subject), cut)
    with blaming(subject.configured.label, "the client's forward()"):
        smashed_shape(model.client, image)
    return _Split(image, cut, model)


def _only_some_channels(subject: Subject, image: Shape, cut: int) -> str | None:
    """Return in words that a target takes other numbers of channels alone, or None."""
    for channels in subject.cls.channels:
        if channels != image.channels:
            with suppress(SplitsecError):
                other = image._replace(channels=channels)
                if _wrong(subject, _split_once(subject, other, cut)) is None:
                    kind = {1: "grey", 3: "colour"}[channels]
                    return (
                        f"it takes {kind} images only; state it with channels = ({channels},), so "
                        "that splitsec refuses others with a sentence"
                    )
    return None


def states_itself(subject: Subject) -> Outcome:
    """Check that the class states its task, cuts, default cut and channels."""
    check_target(subject.configured.label, subject.cls, None)
    cuts = subject.make().possible_cuts()
    return Outcome(
        "ok", f"{_task(subject)}, cuts {cuts[0]} to {cuts[-1]}, usually {subject.cls.default_cut}"
    )


def splits(subject: Subject) -> Outcome:
    """Check every cut at several sizes, grey and colour: shapes, gradients, no in-place writes."""
    refused: dict[str, int] = {}
    done: dict[int, int] = {}
    unstated: list[str] = []
    for split in _splits(subject, refused, unstated):
        wrong = _wrong(subject, split)
        if wrong:
            where = f"cut {split.cut}, images of {split.image}"
            return Outcome("failed", f"{where}: {wrong}")
        done[split.cut] = done.get(split.cut, 0) + 1
    missing = [str(cut) for cut in subject.make().possible_cuts() if cut not in done]
    if missing:
        why = next(iter(refused), "")
        return Outcome(
            "failed", f"it claims cut {', '.join(missing)}, which works at no size: {why}"
        )
    if unstated:
        return Outcome("warning", unstated[0])
    images = [_taken(subject, image) for image in SHAPES]
    kinds = {1: "grey", 3: "colour"}
    colours = " and ".join(kinds[one] for one in sorted({image.channels for image in images}))
    extent = f"{images[0].height} to {images[-1].height} px, {colours}"
    said = f"{sum(done.values())} splits: {len(done)} cuts, {extent}"
    if refused:
        said += f"; {sum(refused.values())} refused: {next(iter(refused))}"
    return Outcome("ok", said)


def _wrong(subject: Subject, split: _Split) -> str | None:
    """Return what is wrong with a split model's forward and backward pass, or None."""
    label, model = subject.configured.label, split.model
    if _shared(model):
        return "client and server share weights; on two machines each has its own"
    for part in model:
        if part is not None:
            part.train()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, *split.image, generator=generator)
    with seeded_global_generator("session", _ORDER), blaming(label, "forward()"):
        encoded = encode(model.client, images)
        sent = encoded.smashed.detach().clone().requires_grad_()
        # Not a leaf: torch refuses in-place writes to leaves, and this check must detect them.
        crossed = sent * 1
        before = crossed.detach().clone()
        features = model.server(crossed)
        outputs = features if model.head is None else model.head(features, *encoded.skips)
    if not torch.equal(crossed.detach(), before):
        return "the server writes into the smashed data; no in-place layer may follow the cut"
    classes = _task(subject) == "classification"
    due = (4, _outputs(subject)) if classes else (4, 1, *split.image[1:])
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != due:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        return f"the outputs are {got}; expected {due}"
    with blaming(label, "loss()"):
        loss = subject.make().loss(outputs, _part(subject, split.image).targets(range(4)))
    if loss.dim() or not torch.isfinite(loss):
        return "loss() gave no finite scalar"
    loss.backward()
    if sent.grad is None or not torch.isfinite(sent.grad).all() or not sent.grad.abs().sum():
        return "no finite gradient reaches the smashed data, so the client would not learn"
    return None


def _shared(model: SplitModel) -> bool:
    """Return whether client and server share a weight."""
    kept = [part for part in (model.client, model.head) if part is not None]
    clients = {id(weight) for part in kept for weight in part.parameters()}
    return any(id(weight) in clients for weight in model.server.parameters())


def _part(subject: Subject, image: Shape, count: int = 12) -> Part:
    """Return random images with two classes, or with masks that follow their brightness."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *image), dtype=np.uint8)
    rows = np.arange(count, dtype=np.int64)
    masks = None
    if _task(subject) == "segmentation":
        masks = (images.mean(1, keepdims=True) > 127).astype(np.uint8)
    return Part(images, rows % 2, rows, masks)


def computes_the_same(subject: Subject) -> Outcome:
    """Check that split training gives the losses and weights of unsplit training."""
    outputs = _outputs(subject)
    compared = 0
    image = _usual(subject)
    for cut in subject.make().possible_cuts():
        try:
            split_model, unsplit = (
                _without_chance(_split(subject, image, outputs, cut)) for _ in range(2)
            )
        except (UsageError, NotApplicable):
            continue
        ours, theirs = _train(subject, split_model, True), _train(subject, unsplit, False)
        if not np.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE):
            return Outcome(
                "failed",
                f"cut {cut}: losses across the wire are {_said(ours)}, unsplit {_said(theirs)}; "
                "do client and server share anything, or pass anything around the wire?",
            )
        for part, other in zip(split_model, unsplit, strict=True):
            if part is not None and other is not None and not _alike(part, other):
                return Outcome(
                    "failed", f"cut {cut}: weights differ from those of unsplit training"
                )
        compared += 1
    if not compared:
        return Outcome("skipped", f"no cut works for images of {image}")
    return Outcome("ok", f"losses and weights of {compared} cuts equal those of unsplit training")


def _said(losses: list[float]) -> str:
    return ", ".join(f"{loss:.4f}" for loss in losses)


def _alike(part: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.allclose(one.float(), two.float(), rtol=_TOLERANCE, atol=_TOLERANCE)
        for one, two in zip(part.state_dict().values(), other.state_dict().values(), strict=True)
    )


def _without_chance(model: SplitModel) -> SplitModel:
    """Return a model whose dropout drops nothing: split, it draws other numbers than unsplit."""
    for part in model:
        for module in () if part is None else part.modules():
            if isinstance(getattr(module, "p", None), float):
                module.p = 0.0  # type: ignore[assignment]  # as torch's layers have it
    return model


def _train(subject: Subject, model: SplitModel, across: bool) -> list[float]:
    """Train for three exchanges, split or as one graph; return the losses."""
    target, part = subject.make(), _part(subject, _usual(subject))
    client = Client(
        part,
        Sender(model.client, Defense(Parameters()), names=(subject.configured.label, "no defense")),
        model.head,
        target.loss,
        make_optimizer(_TRAINING, model.client, model.head),
    )
    if across:
        optimizer = make_optimizer(_TRAINING, model.server)
        server = HonestServer(model.server, target.loss, optimizer, subject.configured.label)
        model.server.train()
        exchanges = exchanges_in([client], _TRAINING)
        schedule = Schedule(_TRAINING, _ORDER, exchanges)
        session = run_session("check", [client], Wire(server), schedule, Silent())
        return server.losses or session.losses
    whole = nn.ModuleList([one for one in model if one is not None]).train()
    optimizer = make_optimizer(_TRAINING, whole)
    turns = Schedule(_TRAINING, _ORDER, exchanges_in([client], _TRAINING)).turns([client])
    losses = []
    with seeded_global_generator("session", _ORDER):
        for _ in range(exchanges_in([client], _TRAINING)):
            _, _, rows = next(turns)
            encoded = encode(model.client, part.batch(rows.tolist()))
            outputs = model.server(encoded.smashed)
            if model.head is not None:
                outputs = model.head(outputs, *encoded.skips)
            loss = target.loss(outputs, part.targets(rows.tolist()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def every_weight_learns(subject: Subject) -> Outcome:
    """Check that a gradient reaches every weight that requires one."""
    model = _split(subject, _usual(subject), _outputs(subject), subject.cls.default_cut)
    _train(subject, model, False)
    idle = [
        f"{side}.{name}"
        for side, part in zip(SplitModel._fields, model, strict=True)
        if part is not None
        for name, weight in part.named_parameters()
        if weight.requires_grad and weight.grad is None
    ]
    if idle:
        return Outcome(
            "warning",
            f"no gradient reaches {len(idle)} weights, such as {idle[0]}; freeze them "
            "(requires_grad_(False)) or use them",
        )
    count = sum(w.numel() for part in model if part is not None for w in part.parameters())
    return Outcome("ok", f"a gradient reaches all of {count:,} weights")


def works(subject: Subject) -> Outcome:
    """Check that a whole cell runs with the target, on phantoms."""
    image = _usual(subject)
    cells = subject.resolve({"training.epochs": 3}, size=image.height, channels=image.channels)
    record = subject.run_one(cells)
    if record.status != "ok":
        return Outcome("failed", f"{record.reason}")
    subject.tried[_TRIED] = cells[0], record
    losses = record.history["training"]["loss"]
    third = max(1, len(losses) // 3)
    first, last = sum(losses[:third]) / third, sum(losses[-third:]) / third
    said = f"the loss goes from {first:.2f} to {last:.2f} in {len(losses)} exchanges"
    if last >= first:
        return Outcome(
            "warning", f"{said}: it does not learn; are the weights' scales and the loss right?"
        )
    return Outcome("ok", said)


def cost(subject: Subject) -> Outcome:
    """Report the time of a training step at the default cut, and the size of the smashed data."""
    model = _split(subject, _usual(subject), _outputs(subject), subject.cls.default_cut)
    _train(subject, model, True)
    start = time.perf_counter()
    _train(subject, model, True)
    step = 1000 * (time.perf_counter() - start) / 3
    image = _usual(subject)
    sent = smashed_shape(model.client, image)
    return Outcome(
        "ok",
        f"{step:.1f} ms per step of 4 images of {image}; an image is sent as {sent}, "
        f"{4 * math.prod(sent) / 1024:.0f} KiB",
    )


CHECKS: Sequence[Check] = (
    Check("documented", documented),
    Check("states itself", states_itself),
    Check("splits", splits, 15.0),
    Check("same mathematics", computes_the_same, 15.0),
    Check("every weight learns", every_weight_learns),
    Check("works", works, 5.0),
    Check("repeats itself", partial(repeats, purpose=_TRIED), 5.0),
    Check("leaves no trace", left_alone),
    Check("cost", cost),
)
