"""The FSHA paper's networks, against Keras' formulas and TensorFlow's definition of ``same``."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitsec.attacks.fsha import paper_networks
from splitsec.plugins.toolbox.gradient_penalty import Rectifier
from splitsec.targets.fsha_client import networks as client_networks

LEVELS = (1, 2, 3, 4)


def client(level: int, channels: int = 3) -> nn.Sequential:
    return nn.Sequential(*client_networks.client_children(level, channels))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def keras_conv(inputs: int, outputs: int) -> int:
    """Parameters of Conv2D or Conv2DTranspose(outputs, 3): kernel and bias."""
    return 3 * 3 * inputs * outputs + outputs


def keras_client(level: int, channels: int) -> int:
    batch_norm = 2 * 64  # trainable: gamma and beta
    blocks = (
        2 * keras_conv(64, 64),
        2 * keras_conv(64, 128) + keras_conv(128, 128),
        2 * keras_conv(128, 128),
        2 * keras_conv(128, 256) + keras_conv(256, 256),
    )
    return keras_conv(channels, 64) + batch_norm + sum(blocks[:level])


def keras_pilot(level: int, channels: int) -> int:
    widths = {1: (64, 64), 2: (64, 128, 128), 3: (64, 128, 128), 4: (64, 128, 256, 256)}[level]
    return sum(itertools.starmap(keras_conv, itertools.pairwise((channels, *widths))))


def keras_decoder(level: int, channels: int) -> int:
    widths = {1: (64, 256), 2: (128, 256, 128), 3: (128, 256, 128), 4: (256, 256, 128)}[level]
    return sum(itertools.starmap(keras_conv, itertools.pairwise((*widths, channels))))


def keras_discriminator(shape: tuple[int, int, int]) -> int:
    channels, height, width = shape
    flat = 256 * math.ceil(height / 2) * math.ceil(width / 2)
    return keras_conv(channels, 256) + 13 * keras_conv(256, 256) + flat + 1


def smashed_shape(level: int, size: int) -> tuple[int, int, int]:
    halvings = {1: 1, 2: 2, 3: 2, 4: 3}[level]
    for _ in range(halvings):
        size = math.ceil(size / 2)
    return {1: 64, 2: 128, 3: 128, 4: 256}[level], size, size


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", LEVELS)
def test_parameter_counts_follow_keras(level: int, channels: int) -> None:
    shape = smashed_shape(level, 32)
    assert parameters(client(level, channels)) == keras_client(level, channels)
    assert parameters(paper_networks.pilot(level, channels)) == keras_pilot(level, channels)
    assert parameters(paper_networks.decoder(level, channels)) == keras_decoder(level, channels)
    assert parameters(paper_networks.discriminator(shape)) == keras_discriminator(shape)


def test_parameter_counts_at_level_4() -> None:
    assert parameters(client(4)) == 1_846_656
    assert parameters(paper_networks.pilot(4)) == 960_896
    assert parameters(paper_networks.decoder(4)) == 888_579
    assert parameters(paper_networks.discriminator((256, 4, 4))) == 8_262_145


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 30, 32, 48])
@pytest.mark.parametrize("level", LEVELS)
def test_shapes_agree(level: int, size: int, channels: int) -> None:
    images = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    smashed = client(level, channels)(images)
    features = paper_networks.pilot(level, channels)(images)
    assert smashed.shape == features.shape == (2, *smashed_shape(level, size))
    reconstructions = paper_networks.decoder(level, channels, size)(smashed)
    assert reconstructions.shape == images.shape
    assert reconstructions.abs().max() <= 1
    assert paper_networks.discriminator(smashed_shape(level, size))(smashed).shape == (2, 1)


@pytest.mark.parametrize("level", [0, 5])
def test_unknown_levels_are_refused(level: int) -> None:
    for build in (client_networks.client_children, paper_networks.pilot, paper_networks.decoder):
        with pytest.raises(ValueError, match="levels 1 to 4"):
            build(level)


def test_clients_of_rising_level_extend_one_another() -> None:
    lengths = [len(client_networks.client_children(level)) for level in LEVELS]
    assert lengths == [5, 6, 7, 8]


def test_the_smashed_data_carry_both_signs_and_the_pilot_is_affine() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2))
    smashed = client(4)(first)
    assert smashed.min() < 0 < smashed.max()
    pilot = paper_networks.pilot(4)
    torch.testing.assert_close(
        pilot(0.25 * first + 0.75 * second),
        0.25 * pilot(first) + 0.75 * pilot(second),
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_start_as_keras_starts_them() -> None:
    networks = (client(4), paper_networks.pilot(4), paper_networks.discriminator((256, 4, 4)))
    for network in (*networks, paper_networks.decoder(4)):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any(), name
            elif parameter.ndim == 4:
                fans = 9 * (parameter.shape[0] + parameter.shape[1])
                bound = math.sqrt(6 / fans)
                assert parameter.abs().max() <= bound * (1 + 1e-6), name
                assert parameter.abs().max() > 0.9 * bound, name


def same_convolution(
    image: NDArray[np.float64], kernel: NDArray[np.float64], stride: int
) -> NDArray[np.float64]:
    """TensorFlow's definition, by loops: one channel, 3x3, padding 'same'."""
    rows, columns = (math.ceil(size / stride) for size in image.shape)
    before = [
        max((out - 1) * stride + 3 - size, 0) // 2
        for out, size in zip((rows, columns), image.shape, strict=True)
    ]
    output = np.zeros((rows, columns))
    for row, column, i, j in itertools.product(range(rows), range(columns), range(3), range(3)):
        y, x = row * stride + i - before[0], column * stride + j - before[1]
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            output[row, column] += image[y, x] * kernel[i, j]
    return output


