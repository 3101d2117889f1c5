"""Targets that are whole networks: trained or not, cut at a submodule that a person names.

:mod:`.cutting` splits the network and :mod:`.weights` fills it.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from splitsec.errors import NotApplicable, PluginError, UsageError, blaming
from splitsec.plugins.parameters import InputPath, Parameters
from splitsec.plugins.source import Task
from splitsec.plugins.target import SplitModel, Target
from splitsec.plugins.toolbox.cutting import cut_network, cut_points
from splitsec.plugins.toolbox.layers import Standardise
from splitsec.plugins.toolbox.network_graph import evaluated
from splitsec.plugins.toolbox.weights import load_weights
from splitsec.shapes import Shape

_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Means and standard deviations of the channels, by name."""

_CLASSES = ("num_classes", "n_classes", "classes", "outputs", "out_channels")
"""Names under which functions take the number of outputs."""


def statistics(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return channel means and standard deviations.

    Args:
        text: ``imagenet``, ``half``, ``none``, or numbers such as ``0.5 0.4 0.4 / 0.2 0.2 0.2``.

    Raises:
        ValueError: the text is something else.
    """
    if text in _STATISTICS:
        return _STATISTICS[text]
    try:
        means, deviations = (
            tuple(map(float, part.replace(";", " ").split())) for part in text.split("/")
        )
    except ValueError:
        means = deviations = ()
    if len(means) not in (1, 3) or len(deviations) != len(means) or min(deviations) <= 0:
        raise ValueError(
            f"{' , '.join(_STATISTICS)}, or the channels' means / standard deviations, such as "
            "'0.5 0.4 0.4 / 0.2 0.2 0.2'"
        )
    return means, deviations


def _checked(text: str) -> str:
    statistics(text)
    return text


Normalisation = Annotated[str, AfterValidator(_checked)]
"""Text that :func:`statistics` reads."""


class WholeModelParameters(Parameters):
    """Parameters of a whole network."""

    at: str = Field(
        "",
        description="where the client ends: a submodule, such as features.3, or before-classifier "
        "for the input of one; empty: after a quarter of the places where one can cut",
    )
    until: str = Field(
        "",
        description="where the server ends and the client goes on, which then keeps the labels "
        "(U-shaped), in the same form; empty: the server ends the network",
    )
    carry: bool = Field(
        False,
        description="send other tensors that the server needs beside the smashed data, such as "
        "residual connections around the cut",
    )
    weights: InputPath = Field(
        "",
        description="file of trained weights: .safetensors, or a state dict of torch.save; empty: "
        "random ones",
    )
    new_head: bool = Field(
        False,
        description="keep the last layer random if the weights are for other numbers of classes",
    )
    normalise: Normalisation = Field(
        "none",
        description="what the client does to images in [0, 1] first: imagenet, half (to [-1, 1]), "
        "none, or channel means / standard deviations, such as '0.5 / 0.25'",
    )
    task: Task = Field("classification", description="what the network is trained for")


P = TypeVar("P", bound=WholeModelParameters)


class WholeModel(Target[P]):
    """Base class of targets that build a whole network and are cut at a named submodule.

    Attributes:
        Parameters: the parameter class.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from splitsec import Shape
        >>> from splitsec.plugins.toolbox.whole_models import WholeModel, WholeModelParameters
        >>> class Small(WholeModel[WholeModelParameters]):
        ...     def network(self, image, outputs):
        ...         encoder = [nn.Conv2d(image.channels, 8, 3, stride=2, padding=1), nn.ReLU()]
        ...         return nn.Sequential(*encoder, nn.Flatten(), nn.Linear(8 * 8 * 8, outputs))
        >>> target = Small(WholeModelParameters(at="1"))
        >>> model = target.split(Shape(3, 16, 16), outputs=2, cut=0)
        >>> model.client(torch.rand(4, 3, 16, 16)).shape
        torch.Size([4, 8, 8, 8])
    """

    Parameters: ClassVar[type[WholeModelParameters]] = WholeModelParameters
    cuts: ClassVar[range] = range(1)
    default_cut: ClassVar[int] = 0
    seeds_ignore: ClassVar[tuple[str, ...]] = ("at", "until", "carry")
    weights_from: ClassVar[tuple[str, ...]] = ("weights",)

    @classmethod
    def task_for(cls, parameters: P) -> Task:
        """Return the task that a person names."""
        return parameters.task

    @abstractmethod
    def network(self, image: Shape, outputs: int) -> nn.Module:
        """Build the whole network, with random weights.

        Args:
            image: shape of one input image.
            outputs: number of output logits: classes, or 1 for a mask.

        Returns:
            A network that maps images (N, C, H, W) to logits (N, outputs), to one logit for two
            classes, (N, 1) or (N,), or to masks (N, 1, H, W).
        """

    def preprocessing(self, image: Shape) -> nn.Module:
        """Standardise the channels as the person says; grey images with the mean of three."""
        means, deviations = statistics(self.parameters.normalise)
        if image.channels == 1:
            return Standardise((sum(means) / len(means),), (sum(deviations) / len(deviations),))
        return Standardise(means * (3 // len(means)), deviations * (3 // len(deviations)))

    def filled(self, image: Shape, outputs: int) -> nn.Module:
        """Return the whole network with the weights of the file, if one is named.

        Raises:
            UsageError: the file cannot be used.
            NotApplicable: it is for another number of classes.
        """
        network: object = self.network(image, outputs)
        if not isinstance(network, nn.Module):
            kind = type(network).__name__
            raise PluginError(f"{type(self).__name__} built {kind}; expected a torch.nn.Module")
        if self.parameters.weights:
            file = Path(self.parameters.weights).expanduser()
            load_weights(network, file, new_head=self.parameters.new_head)
        return network

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Split the network after the submodule that a person names."""
        network, given = self.filled(image, outputs), self.parameters
        answers = self._answers(network, image, outputs)
        at = given.at or _usual(network, image)
        client, server, head = cut_network(network, image, at, given.until, carry=given.carry)
        if answers == 1 and outputs == 2:
            if head is None:
                server = nn.Sequential(server, TwoLogits())
            else:
                head = _Finished(head)
        return SplitModel(nn.Sequential(self.preprocessing(image), client), server, head)

    def _answers(self, network: nn.Module, image: Shape, outputs: int) -> int:
        """Return how many values the network answers with.

        Raises:
            UsageError: the network does not take such images, or gives something else.
            NotApplicable: it is for another number of classes.
        """
        made = evaluated(network, image, network, 2)
        if not isinstance(made, Tensor):
            raise UsageError(
                f"the model gives {type(made).__name__}; wrap it in a module whose forward() "
                "returns one tensor of logits"
            )
        if self.parameters.task == "segmentation":
            if tuple(made.shape) != (2, 1, *image[1:]):
                raise NotApplicable(
                    f"the model gives {_said(made)} for images of {image}; masks are 1 x height x "
                    "width of the image"
                )
            return 1
        answers = 1 if made.dim() == 1 else made.shape[-1]
        if made.dim() > 2 or (answers != outputs and (answers, outputs) != (1, 2)):
            raise NotApplicable(
                f"the model answers with {_said(made)} per image, and the images have {outputs} "
                f"classes; expected {outputs} logits, or one for two classes"
            )
        return answers


class TwoLogits(nn.Module):
    """Gives two logits of which the first is 0 for a network that has one, for two classes.

    The cross-entropy of these equals the binary cross-entropy of the one.

    Examples:
        >>> import torch
        >>> TwoLogits()(torch.tensor([[1.5], [-2.0]]))
        tensor([[ 0.0000,  1.5000],
                [ 0.0000, -2.0000]])
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits (N, 1) or (N,) to (N, 2)."""
        one = logits.reshape(-1, 1)
        return torch.cat([torch.zeros_like(one), one], 1)


class _Finished(nn.Module):
    """A client's head with one logit for two classes."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.two = TwoLogits()

    def forward(self, features: Tensor, *skips: Tensor) -> Tensor:
        """Map features and skips to two logits."""
        two: Tensor = self.two(self.head(features, *skips))
        return two


def _said(made: Tensor) -> str:
    shape = "x".join(map(str, made.shape[1:])) or "1"
    return f"{shape} values"


def _usual(network: nn.Module, image: Shape) -> str:
    """Return a cut at a quarter of those that are possible."""
    names = list(cut_points(network, image))
    if not names:
        raise UsageError(f"{type(network).__name__} has no submodule after which it can be cut")
    return names[len(names) // 4]


def builds_network(found: object) -> bool:
    """Return whether something that a file defines may build a network: a function or a module."""
    if inspect.isclass(found):
        return issubclass(found, nn.Module)
    return inspect.isfunction(found)


def target_of(make: Callable[..., nn.Module], module: str) -> type[WholeModel[Any]]:
    """Return a target's class for a function, or a class, that builds a network.

    Args:
        make: is called with the number of outputs if it has a parameter such as ``num_classes``,
            else without arguments.
        module: name of the module that it is in.
    """
    name = make.__name__

    def network(self: WholeModel[Any], image: Shape, outputs: int) -> nn.Module:
        with blaming(f"model {name!r}", f"{name}()"):
            taken = _taken(make)
            given = {taken: outputs} if taken else {}
            built: nn.Module = make(**given)
            _refuse_filled(name, built, partial(make, **given))
        return built

    body = {"network": network, "__module__": module, "__qualname__": name, "__doc__": make.__doc__}
    return type(name, (WholeModel,), body)


def _refuse_filled(name: str, built: nn.Module, again: Callable[[], nn.Module]) -> None:
    """Raise an error if a function gives its networks mostly the same weights each time.

    Raises:
        UsageError: it does; an attacker's copy of the model would have trained weights.
    """
    with torch.random.fork_rng(devices=[]):
        other = again()
    pairs = [
        (one, same)
        for one, same in zip(built.parameters(), other.parameters(), strict=True)
        if one.dim() > 1  # others are mostly set to constants
    ]
    equal = sum(one.numel() for one, same in pairs if torch.equal(one, same))
    if 2 * equal > sum(one.numel() for one, _ in pairs):
        raise UsageError(
            f"{name}() fills the network with weights, which an attacker's copy of it would have, "
            "too; let it return an untrained network, and name the file of the weights as weights "
            "(splitsec audit --weights)"
        )


def _taken(make: Callable[..., nn.Module]) -> str | None:
    """Return the name under which a function takes the number of outputs, or None.

    Raises:
        PluginError: it needs other arguments.
    """
    parameters = inspect.signature(make).parameters
    taken = next((one for one in _CLASSES if one in parameters), None)
    needed = [
        one.name
        for one in parameters.values()
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and one.name != taken
    ]
    if needed:
        raise PluginError(
            f"{make.__name__}() needs {', '.join(needed)}; name a function that needs no more than "
            f"the number of classes (as {_CLASSES[0]})"
        )
    return taken
