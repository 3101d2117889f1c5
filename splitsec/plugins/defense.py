"""Defenses: what a client changes in its training so that its smashed data reveal less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from splitsec.devices import CPU, Device
from splitsec.errors import blaming
from splitsec.plugins.guarantee import Guarantee
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Loss, SplitModel
from splitsec.randomness import globally_seeded
from splitsec.shapes import Shape, SmashedShape

P = TypeVar("P", bound=Parameters)


class Strength(NamedTuple):
    """The parameter that makes a defense weak or strong.

    Attributes:
        parameter: its name.
        values: from weak to strong, spread over the whole range that is of use.
    """

    parameter: str
    values: tuple[float, ...]

    @property
    def texts(self) -> list[str]:
        """The values as a person writes them."""
        return [f"{value:g}" for value in self.values]


class Untrained:
    """The whole model as it is before training, for a defense that trains one by itself.

    Args:
        split: makes the split model; it draws from torch's global generator.
        loss: the task's loss of outputs and targets.
        device: where models are put.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from splitsec.plugins.defense import Untrained
        >>> from splitsec.plugins.target import SplitModel
        >>> def split():
        ...     server = nn.Sequential(nn.Flatten(), nn.Linear(8 * 6 * 6, 2))
        ...     return SplitModel(nn.Conv2d(3, 8, 3), server)
        >>> model = Untrained(split, nn.functional.cross_entropy).model(seed=0)
        >>> model.server(model.client(torch.rand(4, 3, 8, 8))).shape
        torch.Size([4, 2])
    """

    part_of_no_state: ClassVar[bool] = True

    def __init__(self, split: Callable[[], SplitModel], loss: Loss, device: Device = CPU) -> None:
        self.loss = loss
        self._split, self._device = split, device

    def model(self, seed: int) -> SplitModel:
        """Return a split model of its own, with the initial weights of a seed."""
        with globally_seeded(seed):
            model = self._split()
        return self._device.put(model)


class Defense(Generic[P]):
    """Base class of defenses: override the hooks that you need; the others do nothing.

    The hooks run on the client, in this order for each batch: ``release`` changes what is sent,
    ``send_labels`` the labels that go with it, ``receive`` sees the server's answer, ``penalty``
    adds a loss of the client's own. Before the first batch of an epoch ``begin_epoch`` is called. A
    defense that is not built in runs in the clients' process, which holds their images and labels
    and nothing else.

    Every client has its own defense object. After the session the framework calls ``release``
    for the victims' smashed data and for the utility, so it must behave there as in training.

    Attributes:
        Parameters: the parameter class.
        parameters: this defense's parameters.
        profiles: parameter defaults that differ under a profile.
        strength: what ``--sweep defense.NAME`` varies, so that the defense is judged as a curve;
            None for one that has no strength.
        device: where images and smashed data are; a network that the defense builds is put there.
            It is set before ``begin``.
        epochs: how many epochs an honest session has; it is set before ``begin``.
        trains: whether the clients train, or use a model as it is; it is set before ``begin``.
        untrained: the whole model before training, for a defense that trains one of its own; it
            is set before ``begin`` in a session, and None elsewhere.
        randomised: whether ``release`` draws random numbers; records carry a flag then.
        fakes_labels: whether ``send_labels`` sends others; a defense that is not built in and runs
            in the clients' process may not.
        separate: whether it refuses a client that mixes the images of a batch, as batch
            normalisation does.

    Examples:
        >>> import torch
        >>> from splitsec import Parameters
        >>> class Clip(Defense[Parameters]):
        ...     def release(self, images, smashed):
        ...         return smashed.clamp(-1, 1)
        ...     def penalty(self, images, smashed, labels):
        ...         return 0.1 * smashed.square().mean()
        >>> clip = Clip(Parameters())
        >>> images, smashed = torch.rand(2, 3, 8, 8), torch.full((2, 16, 4, 4), 3.0)
        >>> clip.release(images, smashed).max(), clip.penalty(images, smashed, None)
        (tensor(1.), tensor(0.9000))
        >>> labels = torch.tensor([0, 1])
        >>> clip.receive(smashed, 0, labels) is smashed  # not overridden: it changes nothing
        True
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    strength: ClassVar[Strength | None] = None
    randomised: ClassVar[bool] = False
    separate: ClassVar[bool] = False
    fakes_labels: ClassVar[bool] = False
    device: Device = CPU
    epochs: int = 1
    trains: bool = True
    untrained: Untrained | None = None

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @property
    def task_weight(self) -> float:
        """Factor on the gradients of the task's loss that reach the client; 1 by default."""
        return 1.0

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Networks in ``release`` that the client's optimizer trains with its encoder; none here.

        They exist once ``begin`` has returned. A network that the defense trains by itself, such
        as one that plays the attacker, is not among them.
        """
        return ()

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Prepare for one session.

        Args:
            image: shape of one image.
            smashed: shape of one image's smashed data: a map, tokens or a vector.
            generator: the only source of random numbers that the defense may use, on the CPU;
                :func:`splitsec.devices.beside` copies a draw. Constructors of modules may also
                draw from torch's global generator.
        """

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return what is sent in place of the smashed data.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            smashed: the client's output, attached to its graph: maps (N, c, h, w), token
                sequences (N, T, D) or vectors (N, D).

        Returns:
            A tensor of the shape of ``smashed``, through which gradients flow to it.
        """
        return smashed

    def send_labels(self, labels: Tensor, step: int) -> Tensor:
        """Return the labels to send; it is called where clients share theirs.

        Args:
            labels: of the batch, shape (N,), or masks (N, 1, H, W).
            step: index of the exchange, from 0.

        Returns:
            Labels of the same shape and type, of the same classes.
        """
        return labels

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch: once through the client's images.

        Args:
            epoch: its index, from 0.

        Raises:
            SessionEnded: the client sends its images no more.
        """

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor | None:
        """Return a loss of the defense's own, or None.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            smashed: the client's output before ``release``, attached to its graph.
            labels: shape (N,), or masks (N, 1, H, W); a client always has them. None where an
                attacker trains a copy of the defense on images without labels.

        Returns:
            A scalar, already weighted, that the client minimises together with the task's
            loss, or None.
        """
        return None

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Return the gradient to use in place of the one that the server sent.

        Args:
            gradient: of the shape of the released smashed data.
            step: index of the exchange, from 0.
            labels: of the batch, shape (N,), or masks (N, 1, H, W).

        Returns:
            A gradient of the same shape.

        Raises:
            SessionEnded: the defense has detected an attack and ends the session.
        """
        return gradient

    def guarantee(self) -> Guarantee | None:
        """Return what is proven of what is sent; None for no bound, as of most defenses.

        It is asked of built-in defenses only: a stranger's word is no proof.
        """
        return None


class Epochs:
    """Tells a defense when an epoch begins, by counting the images that whoever trains has seen.

    Args:
        images: number of images in an epoch.

    Examples:
        >>> from splitsec import Defense, Parameters
        >>> from splitsec.plugins.defense import Epochs
        >>> class Told(Defense[Parameters]):
        ...     def begin_epoch(self, epoch):
        ...         print("epoch", epoch)
        >>> epochs, defense = Epochs(images=5), Told(Parameters())
        >>> for batch in (2, 3, 2):
        ...     epochs.before(defense, batch)
        epoch 0
        epoch 1
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._seen = 0
        self._begun = 0

    def before(self, defense: Defense[Any], batch: int) -> None:
        """Count a batch of images that comes next, and tell the defense if an epoch begins."""
        begins = self._seen == 0
        self._begun += begins
        self._seen += batch
        if self._images - self._seen < 2:  # a batch of one image is never sent
            self._seen = 0
        if begins:
            defense.begin_epoch(self._begun - 1)


class DefenseStart(NamedTuple):
    """What a defense begins with, beside its parameters.

    Attributes:
        generator: seed of the generator that it is given.
        networks: seed of torch's global generator while it begins.
        epochs: number of epochs in an honest session.
        trains: whether the clients train.
    """

    generator: int
    networks: int
    epochs: int = 1
    trains: bool = True


def begin_defense(
    label: str,
    make: Callable[[], Defense[Any]],
    image: Shape,
    smashed: SmashedShape,
    start: DefenseStart,
    device: Device,
    untrained: Untrained,
) -> tuple[Defense[Any], torch.Generator]:
    """Return a defense that has begun, and its generator.

    Args:
        label: names it in errors.
        make: makes the defense.
        image: shape of one image.
        smashed: shape of one image's smashed data.
        start: what it begins with.
        device: where images and smashed data are.
        untrained: the whole model before training.

    Raises:
        PluginError: it raised.
    """
    generator = torch.Generator().manual_seed(start.generator)
    with blaming(label, "begin()"), globally_seeded(start.networks):
        defense = make()
        defense.device, defense.epochs, defense.trains = device, start.epochs, start.trains
        defense.untrained = untrained
        defense.begin(image, smashed, generator)
    return defense, generator