@pytest.mark.parametrize("module", [paper_networks, client_networks])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (6, 9), (5, 4), (1, 2)])
def test_same_convolution_pads_as_tensorflow(
    module: type[paper_networks], stride: int, shape: tuple[int, int]
) -> None:
    layer = module.SameConv2d(1, 1, stride).double()
    image = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = same_convolution(image.numpy(), layer.weight[0, 0].detach().numpy(), stride)
    np.testing.assert_allclose(layer(image[None, None])[0, 0].detach(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_transposed_convolution_is_the_adjoint_of_the_strided_one(size: int) -> None:
    generator = torch.Generator().manual_seed(2)
    down = paper_networks.SameConv2d(5, 4, stride=2).double()
    up = paper_networks.SameConvTranspose2d(4, 5).double()
    up.load_state_dict({"weight": down.weight, "bias": torch.zeros(5)})
    large = torch.rand(2, 5, 2 * size, 2 * size, dtype=torch.float64, generator=generator)
    small = torch.rand(2, 4, size, size, dtype=torch.float64, generator=generator)
    torch.testing.assert_close((down(large) * small).sum(), (large * up(small)).sum())


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_the_rectifier_equals_relu_up_to_second_derivatives(slope: float) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(3, 2, 6, 6, dtype=torch.float64, generator=generator)
    weights = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=generator)

    def derivatives(activation: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        inputs = features.clone().requires_grad_()
        kernel = weights.clone().requires_grad_()
        outputs = activation(torch.nn.functional.conv2d(activation(inputs), kernel)).sum()
        (first,) = torch.autograd.grad(outputs, inputs, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), kernel)
        return outputs, first, second

    expected = derivatives(nn.LeakyReLU(slope) if slope else nn.ReLU())
    for value, reference in zip(derivatives(Rectifier(slope)), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)


def test_the_discriminator_scores_each_sample_on_its_own() -> None:
    smashed = torch.randn(4, 256, 4, 4, generator=torch.Generator().manual_seed(4))
    discriminator = paper_networks.discriminator((256, 4, 4))
    alone = torch.cat([discriminator(sample[None]) for sample in smashed])
    torch.testing.assert_close(discriminator(smashed), alone, rtol=1e-4, atol=1e-5)
