"""Target models: networks that clients and a server train together, split at a cut layer.

There are two configurations. With shared labels the server has the model's last layers and
computes the loss. In the U-shaped configuration the client keeps the model's head and the labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.devices import zeros_for
from splitsec.errors import PluginError, UsageError, blaming
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Task
from splitsec.shapes import Shape, SmashedShape, smashed_shape_of

P = TypeVar("P", bound=Parameters)

LARGEST_SIZE = 1 << 16
"""Height and width of the largest images that a target may state, in pixels."""


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
        smashed: maps (N, c, h, w), token sequences (N, T, D) or vectors (N, D).
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
    overrides either ``layers`` or ``split``. If it does not take every image, it sets
    ``channels`` and overrides ``sizes``. If its parameters rule out some of the cuts, it overrides
    ``possible_cuts``.

    Attributes:
        Parameters: the parameter class.
        parameters: this target's parameters.
        task: what the model is trained for; the data set must have labels for it.
        cuts: indices of the cut layers that leave a layer on either side.
        default_cut: the cut that is used when a person names none.
        channels: numbers of channels that its images may have.
        seeds_ignore: names of the parameters on which initial weights and the order of batches
            do not depend, such as those that choose where to cut.
        weights_from: names of the parameters that name files of trained weights. The client and
            the honest server start from these; an attacker's copy of the model is made without.
        knows_server: whether the server's part can be run. Else the model's worth is not measured.
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
    channels: ClassVar[tuple[int, ...]] = (1, 3)
    seeds_ignore: ClassVar[tuple[str, ...]] = ()
    weights_from: ClassVar[tuple[str, ...]] = ()
    knows_server: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    training: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @classmethod
    def task_for(cls, parameters: P) -> Task:
        """Return what a model with these parameters is trained for; by default ``task``."""
        return cls.task

    def sizes(self) -> range:
        """Return the heights and widths of images, in pixels, that fit its parameters.

        A step states multiples: ``range(16, 1025, 16)`` for patches of 16 pixels.
        """
        return range(1, LARGEST_SIZE + 1)

    def possible_cuts(self) -> range:
        """Return those of its ``cuts`` that its parameters allow."""
        return self.cuts

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

        Raises:
            UsageError: the server would have no layer.
        """
        layers = self.layers(image, outputs)
        if cut >= len(layers) - 1:
            raise UsageError(
                f"cut {cut} leaves nothing to the server: the model has layers 0 to "
                f"{len(layers) - 1}"
            )
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
        if self.task_for(self.parameters) == "segmentation":
            return F.binary_cross_entropy_with_logits(outputs, targets)
        return F.cross_entropy(outputs, targets)


def without_weights(target: Target[P]) -> Target[P]:
    """Return a target of the same parameters that reads no trained weights."""
    given = target.parameters.model_copy(update=dict.fromkeys(target.weights_from, ""))
    return type(target)(given)


def check_target(label: str, cls: type[Target[Any]], cut: int | None) -> None:
    """Check the task and cuts of a target's class, and that it has this cut.

    Args:
        label: names the target in errors.
        cls: the target's class.
        cut: index of the client's last layer, or None for the target's default.

    Raises:
        PluginError: ``cuts`` or ``default_cut`` is missing, the task is unknown, or no image has
            as many channels as the target takes.
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
    channels: object = cls.channels
    if not isinstance(channels, tuple) or not channels or not {*channels} <= {1, 3}:
        raise PluginError(f"{label} states channels = {channels!r}; it can be (1,), (3,) or (1, 3)")
    if cut is not None and cut not in cuts:
        raise UsageError(
            f"cut {cut} is out of range for {label}; choose one of {cuts[0]} to {cuts[-1]}"
        )


def split_target(
    label: str, target: Target[Any], image: Shape, outputs: int, cut: int
) -> SplitModel:
    """Split a target, if it takes such images and can be cut there.

    Weights are drawn from torch's global generator, which the caller seeds.

    Args:
        label: names the target in errors.
        target: the target.
        image: shape of one input image.
        outputs: number of output logits: classes, or 1 for a mask.
        cut: index of the client's last layer.

    Returns:
        What its ``split`` gives.

    Raises:
        UsageError: the target takes no such images, or its parameters rule the cut out.
        PluginError: it raised, or gave no split model.
    """
    with blaming(label, "sizes() or possible_cuts()"):
        sizes, cuts = target.sizes(), target.possible_cuts()
    for name, given in (("sizes", sizes), ("possible_cuts", cuts)):
        if not isinstance(given, range) or not given:
            raise PluginError(f"{label} returned {given!r} from {name}(); expected a range")
    _check_image(label, target.channels, sizes, image)
    if cut not in cuts:
        raise UsageError(
            f"cut {cut} leaves nothing to the server of {label} with these parameters; choose one "
            f"of {cuts[0]} to {cuts[-1]}"
        )
    with blaming(label, "split()"):
        model: object = target.split(image, outputs, cut)
    if not isinstance(model, SplitModel):
        raise PluginError(
            f"{label} returned {type(model).__name__} from split(); expected a SplitModel"
        )
    return model


def _check_image(label: str, channels: tuple[int, ...], sizes: range, image: Shape) -> None:
    if image.channels not in channels:
        kinds = {1: "grey images", 3: "colour images"}
        raise UsageError(
            f"{label} takes {' and '.join(kinds[one] for one in channels)} only; "
            f"use --channels {channels[0]}"
        )
    for extent in (image.height, image.width):
        if extent not in sizes:
            multiples = f" in steps of {sizes.step}" if sizes.step > 1 else ""
            raise UsageError(
                f"{label} takes images of {sizes[0]} to {sizes[-1]} pixels{multiples} with these "
                f"parameters, not {extent}; use --size {nearest_size(sizes, extent)}, or other "
                "parameters of the target"
            )


def nearest_size(sizes: Sequence[int], wanted: int) -> int:
    """Return the size, or the number of channels, that is nearest to one; the larger of two."""
    return min(sizes, key=lambda size: (abs(size - wanted), -size))


def smashed_shape(client: nn.Module, image: Shape) -> SmashedShape:
    """Return the shape of one image's smashed data.

    Args:
        client: the client's part of a split model.
        image: shape of one input image.

    Returns:
        Shape of the client's output for one image.

    Raises:
        UsageError: the image is too small for the client's layers, or the smashed data are
            neither maps, token sequences nor vectors.
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
    if not 2 <= smashed.dim() <= 4 or 0 in smashed.shape or len(smashed) != 1:
        raise UsageError(
            f"the client at this cut turns one image of {image} into {tuple(smashed.shape)}; "
            "splitsec needs the batch axis first, then channels x height x width, tokens x "
            "features, or features, each at least 1"
        )
    return smashed_shape_of(smashed.shape[1:])


@torch.no_grad()
def _zeros_through(client: nn.Module, image: Shape) -> Tensor:
    training = client.training
    client.eval()
    try:
        return encode(client, zeros_for(client, 1, *image)).smashed
    finally:
        client.train(training)


Loss = Callable[[Tensor, Tensor], Tensor]
