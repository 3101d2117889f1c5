"""What is learned of labels that clients keep: from which sources, and never from the truth."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from splitsec.cells.label_leakage import LabelLeakage, label_leakage
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.metrics.label_probes import ClassProbes, MaskProbes
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.progress import Silent
from splitsec.training.trained import TrainedSession, victim_images
from support.cells import COUNTS

MASKS = {"target": "unet", "data": "phantom-cxr"}
CLASSES = {"target": "resnet:depth=18,labels=private", "data": "phantom-fundus"}


def request(**given: Any) -> Request:
    width = ["target.unet.width=4"] if given["target"] == "unet" else []
    batches = "training.batch_size=4"
    return Request(size=[16], threads=1, settings=[*COUNTS, *width, batches], **given)


class Ran(NamedTuple):
    """A session that has ended."""

    side: PrivateSide
    trained: TrainedSession
    released: Tensor

    def measured(self, data: Data | None = None, **granted: bool) -> LabelLeakage:
        """Return what is learned by an attack that reconstructs every image exactly."""
        held_out = self.side.data.held_out.batch(self.side.held_out_victims)
        side: Any = SimpleNamespace(
            data=data or self.side.data,
            victims=self.side.victims,
            held_out_victims=self.side.held_out_victims,
            u_shaped=self.side.u_shaped,
            trains=self.side.trains,
            labels_shared=self.side.labels_shared,
            target=self.side.target,
        )
        attacker: Any = SimpleNamespace(
            threat=ThreatModel(public_images=True, **granted), seen=SimpleNamespace(access=Access())
        )
        recovered = {
            "held_out": held_out,
            "training": victim_images(self.side.data.private, self.side.victims),
        }
        return label_leakage(attacker, side, self.trained, self.released, recovered)


def ran(**given: Any) -> Ran:
    (cell,) = resolve(request(attack="regression", **given))
    side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
    trained = side.honest(Silent())
    return Ran(
        side, trained, trained.release(side.data.held_out.batch(side.held_out_victims), "held-out")
    )


@pytest.fixture(scope="module")
def masks() -> Ran:
    return ran(**MASKS)


@pytest.fixture(scope="module")
def classes() -> Ran:
    return ran(**CLASSES)


def test_masks_are_predicted_from_what_the_attack_has(masks: Ran) -> None:
    scores, notes = masks.measured(queries=True)
    assert scores is not None
    assert (scores.measure, notes) == ("jaccard", ())
    assert set(scores.held_out) == {"smashed_data", "features", "reconstructions"}
    assert set(scores.training) == {*scores.held_out, "feature_gradient"}
    assert {one.images for one in scores.held_out.values()} == {4}, "victims of 8 images"
    listening, _ = masks.measured()
    assert listening is not None
    assert set(listening.held_out) == {"features", "reconstructions"}


def test_labels_are_read_from_the_gradients_of_features(classes: Ran) -> None:
    scores, _ = classes.measured()
    assert scores is not None
    assert set(scores.held_out) == {"reconstructions"}
    assert set(scores.training) == {"reconstructions", "feature_gradient"}
    assert scores.training["feature_gradient"].score in (0, 1), "two clusters, maybe misnamed"


def test_a_malicious_server_has_no_trained_network(masks: Ran) -> None:
    hijacked = masks._replace(trained=replace(masks.trained, honest=False))
    scores, _ = hijacked.measured(queries=True)
    assert scores is not None
    assert set(scores.training) == {"smashed_data", "reconstructions", "feature_gradient"}


@pytest.mark.parametrize("which", ["masks", "classes"])
def test_no_label_of_a_victim_enters_a_prediction(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Ran = request.getfixturevalue(which)
    predicted: list[Tensor] = []
    for probes in (MaskProbes, ClassProbes):
        score = probes.score

        def recorded(self: Any, guess: Tensor, truth: Tensor, score: Any = score) -> Any:
            predicted.append(guess)
            return score(self, guess, truth)

        monkeypatch.setattr(probes, "score", recorded)
    torch.manual_seed(0)
    data = one.side.data
    first = one.measured(queries=True)
    count = len(predicted)
    private = tuple(
        replace(part, labels=1 - part.labels, masks=_other(part.masks)) for part in data.private
    )
    held_out = replace(
        data.held_out, labels=1 - data.held_out.labels, masks=_other(data.held_out.masks)
    )
    second = one.measured(replace(data, private=private, held_out=held_out), queries=True)
    assert first.scores != second.scores
    assert len(predicted) == 2 * count
    for before, after in zip(predicted[:count], predicted[count:], strict=True):
        assert torch.equal(before, after)


def _other(masks: Any) -> Any:
    return None if masks is None else 1 - masks


def test_what_cannot_be_measured_is_said(classes: Ran) -> None:
    data = classes.side.data
    public = replace(data.public, labels=np.zeros_like(data.public.labels))
    scores, notes = classes.measured(replace(data, public=public))
    assert scores is None
    assert "all public images are of one class" in notes[0]
    held_out = replace(data.held_out, labels=np.ones_like(data.held_out.labels))
    some, notes = classes.measured(replace(data, held_out=held_out))
    assert some is not None
    assert some.held_out == {}
    assert some.training
    assert notes == (
        "how well the server predicts labels is not measured: all held-out victims are of one "
        "class",
    )


def test_only_what_was_sent_counts(masks: Ran) -> None:
    traffic = masks.trained.traffic
    first = masks.side.victims[0]
    less = {key: one for key, one in traffic.feature_gradients.items() if key != first}
    assert len(less) == 3
    short = SimpleNamespace(sent=traffic.sent, feature_gradients=less)
    scores, _ = masks._replace(trained=replace(masks.trained, traffic=short)).measured()  # type: ignore[arg-type]  # what the scorer reads of it
    assert scores is not None
    assert {one.images for one in scores.training.values()} == {3}


def test_a_release_that_is_not_finite_raises_nothing(masks: Ran) -> None:
    released = masks.released.clone()
    released[0], released[1] = float("nan"), float("inf")
    scores, _ = masks._replace(released=released).measured(queries=True)
    assert scores is not None
    assert scores.held_out["smashed_data"].images == 4
