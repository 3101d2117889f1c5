"""LPIPS: perceptual distance by the features of an image classifier (Zhang et al. 2018)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import lpips
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from splitsec.devices import CPU, Device, beside, in_batches
from splitsec.errors import UsageError
from splitsec.randomness import seeded_global_generator

SMALLEST = 64
"""Pixels; images with a shorter side are upsampled, since AlexNet shrinks them 16 times."""

_PIXELS_PER_BATCH = 256 * 64 * 64
_EMBEDDED_BYTES = 512 << 20


class Lpips:
    """LPIPS 0.1 by AlexNet with given weights: ``lpips.LPIPS`` without its download.

    Example:
        >>> distance = Lpips(load_backbone())  # doctest: +SKIP
        >>> distance.distance(reconstructions, victims).mean()  # doctest: +SKIP
    """

    def __init__(self, weights: dict[str, Tensor], device: Device = CPU) -> None:
        """Build the distance.

        Args:
            weights: state dict of AlexNet's ``features`` as torchvision names them; see
                :func:`splitsec.metrics.lpips_weights.load_backbone`.
            device: where the images are.
        """
        # The constructors draw weights, which are replaced below, and warn about an argument
        # that lpips passes to torchvision.
        with seeded_global_generator("lpips", {}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        network = model.get_submodule("net")
        # lpips groups the layers in slices but keeps torchvision's numbers: "slice2.3.weight".
        network.load_state_dict(
            {name: weights[name.split(".", 1)[1]] for name in network.state_dict()}
        )
        device.put(model.eval().requires_grad_(False))
        self._network = network.to(memory_format=torch.channels_last)  # faster on a CPU
        self._scaling = model.get_submodule("scaling_layer")
        # One 1x1 convolution per layer, (1, C, 1, 1); Zhang et al. keep its weights non-negative.
        self._roots = [
            model.get_parameter(f"lin{index}.model.1.weight").clamp(min=0).sqrt()
            for index in range(model.L)
        ]

    def distance(self, images: Tensor, references: Tensor) -> Tensor:
        """Return the distance of each pair of images.

        Grey images are repeated to three channels; images whose shorter side is under
        ``SMALLEST`` pixels are first upsampled to it, bilinearly.

        Args:
            images: (N, C, H, W), in [0, 1], C 1 or 3.
            references: the same shape.

        Returns:
            (N,) float64, at least 0; 0 for equal images.

        Raises:
            UsageError: the shapes differ, or C is neither 1 nor 3.
        """
        if images.shape != references.shape:
            raise UsageError(
                "LPIPS compares images of one shape, got "
                f"{tuple(images.shape)} and {tuple(references.shape)}"
            )
        count = self._batch(images)
        pairs = zip(torch.split(images, count), torch.split(references, count), strict=True)
        return torch.cat([_squared_distance(self.embed(a), self.embed(b)) for a, b in pairs])

    def against(self, references: Tensor) -> Callable[[Tensor], Tensor]:
        """Return :meth:`distance` to fixed references, for many sets of images.

        The references are embedded once, unless that would fill the memory.
        """
        size = self.embed(references[:1]).numel() * references.element_size() * len(references)
        if size > _EMBEDDED_BYTES:
            return partial(self.distance, references=references)
        return partial(self._distance_to, embedded=self.embed(references))

    def mean_distance(self, population: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the mean distance between one image and a whole population.

        The distance is a squared Euclidean one, so that the mean embedding of the population and
        its spread are all that is needed of it.

        Args:
            population: (N, C, H, W), in [0, 1], C 1 or 3.

        Returns:
            A function from an image (1, C, H, W) to a scalar, differentiable.

        Raises:
            UsageError: C is neither 1 nor 3.
        """
        total, energy = torch.zeros(()), torch.zeros(())
        for part in torch.split(population, self._batch(population)):
            embedded = self.embed(part)
            total = beside(total, embedded) + embedded.sum(dim=0)
            energy = beside(energy, embedded) + embedded.square().sum()
        mean = total / len(population)
        spread = energy / len(population) - mean.square().sum()
        return lambda image: (self._embed(image)[0] - mean).square().sum() + spread

    def _distance_to(self, images: Tensor, embedded: Tensor) -> Tensor:
        if len(images) > 1 and images.stride(0) == 0:  # one image, expanded
            return _squared_distance(self.embed(images[:1]), embedded)
        count = self._batch(images)
        pairs = zip(torch.split(images, count), torch.split(embedded, count), strict=True)
        return torch.cat([_squared_distance(self.embed(a), b) for a, b in pairs])

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Embed images so that LPIPS is the squared Euclidean distance of embeddings.

        LPIPS averages over positions, and sums over layers and channels with non-negative
        weights, squared differences of unit-length features; so features times the root of
        weight over positions are such an embedding. Embedding images once that are compared
        many times saves half the work.

        Args:
            images: (N, C, H, W), in [0, 1], C 1 or 3.

        Returns:
            (N, D) float32.

        Raises:
            UsageError: C is neither 1 nor 3.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UsageError(f"LPIPS compares images (N, 1 or 3, H, W), got {tuple(images.shape)}")
        return torch.cat(in_batches(self._embed, images, self._batch(images)))

    def _batch(self, images: Tensor) -> int:
        area = max(SMALLEST, images.shape[-2]) * max(SMALLEST, images.shape[-1])
        return max(1, _PIXELS_PER_BATCH // area)

    def _embed(self, images: Tensor) -> Tensor:
        scaled = self._scaling(_prepare(images))
        layers = self._network(scaled.contiguous(memory_format=torch.channels_last))
        return torch.cat(
            [
                (lpips.normalize_tensor(features) * root / features[0, 0].numel() ** 0.5).flatten(1)
                for features, root in zip(layers, self._roots, strict=True)
            ],
            dim=1,
        )


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(dim=1, dtype=torch.float64)


def _prepare(images: Tensor) -> Tensor:
    """Convert images (N, C, H, W) in [0, 1] to LPIPS's input: 3 channels, in [-1, 1]."""
    shorter = min(images.shape[-2:])
    if shorter < SMALLEST:
        size = [round(side * SMALLEST / shorter) for side in images.shape[-2:]]
        images = interpolate(images, size=size, mode="bilinear", align_corners=False)
    return 2 * images.expand(-1, 3, -1, -1) - 1
