"""Errors, identification, yardsticks and utility, against references from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from skimage import metrics as skimage_metrics
from torch import Tensor

from splitsec.errors import UsageError
from splitsec.metrics import identification as identification_module
from splitsec.metrics.blind_attackers import BlindAttackers
from splitsec.metrics.identification import GALLERY, Gallery, structure
from splitsec.metrics.image_errors import PSNR_CAP, mse, psnr, ssim
from splitsec.metrics.schema import BLIND
from splitsec.metrics.utility import accuracy, classification_utility, roc_auc
from splitsec.metrics.yardsticks import Yardsticks, equivalent_components

structural_similarity: Any = skimage_metrics.structural_similarity
peak_signal_noise_ratio: Any = skimage_metrics.peak_signal_noise_ratio


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Rates(NamedTuple):
    structure: float
    pixel: float
    certain: float
    gallery: int


def identification(images: Tensor, victims: Tensor, mean: Tensor, others: Any = None) -> Rates:
    found = Gallery.of(victims, mean, others).identify(images)
    rates = (found.structure, found.pixel, found.certain.double())
    return Rates(*(rate.mean().item() for rate in rates), gallery=found.gallery)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SHAPES = [(3, 1, 7, 7), (4, 3, 7, 12), (5, 3, 28, 28), (3, 1, 32, 33), (2, 3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
def test_ssim_and_psnr_equal_scikit_image(shape: tuple[int, ...], noise: float) -> None:
    references = draw(*shape)
    images = (references + noise * (draw(*shape, seed=1) - 0.5)).clamp(0, 1)
    pairs = list(zip(references.double().numpy(), images.double().numpy(), strict=True))
    expected = [structural_similarity(a, b, data_range=1, channel_axis=0) for a, b in pairs]
    np.testing.assert_allclose(ssim(images, references).numpy(), expected, atol=1e-9)
    if noise:
        expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
        np.testing.assert_allclose(psnr(images, references).numpy(), expected, atol=1e-9)


def test_ssim_of_flat_images_equals_scikit_image() -> None:
    dark, light = torch.zeros(1, 1, 9, 9), torch.full((1, 1, 9, 9), 0.75)
    expected = structural_similarity(
        dark[0].double().numpy(), light[0].double().numpy(), data_range=1, channel_axis=0
    )
    assert ssim(light, dark).item() == pytest.approx(expected, abs=1e-9)


def test_errors_do_not_depend_on_how_a_set_is_cut_into_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, references = draw(7, 3, 16, 16), draw(7, 3, 16, 16, seed=1)
    whole = mse(images, references), ssim(images, references)
    monkeypatch.setattr("splitsec.metrics.image_errors._PIXELS_PER_CHUNK", 2 * 3 * 16 * 16)
    torch.testing.assert_close((mse(images, references), ssim(images, references)), whole)


def test_psnr_of_equal_images_is_capped() -> None:
    images = draw(2, 3, 8, 8)
    assert psnr(images, images).tolist() == [PSNR_CAP, PSNR_CAP]
    assert psnr(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).item() == 0


def test_images_smaller_than_the_window_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least 7x7 pixels, these have 6x9"):
        ssim(draw(1, 3, 6, 9), draw(1, 3, 6, 9))


@pytest.mark.parametrize("measure", [mse, psnr, ssim])
def test_images_of_different_shapes_are_a_usage_error(
    measure: Callable[[Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises(UsageError, match=r"\(2, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        measure(draw(2, 3, 8, 8), draw(1, 3, 8, 8))


def drawn_galleries(distances: Tensor, gallery: int) -> float:
    """Identification by its definition: every gallery, every victim in it, strictly nearest."""
    hits = []
    for members in combinations(range(len(distances)), gallery):
        for own in members:
            others = [distances[own, other] for other in members if other != own]
            hits.append(float(all(distances[own, own] < other for other in others)))
    return float(np.mean(hits))


@pytest.mark.parametrize("gallery", [2, 3, 5, 9, 100])
def test_identification_is_the_mean_over_all_galleries(
    gallery: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims, mean = draw(9, 3, 8, 8), draw(3, 8, 8, seed=2)
    images = 0.07 * victims + 0.93 * draw(9, 3, 8, 8, seed=1)
    monkeypatch.setattr(identification_module, "GALLERY", gallery)
    found = identification(images, victims, mean)
    size = min(gallery, len(victims))
    pixel = torch.cdist(images.flatten(1).double(), victims.flatten(1).double())
    shapes = torch.cdist(structure(images, mean).double(), structure(victims, mean).double())
    assert found.gallery == size
    assert found.pixel == pytest.approx(drawn_galleries(pixel, size), abs=1e-9)
    assert found.structure == pytest.approx(drawn_galleries(shapes, size), abs=1e-9)
    assert 0 < found.pixel < 1  # else the comparison says little


def test_victims_themselves_are_all_identified() -> None:
    victims = draw(150, 3, 8, 8)
    assert identification(victims, victims, victims.mean(dim=0)) == (1, 1, 1, 100)


def test_structure_forgets_colour_and_contrast_but_pixels_do_not() -> None:
    victims, mean = draw(40, 3, 16, 16), torch.full((3, 16, 16), 0.5)
    recoloured = 0.03 * victims + 0.97 * draw(40, 3, 1, 1, seed=1)
    found = identification(recoloured, victims, mean)
    assert found.structure == 1
    assert found.pixel < 0.9


def test_reconstructions_that_say_nothing_identify_nobody() -> None:
    victims, public = draw(120, 3, 8, 8), draw(50, 3, 8, 8, seed=1)
    mean = public.mean(dim=0)
    same = [mean, mean + 1e-7, torch.zeros(3, 8, 8), victims[0], draw(3, 1, 1).expand(3, 8, 8)]
    for image in same:
        found = identification(image.expand_as(victims), victims, mean)
        assert (found.structure, found.pixel) == (0, 0)
    different_greys = draw(120, 1, 1, 1).expand_as(victims)
    assert identification(different_greys, victims, torch.zeros(3, 8, 8)).structure == 0


def test_equal_victims_are_one_image_of_a_gallery() -> None:
    victims = draw(10, 3, 8, 8)
    victims[7] = victims[3]
    mean = victims.mean(dim=0)
    assert identification(victims, victims, mean) == (1, 1, 1, 9)  # a copy, shared by 3 and 7
    images = (victims + 0.01 * draw(10, 3, 8, 8, seed=1)).clamp(0, 1)
    assert identification(images, victims, mean) == (1, 1, 1, 9)
    images[2] = images[3]  # now it is shared by different victims
    assert identification(images, victims, mean).pixel == pytest.approx(0.8)


def test_victims_of_one_shape_are_told_apart_by_pixels_alone() -> None:
    victims = 0.5 * draw(10, 3, 8, 8)
    victims[7] = victims[3] + 0.25
    found = identification(victims, victims, victims.mean(dim=0))
    assert found.pixel == found.certain == 1
    assert identification(victims, victims, torch.full((3, 8, 8), 0.3)).structure < 1


def test_negative_zero_makes_no_image_different() -> None:
    victims = draw(20, 3, 8, 8)
    images = torch.zeros_like(victims)
    images[0, 0, 0, 0] = -0.0
    found = identification(images, victims, victims.mean(dim=0))
    assert (found.structure, found.pixel, found.certain) == (0, 0, 0)


def test_other_images_fill_a_gallery_that_victims_do_not() -> None:
    victims, others = draw(30, 3, 8, 8), draw(200, 3, 8, 8, seed=1)
    mean = others.mean(dim=0)
    images = 0.05 * victims + 0.95 * draw(30, 3, 8, 8, seed=2)
    alone, filled = (identification(images, victims, mean, more) for more in (None, others))
    assert (alone.gallery, filled.gallery) == (30, GALLERY)
    pool = torch.cat([victims, others])[:GALLERY]
    distances = torch.cdist(images.flatten(1).double(), pool.flatten(1).double())
    right = distances.argmin(dim=1) == torch.arange(30)
    assert filled.pixel == pytest.approx(right.double().mean().item())
    assert 0 < filled.pixel < alone.pixel
    # A victim among the others is not its own rival, and enough victims need no others.
    assert identification(victims, victims, mean, torch.cat([victims, others])).pixel == 1
    many = draw(120, 3, 8, 8, seed=3)
    made = 0.1 * many + 0.9 * draw(120, 3, 8, 8, seed=4)
    assert identification(made, many, mean, others) == identification(made, many, mean)


def test_certain_means_nearest_of_all_victims() -> None:
    victims = draw(150, 3, 8, 8)
    images = 0.1 * victims + 0.9 * draw(150, 3, 8, 8, seed=1)
    mean = victims.mean(dim=0)
    pixel = torch.cdist(images.flatten(1).double(), victims.flatten(1).double())
    shapes = torch.cdist(structure(images, mean).double(), structure(victims, mean).double())
    rows = torch.arange(150)
    right = (pixel.argmin(dim=1) == rows) | (shapes.argmin(dim=1) == rows)
    assert 0 < right.double().mean() < 1
    assert identification(images, victims, mean).certain == right.double().mean().item()


def test_one_victim_is_a_gallery_of_one() -> None:
    victim = draw(1, 3, 8, 8)
    assert identification(draw(1, 3, 8, 8, seed=1), victim, draw(3, 8, 8)).gallery == 1


def test_blind_attackers_are_what_their_names_say() -> None:
    public = draw(31, 3, 8, 8)
    images = BlindAttackers.fit(public, None, generator()).reconstructions(400, generator())
    assert tuple(images) == BLIND[:-1]  # no best image for LPIPS without LPIPS
    assert all(made.shape == (400, 3, 8, 8) for made in images.values())
    np.testing.assert_allclose(images["mean-image"][5], public.numpy().mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(images["median-image"][5], np.median(public.numpy(), axis=0))
    np.testing.assert_allclose(
        images["constant"][5, :, 2, 3], public.numpy().mean(axis=(0, 2, 3)), atol=1e-6
    )
    drawn = {
        int((public == image).flatten(1).all(dim=1).nonzero()) for image in images["random-image"]
    }
    assert drawn == set(range(31))


def test_random_images_follow_the_generator() -> None:
    attackers = BlindAttackers.fit(draw(31, 3, 8, 8), None, generator())
    first, again, other = (
        attackers.reconstructions(50, generator(seed))["random-image"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("count", "channels"), [(40, 3), (400, 1)])
def test_components_are_those_of_a_singular_value_decomposition(count: int, channels: int) -> None:
    public = 0.3 + 0.4 * draw(count, channels, 9, 9)  # so that nothing is clamped
    victims = 0.3 + 0.4 * draw(6, channels, 9, 9, seed=1)
    yardsticks = Yardsticks.fit(public)
    mean = public.mean(dim=0).numpy()
    axes = np.linalg.svd((public.numpy() - mean).reshape(count, -1).astype(float))[2]
    images = yardsticks.reconstructions(victims)
    for k in yardsticks.components:
        flat = (victims.numpy() - mean).reshape(6, -1)
        expected = mean + (flat @ axes[:k].T @ axes[:k]).reshape(victims.shape)
        np.testing.assert_allclose(images[f"components-{k}"], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("public", "components"),
    [(1, ()), (2, (1,)), (4, (1, 3)), (11, (1, 3, 5, 10)), (101, (1, 3, 5, 10, 30, 100))],
)
def test_components_are_fewer_than_public_images(public: int, components: tuple[int, ...]) -> None:
    yardsticks = Yardsticks.fit(draw(public, 3, 8, 8))
    names = ["colour", *(f"components-{k}" for k in components)]
    assert yardsticks.components == components
    assert list(yardsticks.reconstructions(draw(2, 3, 8, 8))) == names


def test_equal_public_images_have_no_components_to_tell() -> None:
    public = draw(1, 3, 8, 8).expand(20, -1, -1, -1)
    images = Yardsticks.fit(public).reconstructions(draw(3, 3, 8, 8, seed=1))
    torch.testing.assert_close(images["components-10"], public[:3])


def test_colour_recovers_channel_gains() -> None:
    public = 0.2 + 0.3 * draw(20, 3, 8, 8)
    gains = torch.tensor([[0.5, 1.0, 1.5], [1.2, 0.0, 0.7]])
    victims = gains[:, :, None, None] * public.mean(dim=0)
    torch.testing.assert_close(Yardsticks.fit(public).reconstructions(victims)["colour"], victims)


KNOWN = {1: 0.08, 10: 0.04, 100: 0.01}


@pytest.mark.parametrize(
    ("error", "count", "capped"),
    [
        (0.20, 0.0, False),
        (0.10, 0.0, False),
        (0.09, 0.5, False),
        (0.08, 1.0, False),
        (0.06, 10**0.5, False),
        (0.04, 10.0, False),
        (0.025, 10**1.5, False),
        (0.01, 100.0, False),
        (0.009, 100.0, True),
        (0.0, 100.0, True),
    ],
)
def test_equivalent_components(error: float, count: float, capped: bool) -> None:
    found = equivalent_components(error, 0.10, KNOWN)
    assert found.components == pytest.approx(count)
    assert found.capped is capped


def test_equivalent_components_without_yardsticks() -> None:
    assert equivalent_components(0.2, 0.1, {}) == (0.0, False)
    assert equivalent_components(0.05, 0.1, {}) == (0.0, True)


def pairwise_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """AUC by its meaning: how often a positive outranks a negative, ties half."""
    wins = scores[positive][:, None] - scores[~positive][None, :]
    return float(np.mean((wins > 0) + 0.5 * (wins == 0)))


def test_binary_auc_counts_pairs() -> None:
    draws = np.random.default_rng(0)
    logits = draws.normal(size=(60, 2)).round(1)  # rounded: some ties
    labels = draws.integers(2, size=60)
    logits[:, 1] += labels
    expected = pairwise_auc((logits[:, 1] - logits[:, 0]), labels == 1)
    assert roc_auc(logits, labels) == pytest.approx(expected)
    assert 0.55 < expected < 0.95


def test_multiclass_auc_is_one_against_the_rest() -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(3, size=80)
    logits = draws.normal(size=(80, 4)) + 0.8 * np.eye(4)[labels]  # class 3 never occurs
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.mean([pairwise_auc(shares[:, k], labels == k) for k in range(3)])
    assert roc_auc(logits, labels) == pytest.approx(expected)


def test_a_single_class_ranks_nothing() -> None:
    assert roc_auc(np.random.default_rng(0).normal(size=(5, 2)), np.ones(5, dtype=int)) == 0.5
    assert roc_auc(np.random.default_rng(0).normal(size=(5, 3)), np.ones(5, dtype=int)) == 0.5


def test_utility_stands_beside_the_trivial_predictor() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 0] * 20)
    logits = np.eye(2)[labels] + np.random.default_rng(0).normal(size=(160, 2))
    training_labels = np.array([1, 1, 1, 0, 0])
    found = classification_utility(logits, labels, training_labels, np.random.default_rng(1))
    assert found.trivial_accuracy == pytest.approx(3 / 8)  # the majority of training, not here
    assert found.trivial_auc == 0.5
    assert found.accuracy == accuracy(logits, labels) > 0.6
    assert found.auc_interval[0] < found.auc < found.auc_interval[1]
    assert found.auc_interval[0] > 0.5
    assert found.n == 160


def test_utility_of_noise_cannot_be_told_from_trivial() -> None:
    labels = np.arange(200) % 2
    logits = np.random.default_rng(0).normal(size=(200, 2))
    found = classification_utility(logits, labels, labels, np.random.default_rng(1))
    assert found.auc_interval[0] < 0.5 < found.auc_interval[1]


def test_reading_scores_needs_no_torch() -> None:
    code = "import sys, splitsec.metrics.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
