"""DCOR against the dcor package."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.toolbox.distance_correlation import (
    corrected_squared_distance_correlation,
    distance_correlation,
)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The dcor package; its import compiles for seconds, which other tests need not wait for."""
    threads = torch.get_num_threads()
    import dcor

    assert torch.get_num_threads() == threads, "conftest.py keeps numba from changing them"
    return dcor


def pairs(count: int, x_size: int, z_size: int, noise: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count + x_size)
    x = torch.randn(count, x_size, generator=generator)
    z = torch.randn(count, z_size, generator=generator) * noise
    z[:, 0] += x[:, 0].square()
    return x, z


@pytest.mark.slow  # the package compiles for ten seconds
@pytest.mark.parametrize(("count", "x_size", "z_size"), [(8, 2, 3), (32, 48, 64), (64, 300, 5)])
@pytest.mark.parametrize("noise", [0.0, 0.1, 10.0])
def test_both_estimators_equal_the_dcor_package(
    reference: Any, count: int, x_size: int, z_size: int, noise: float
) -> None:
    x, z = pairs(count, x_size, z_size, noise)
    arrays = x.double().numpy(), z.double().numpy()
    assert distance_correlation(x, z).item() == pytest.approx(
        reference.distance_correlation(*arrays), abs=1e-9
    )
    assert corrected_squared_distance_correlation(x, z).item() == pytest.approx(
        reference.u_distance_correlation_sqr(*arrays), abs=1e-9
    )


def test_whoever_sends_a_scaled_copy_hides_nothing() -> None:
    x, z = pairs(32, 5, 5, 0.1)
    assert distance_correlation(x, 3 * x + 1).item() == pytest.approx(1)
    assert corrected_squared_distance_correlation(x, 3 * x + 1).item() == pytest.approx(1)
    assert 0 < distance_correlation(x, z).item() < 1


def test_the_published_estimator_saturates_and_the_corrected_one_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 3072, generator=generator)
    z = torch.randn(32, 4096, generator=generator)
    assert distance_correlation(x, z) > 0.99
    assert abs(corrected_squared_distance_correlation(x, z)) < 0.1


@pytest.mark.parametrize("estimator", ["published", "bias-corrected"])
def test_dcor_penalty_has_the_gradient_of_its_value(estimator: str) -> None:
    plugin = load_plugin("defense", "dcor")
    parameters = build_parameters(
        "dcor", plugin.cls.Parameters, {"alpha": 0.3, "estimator": estimator}
    )
    defense = plugin.cls(parameters)
    assert defense.task_weight == pytest.approx(0.7)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 4, 4, generator=generator, dtype=torch.double)
    smashed = torch.rand(6, 2, 2, 2, generator=generator, dtype=torch.double, requires_grad=True)
    torch.autograd.gradcheck(lambda z: defense.penalty(images, z, None), (smashed,))


@pytest.mark.parametrize("estimator", ["published", "bias-corrected"])
def test_dcor_gradients_are_finite_where_distances_vanish(estimator: str) -> None:
    plugin = load_plugin("defense", "dcor")
    defense = plugin.cls(plugin.cls.Parameters(estimator=estimator))
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[1] = images[0]
    for smashed in (torch.zeros(8, 2, 2, 2), images[:, :2, :2, :2].clone()):
        smashed.requires_grad_()
        penalty = defense.penalty(images, smashed, None)
        penalty.backward()
        assert torch.isfinite(penalty)
        assert smashed.grad is not None
        assert torch.isfinite(smashed.grad).all()


def test_descending_dcor_makes_data_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 1, 2, 2, generator=generator)
    noise = torch.randn(24, 2, 2, 2, generator=generator)  # at equality the gradient is zero
    smashed = (images.repeat(1, 2, 1, 1) + 0.1 * noise).requires_grad_()
    defense = load_plugin("defense", "dcor").cls
    penalise = defense(defense.Parameters(alpha=1.0, estimator="bias-corrected")).penalty
    optimizer = torch.optim.Adam([smashed], lr=0.02)
    before = penalise(images, smashed, None).item()
    for _ in range(100):
        optimizer.zero_grad()
        penalise(images, smashed, None).backward()
        optimizer.step()
    after = corrected_squared_distance_correlation(images.flatten(1), smashed.flatten(1)).item()
    assert before > 0.5
    assert after < 0.1
