"""Target models: networks that a client and a server train together, split at a cut layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.errors import UsageError
from splitsec.images import Shape
from splitsec.parameters import Parameters

P = TypeVar("P", bound=Parameters)


class SplitModel(NamedTuple):
    """The two halves of a target."""

    client: nn.Module
    server: nn.Module


class Target(ABC, Generic[P]):
    """A model that can be split at any of its ``cuts``.

    A subclass names its parameter class, its cuts, and lists its layers; splitting, the loss
    and the check of shapes are here.

    Attributes:
        Parameters: the parameter class.
        cuts: the cut layers that leave something on both sides.
        default_cut: used when the person names none.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    cuts: ClassVar[range]
    default_cut: ClassVar[int]

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @abstractmethod
    def preprocessing(self, image: Shape) -> nn.Module:
        """Return the client's fixed map from images in [0, 1] to the first layer's input."""

    @abstractmethod
    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        """Return the whole model as a list of children, in order.

        Args:
            image: shape of one input image.
            outputs: number of output logits.

        Returns:
            Layers such that the cut index counts them, inclusive: cut ``n`` gives the client
            children 0 to n.
        """

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Build the model and split it.

        Weights are drawn from torch's global generator, whole model first, so that at equal
        seed every cut starts from the same weights.

        Args:
            image: shape of one input image.
            outputs: number of output logits.
            cut: index of the client's last layer.

        Returns:
            Client (with its preprocessing) and server.

        Raises:
            UsageError: the cut is not one of ``cuts``, or the image is too small.
        """
        if cut not in self.cuts:
            raise UsageError(
                f"cut {cut} is out of range for this target; "
                f"choose one of {self.cuts.start} to {self.cuts.stop - 1}"
            )
        layers = self.layers(image, outputs)
        client = nn.Sequential(self.preprocessing(image), *layers[: cut + 1])
        return SplitModel(client, nn.Sequential(*layers[cut + 1 :]))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task loss: cross-entropy on logits.

        Args:
            outputs: logits, shape (N, classes).
            targets: class indices, shape (N,).

        Returns:
            Scalar loss.
        """
        return F.cross_entropy(outputs, targets)


def smashed_shape(client: nn.Module, image: Shape) -> Shape:
    """Return the shape of one image's smashed data.

    Args:
        client: the client half of a split model.
        image: shape of one input image.

    Returns:
        Shape of the client's output for one image.

    Raises:
        UsageError: the image is too small for the client's layers, or the smashed data is
            not a map of channels x height x width.
    """
    training = client.training
    client.eval()
    try:
        with torch.no_grad():
            smashed = client(torch.zeros(1, *image))
    except RuntimeError as error:
        raise UsageError(
            f"images of {image} are too small for the client at this cut: {error}"
        ) from error
    finally:
        client.train(training)
    if smashed.dim() != 4 or 0 in smashed.shape:
        raise UsageError(
            f"the client at this cut turns images of {image} into {tuple(smashed.shape[1:])}; "
            "splitsec needs a map of channels x height x width that is at least 1x1"
        )
    return Shape(*smashed.shape[1:])


class Standardise(nn.Module):
    """Subtract a mean and divide by a standard deviation, both per channel and fixed."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Standardise images of shape (N, C, H, W)."""
        return (images - self.mean) / self.deviation
