"""Target models: networks that clients and a server train together, split at a cut layer.

There are two configurations. With shared labels the server has the model's last layers and
computes the loss. In the U-shaped configuration the client keeps the model's head and the labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.errors import PluginError, UsageError
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Task
from splitsec.shapes import Shape

P = TypeVar("P", bound=Parameters)


class SplitModel(NamedTuple):
    """The parts of a split target.

    Attributes:
        client: maps images to smashed data, or to a tuple of smashed data and skips. Skips stay
            on the client, which passes them to ``head``.
        server: maps smashed data to outputs, or to features if there is a head.
        head: maps features, and skips as further arguments, to outputs on the client. None
            where clients share their labels with the server.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> client = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        >>> server = nn.Sequential(nn.Flatten(), nn.Linear(16 * 4 * 4, 2))
        >>> model = SplitModel(client, server)
        >>> smashed = model.client(torch.rand(4, 3, 8, 8))
        >>> smashed.shape, model.server(smashed).shape
        (torch.Size([4, 16, 4, 4]), torch.Size([4, 2]))
    """

    client: nn.Module
    server: nn.Module
    head: nn.Module | None = None


class Encoding(NamedTuple):
    """The output of the client's encoder for one batch.

    Attributes:
        smashed: shape (N, c, h, w).
        skips: tensors that stay on the client, for its head.
    """

    smashed: Tensor
    skips: tuple[Tensor, ...] = ()


def encode(client: nn.Module, images: Tensor) -> Encoding:
    """Run a client's encoder on images of shape (N, C, H, W), in [0, 1]."""
    output = client(images)
    if isinstance(output, Tensor):
        return Encoding(output)
    smashed, *skips = output
    return Encoding(smashed, tuple(skips))


class Target(ABC, Generic[P]):
    """Base class of target models: a model that can be split at any of its ``cuts``.

    A subclass sets ``Parameters``, ``cuts`` and ``default_cut``, overrides ``preprocessing``, and
    overrides either ``layers`` or ``split``.

    Attributes:
        Parameters: the parameter class.
        parameters: this target's parameters.
        task: what the model is trained for; the data set must have labels for it.
        cuts: indices of the cut layers that leave a layer on either side.
        default_cut: the cut that is used when a person names none.
        profiles: parameter defaults that differ under a profile.
        training: training settings that differ under a profile, such as
            ``{"quick": {"epochs": 20}}``.

    Examples:
        >>> import torch
        >>> from splitsec import Parameters, Shape
        >>> from torch import nn
        >>> class Small(Target[Parameters]):
        ...     cuts, default_cut = range(4), 1
        ...     def preprocessing(self, image):
        ...         return nn.Identity()
        ...     def layers(self, image, outputs):
        ...         encoder = [nn.Conv2d(image.channels, 8, 3, stride=2, padding=1), nn.ReLU()]
        ...         return [*encoder, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)]
        >>> image = Shape(3, 16, 16)
        >>> model = Small(Parameters()).split(image, outputs=2, cut=1)
        >>> smashed = model.client(torch.rand(4, *image))
        >>> smashed.shape, model.server(smashed).shape
        (torch.Size([4, 8, 8, 8]), torch.Size([4, 2]))
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    task: ClassVar[Task] = "classification"
    cuts: ClassVar[range]
    default_cut: ClassVar[int]
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    training: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @abstractmethod
    def preprocessing(self, image: Shape) -> nn.Module:
        """Return the client's fixed map from images in [0, 1] to the first layer's input.

        Args:
            image: shape of one input image.
        """

    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        """Return the layers of the whole model, in order.

        Args:
            image: shape of one input image.
            outputs: number of output logits: classes, or 1 for a mask.

        Returns:
            The layers. Cut ``n`` gives layers 0 to n to the client and the others to the server.

        Raises:
            PluginError: the target overrides neither this nor ``split``.
        """
        raise PluginError(f"{type(self).__name__} overrides neither layers() nor split()")

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Build the model and split it.

        The whole model draws its weights from torch's global generator before it is split, so
        that every cut starts from the same weights at the same seed.

        Args:
            image: shape of one input image.
            outputs: number of output logits: classes, or 1 for a mask.
            cut: index of the client's last layer, one of ``cuts``.

        Returns:
            The client with its preprocessing, the server, and the head if the client keeps it.
        """
        layers = self.layers(image, outputs)
        client = nn.Sequential(self.preprocessing(image), *layers[: cut + 1])
        return SplitModel(client, nn.Sequential(*layers[cut + 1 :]))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task's loss: by default the mean cross-entropy of logits.

        Args:
            outputs: logits, shape (N, classes), or (N, 1, H, W) for segmentation.
            targets: class indices, shape (N,), or masks of 0 and 1, shape (N, 1, H, W).

        Returns:
            Scalar loss.
        """
        if self.task == "segmentation":
            return F.binary_cross_entropy_with_logits(outputs, targets)
        return F.cross_entropy(outputs, targets)


def check_target(label: str, cls: type[Target[Any]], cut: int | None) -> None:
    """Check the task and cuts of a target's class, and that it has this cut.

    Args:
        label: names the target in errors.
        cls: the target's class.
        cut: index of the client's last layer, or None for the target's default.

    Raises:
        PluginError: ``cuts`` or ``default_cut`` is missing, or the task is unknown.
        UsageError: the cut is not one of ``cuts``.
    """
    if cls.task not in get_args(Task):
        known = " or ".join(get_args(Task))
        raise PluginError(f"{label} states the task {cls.task!r}; it can be {known}")
    cuts, default = getattr(cls, "cuts", None), getattr(cls, "default_cut", None)
    if not isinstance(cuts, range) or not cuts or default not in cuts:
        raise PluginError(
            f"{label} must state its cuts as a range that holds something, and a default_cut "
            f"among them; it states cuts = {cuts!r}, default_cut = {default!r}"
        )
    if cut is not None and cut not in cuts:
        raise UsageError(
            f"cut {cut} is out of range for {label}; choose one of {cuts[0]} to {cuts[-1]}"
        )


def smashed_shape(client: nn.Module, image: Shape) -> Shape:
    """Return the shape of one image's smashed data.

    Args:
        client: the client's part of a split model.
        image: shape of one input image.

    Returns:
        Shape of the client's output for one image.

    Raises:
        UsageError: the image is too small for the client's layers, or the smashed data is
            not a map of channels x height x width.
    """
    try:
        smashed = _zeros_through(client, image)
    except Exception as error:
        larger = Shape(image.channels, 16 * image.height, 16 * image.width)
        try:
            _zeros_through(client, larger)
        except Exception:
            raise error from None  # not the size: the client fails on any image
        raise UsageError(
            f"images of {image} are too small for the client at this cut: {error}"
        ) from error
    if smashed.dim() != 4 or 0 in smashed.shape:
        raise UsageError(
            f"the client at this cut turns images of {image} into {tuple(smashed.shape[1:])}; "
            "splitsec needs a map of channels x height x width that is at least 1x1"
        )
    return Shape(*smashed.shape[1:])


@torch.no_grad()
def _zeros_through(client: nn.Module, image: Shape) -> Tensor:
    training = client.training
    client.eval()
    try:
        return encode(client, torch.zeros(1, *image)).smashed
    finally:
        client.train(training)


Loss = Callable[[Tensor, Tensor], Tensor]
