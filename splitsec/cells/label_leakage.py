"""How well the server of a cell predicts the labels or masks that its clients do not send.

Where a client keeps its labels (U-shaped targets, and all in inference), an attack that
reconstructs images says nothing of them. So probes predict them from what the cell's attack has.
Labels of victims are used to score the predictions, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.private_side import PrivateSide
from splitsec.data.parts import Data
from splitsec.devices import on_cpu
from splitsec.metrics.label_probes import ClassProbes, MaskProbes, Probes, Views
from splitsec.metrics.label_schema import LabelScore, LabelScores, LabelSource
from splitsec.training.trained import TrainedSession

_FEWEST = 2  # public images, and classes among them
_UNMEASURED = "how well the server predicts labels is not measured:"


class LabelLeakage(NamedTuple):
    """Scores of predicted labels, and sentences for the reader.

    Attributes:
        scores: None where nothing was measured.
        notes: why not, where one would expect it.
    """

    scores: LabelScores | None = None
    notes: tuple[str, ...] = ()


class Seen(NamedTuple):
    """One set of victims, as the server sees it.

    Attributes:
        smashed: (N, *smashed_shape), what was sent of them.
        reconstructions: (N, C, H, W), what the attack made of it.
        truth: (N,) labels, or masks (N, 1, H, W); they only score.
        feature_gradients: (N, ...), of the server's features; None for victims of no training.
    """

    smashed: Tensor
    reconstructions: Tensor
    truth: Tensor
    feature_gradients: Tensor | None = None


def label_leakage(
    attacker: Attacker,
    side: PrivateSide,
    trained: TrainedSession,
    released: Tensor,
    reconstructions: Mapping[str, Tensor],
) -> LabelLeakage:
    """Predict the labels that clients keep, and score the predictions.

    The probes have public images with their labels, and the access of the attack: they ask the
    client about each public image once if the attack has queries. An honest server also runs its
    own network.

    Args:
        attacker: the attack.
        side: the private side.
        trained: the first session that the attack saw.
        released: smashed data of the held-out victims in this session.
        reconstructions: of the victims that the attack is scored on: ``held_out``, and mostly
            ``training``.
    """
    data = side.data
    if side.labels_shared:
        return LabelLeakage()
    probes = _probes(data)
    if isinstance(probes, str):
        return LabelLeakage(None, (f"{_UNMEASURED} {probes}",))
    images, server = data.public.all(), _Server(trained, known=side.target.knows_server)
    from_images, from_answers = probes.learn({"images": images}), None
    if attacker.threat.queries:
        answered = trained.answers()(images, attacker.seen.access.queries)
        from_answers = probes.learn(server.views(answered))
    seen = _seen(side, trained, released, reconstructions)
    notes = tuple(
        f"{_UNMEASURED} all {name.replace('_', '-')} victims are of one class"
        for name, victims in seen.items()
        if not probes.can_score(victims.truth)
    )
    found: dict[str, dict[LabelSource, LabelScore]] = {}
    for name, victims in seen.items():
        if not probes.can_score(victims.truth):
            continue
        shown = from_images({"images": on_cpu(victims.reconstructions).clamp(0, 1)})
        predicted: dict[LabelSource, Tensor] = {"reconstructions": shown}
        if side.u_shaped:
            predicted |= dict(_predicted(probes, server, victims, shown))
        elif side.target.knows_server:
            predicted["outputs"] = probes.answered(server.outputs(victims.smashed))
        if from_answers is not None:
            predicted["smashed_data"] = from_answers(server.views(victims.smashed))
        found[name] = {
            source: probes.score(guess, victims.truth) for source, guess in predicted.items()
        }
    return LabelLeakage(LabelScores(measure=probes.measure, **found), notes)


class _Server:
    """What a server makes of smashed data: an honest one also runs its own, trained network."""

    def __init__(self, trained: TrainedSession, *, known: bool) -> None:
        self._trained = trained
        self._known = known and trained.honest

    def features(self, smashed: Tensor) -> Tensor | None:
        """Return the features that it sends to clients; None if it never trained a network."""
        return _finite(self._trained.features(smashed)) if self._known else None

    def outputs(self, smashed: Tensor) -> Tensor:
        """Return the model's outputs, of a server that ends the network."""
        return _finite(self._trained.features(smashed))

    def views(self, smashed: Tensor) -> Views:
        """Return the smashed data, and the features if there are any, on the CPU."""
        features = self.features(smashed)
        views = {"smashed_data": _finite(smashed)}
        return views if features is None else views | {"features": features}


def _finite(values: Tensor) -> Tensor:
    """Return values on the CPU, 0 where they are not finite: a defense may release anything."""
    return torch.nan_to_num(on_cpu(values), nan=0.0, posinf=0.0, neginf=0.0)


def _probes(data: Data) -> Probes | str:
    """Return probes that know the public labels, or why there are none."""
    part = data.public
    if len(part) < _FEWEST:
        return f"there are fewer than {_FEWEST} public images"
    if data.task == "segmentation":
        return MaskProbes(part.targets(range(len(part))))
    if len(np.unique(part.labels)) < _FEWEST:
        return "all public images are of one class"
    return ClassProbes(part.targets(range(len(part))), len(data.classes))


def _seen(
    side: PrivateSide,
    trained: TrainedSession,
    released: Tensor,
    reconstructions: Mapping[str, Tensor],
) -> dict[str, Seen]:
    """Return the sets of victims; training victims that were never sent are left out."""
    data, traffic = side.data, trained.traffic
    held_out = data.held_out
    truth = held_out.targets(side.held_out_victims)
    seen = {"held_out": Seen(released, reconstructions["held_out"], truth)}
    crossed = traffic.feature_gradients if side.trains else traffic.sent
    sent = [one for one in side.victims if one in crossed]
    if "training" in reconstructions and sent:
        rows = [row for row, one in enumerate(side.victims) if one in crossed]
        seen["training"] = Seen(
            torch.stack([traffic.sent[one] for one in sent]),
            reconstructions["training"][rows],
            torch.cat([data.private[client].targets([row]) for client, row in sent]),
            torch.stack([traffic.feature_gradients[one] for one in sent]) if side.trains else None,
        )
    return seen


def _predicted(
    probes: Probes, server: _Server, victims: Seen, shown: Tensor
) -> Iterator[tuple[LabelSource, Tensor]]:
    """Yield predictions that need no queries, by their source.

    Args:
        probes: know the public labels.
        server: the server.
        victims: the set.
        shown: predictions from the reconstructions.
    """
    features = server.features(victims.smashed) if probes.measure == "jaccard" else None
    guesses: dict[LabelSource, Tensor | None] = {
        "features": None if features is None else probes.guess(features),
        "feature_gradient": None
        if victims.feature_gradients is None
        else probes.guess(on_cpu(victims.feature_gradients), hints=shown),
    }
    for source, guess in guesses.items():
        if guess is not None:
            yield source, guess
