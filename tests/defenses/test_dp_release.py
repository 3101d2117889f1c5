"""DP release: what one image changes, what epsilon costs, and where nothing is proven."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent, get_epsilon_gaussian, pld

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import SessionEnded, UsageError
from splitsec.plugins.defense import Defense
from splitsec.plugins.guarantee import Guarantee
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.progress import Silent
from splitsec.records.checking import check_record
from splitsec.records.checking_methods import check_methods
from splitsec.records.guarantees import BROKEN, is_broken
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape
from support.cells import FEW

IMAGE, MAP = Shape(3, 16, 16), Shape(4, 4, 4)


def defense_of(smashed: SmashedShape = MAP, epochs: int = 10, **given: Any) -> Any:
    cls = load_plugin("defense", "dp-release").cls
    made: Defense[Any] = cls(build_parameters("defense", cls.Parameters, given))
    made.epochs = epochs
    made.begin(IMAGE, smashed, torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize("smashed", [MAP, TokenShape(5, 8), VectorShape(30)])
def test_one_image_moves_the_release_by_the_limit_at_most(smashed: SmashedShape) -> None:
    defense = defense_of(smashed, limit=0.7)
    diameter = 0.7 * math.sqrt(math.prod(smashed))
    drawn = torch.Generator().manual_seed(1)
    sent = torch.randn(8, *smashed, generator=drawn) * torch.logspace(-3, 5, 8).view(
        -1, *[1] * len(smashed)
    )
    clipped = defense.clip(sent)
    for row in range(8):
        other = sent.clone()
        other[row] = -1e6 * sent[row]  # the farthest that there is
        moved = defense.clip(other) - clipped
        assert moved[torch.arange(8) != row].abs().max() == 0
        assert moved[row].norm() <= diameter * (1 + 1e-5)
    assert moved[row].norm() == pytest.approx(diameter, rel=1e-5), "and some move by all of it"


@pytest.mark.parametrize(("epsilon", "epochs"), [(1.0, 10), (10.0, 1), (30.0, 20), (300.0, 50)])
def test_epsilon_agrees_with_an_independent_accountant(epsilon: float, epochs: int) -> None:
    """The accountant composes privacy loss distributions; the defense uses a formula."""
    defense = defense_of(epochs=epochs, epsilon=epsilon)
    images = torch.zeros(400, *IMAGE)
    diameter = math.sqrt(math.prod(MAP))
    noise = defense.release(images, torch.zeros(400, *MAP)).std().item() / diameter
    accountant = pld.PLDAccountant()
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(noise), epochs + 1))
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon, rel=0.02)  # the noise is drawn
    exact = defense._deviation / diameter
    accountant = pld.PLDAccountant()
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(exact), epochs + 1))
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon, rel=0.01)


def test_nothing_is_sent_beyond_what_epsilon_accounts_for() -> None:
    defense = defense_of(epochs=2)
    defense.begin_epoch(0)
    defense.begin_epoch(1)
    with pytest.raises(SessionEnded, match="accounts for: 2 times"):
        defense.begin_epoch(2)


def test_what_epsilon_permits_bounds_the_best_guess() -> None:
    """The best server against well separated images stays below what epsilon permits."""
    drawn, gallery, noise = np.random.default_rng(0), 20, 0.8
    places = np.eye(gallery) / math.sqrt(2)  # one unit apart: the diameter
    true = drawn.integers(gallery, size=40_000)
    seen = places[true] + noise * drawn.standard_normal((40_000, gallery))
    right = float((seen.argmax(1) == true).mean())  # the likeliest one
    for delta in (1e-5, 1e-3, 1e-1):
        epsilon = get_epsilon_gaussian(noise, delta)
        bound = Guarantee(epsilon=epsilon, delta=delta, releases=1, covers="everything")
        assert right <= bound.most_identified(gallery) <= 1
    assert right > 1 / gallery + 0.05, "it does learn something"


@pytest.mark.parametrize(
    ("epsilon", "delta", "gallery", "permitted"),
    [(1e-9, 0.0, 100, 0.01), (math.log(99), 0.0, 100, 0.5), (1e4, 0.0, 100, 1.0), (1.0, 0, 1, 1.0)],
)
def test_what_epsilon_permits(epsilon: float, delta: float, gallery: int, permitted: float) -> None:
    given = Guarantee(epsilon=epsilon, delta=delta, releases=1, covers="everything")
    assert given.most_identified(gallery) == pytest.approx(permitted, rel=1e-6)


def run(folder: Path, attack: str, target: str, defense: str, *settings: str) -> Record:
    asked = Request(
        attack=attack,
        defense=defense,
        target=target,
        size=32,
        threads=1,
        settings=[*(f"{name}={value}" for name, value in FEW.items()), *settings],
    )
    (record,) = run_cells(resolve(asked, None), folder, Silent())
    return record


SMALL = "resnet:depth=18,norm=group"


def test_batch_normalisation_is_refused(tmp_path: Path) -> None:
    record = run(tmp_path, "none", "resnet:depth=18", "dp-release")
    assert (record.status, record.reason) == (
        "skipped",
        "defense 'dp-release' bounds what one image changes, and this client mixes the images of a "
        "batch, as its layer '2' does; use one that normalises each image by itself, such as "
        "--target resnet:norm=group",
    )
    in_use = run(tmp_path, "none", "resnet:depth=18", "dp-release", "training.mode=inference")
    assert in_use.status == "ok", "a model as it is mixes nothing"
    assert in_use.guarantee is not None
    assert in_use.guarantee.covers == "everything"


def test_the_record_says_what_is_proven(tmp_path: Path) -> None:
    record = run(tmp_path, "regression:queries=500", SMALL, "dp-release:epsilon=5")
    assert record.guarantee == Guarantee(
        epsilon=5, delta=1e-5, releases=2, covers="the image's own"
    )
    assert BROKEN not in record.flags
    assert "epsilon 5 and delta 1e-05 over 2 releases of an image bound what the client" in str(
        record.notes
    )
    assert (check_record(record), check_methods(record)) == ("", "")
    other = Guarantee(epsilon=0.1, delta=1e-5, releases=2, covers="the image's own")
    forged = record.model_copy(update={"guarantee": other})
    assert check_methods(forged) == (
        "its guarantee is not what dp-release, whose source is here, proves"
    )


def test_an_attack_that_identifies_more_than_permitted_is_flagged(tmp_path: Path) -> None:
    record = run(tmp_path, "regression:queries=500", SMALL, "none")
    given = Guarantee(epsilon=0.01, delta=1e-9, releases=2, covers="everything")
    assert record.victims is not None
    scores = record.victims.held_out
    rates = scores.privacy.identification.model_copy(update={"gallery": 100, "structure": 0.5})
    privacy = scores.privacy.model_copy(update={"identification": rates})
    known = scores.model_copy(update={"privacy": privacy, "count": 200})
    victims = record.victims.model_copy(update={"held_out": known})
    claimed = record.model_copy(update={"guarantee": given, "victims": victims})
    assert is_broken(claimed)
    assert f"raise the flag '{BROKEN}'" in check_record(claimed)
    loose = given.model_copy(update={"epsilon": 6.0})
    assert not is_broken(claimed.model_copy(update={"guarantee": loose}))


def test_a_fixed_encoder_is_covered_as_a_whole(tmp_path: Path) -> None:
    record = run(tmp_path, "none", SMALL, "dp-release:encoder=fixed")
    assert record.guarantee is not None
    assert record.guarantee.covers == "everything"
    defense = defense_of(encoder="fixed")
    gradient = torch.ones(2, *MAP)
    assert defense.receive(gradient, 0, torch.tensor([0, 1])).abs().max() == 0


@pytest.mark.parametrize(
    ("target", "defense"),
    [
        (f"{SMALL},labels=private", "dp-release"),  # the gradient of its features is not bounded
        (SMALL, "gaussian-noise"),
        (SMALL, "dp-release+dropout"),  # which sees the smashed data again
    ],
)
def test_no_bound(tmp_path: Path, target: str, defense: str) -> None:
    record = run(tmp_path, "regression:queries=500", target, defense)
    assert (record.status, record.guarantee) == ("ok", None)


def test_a_malicious_server_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    record = run(
        tmp_path, "fsha:iterations=9,pretraining=5,image_steps=5", SMALL, "dp-release:epsilon=9"
    )
    assert record.session["attacked_exchanges"] == 2, "one epoch of 16 images in batches of 8"
    assert "as often as epsilon accounts for: 1 times" in record.session["ended"]
    assert "session-ended" in record.flags


def test_no_noise_gives_epsilon_zero() -> None:
    for wrong in ("epsilon=0", "epsilon=-1", "epsilon=inf", "delta=0", "delta=1", "limit=0"):
        with pytest.raises(UsageError, match="of defense 'dp-release'"):
            resolve(Request(attack="none", defense=f"dp-release:{wrong}"), None)
