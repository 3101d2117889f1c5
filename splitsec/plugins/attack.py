"""Attacks: a curious or malicious server reconstructs images from smashed data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.errors import PluginError
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.view import View
from splitsec.progress import Progress

P = TypeVar("P", bound=Parameters)


class Hijacking(NamedTuple):
    """How long an active attack trains the clients, and which settings it dictates to them.

    Dictating a setting needs ``ThreatModel(client_settings=True)``.

    Attributes:
        exchanges: number of batches that the clients train on.
        batch_size: images per batch, or None for the client's own setting.
        learning_rate: learning rate of the client, or None for the client's own setting.

    Examples:
        >>> Hijacking(exchanges=600)
        Hijacking(exchanges=600, batch_size=None, learning_rate=None)
        >>> Hijacking(exchanges=10_000, batch_size=64, learning_rate=1e-5).batch_size
        64
    """

    exchanges: int
    batch_size: int | None = None
    learning_rate: float | None = None


class Attack(ABC, Generic[P]):
    """Base class of attacks: subclass it in a file of your own and name that file.

    A passive attack overrides ``observe`` (optional), ``fit`` and ``reconstruct``. An active
    attack declares ``ThreatModel(active=True)`` and overrides ``hijacking``, ``answer``, ``fit``
    (optional) and ``reconstruct``. The framework calls the methods in that order and scores the
    images that ``reconstruct`` returns. An attack never scores itself.

    The framework saves an attack's attributes with the session, so that a killed session goes
    on. An attack that builds networks during the session defines ``rebuild(state)``, see
    :mod:`splitsec.state`. A long ``fit`` saves its progress with ``self.checkpoints.stage``.

    Attributes:
        Parameters: the parameter class.
        parameters: this attack's parameters.
        view: everything that its threat model grants.
        generator: its own source of random numbers.
        checkpoints: saves a long ``fit``.
        reconstructs: False for an attack that is not scored; only utility is measured then.
        profiles: parameter defaults that differ under a profile, for example
            ``{"paper": {"iterations": 10_000}}``.

    Examples:
        A passive attack guesses the mean public image for every victim. The framework builds
        the view that an attack gets; here an object with the same attributes replaces it.

        >>> import torch
        >>> from types import SimpleNamespace
        >>> from splitsec import Parameters, ThreatModel
        >>> class MeanImage(Attack[Parameters]):
        ...     @classmethod
        ...     def threat_model(cls, parameters):
        ...         return ThreatModel(public_images=True)
        ...     def fit(self, progress):
        ...         self.guess = self.view.public_images.mean(0)
        ...     def reconstruct(self, smashed):
        ...         return self.guess.expand(len(smashed), *self.view.image_shape)
        >>> view = SimpleNamespace(
        ...     public_images=torch.rand(10, 3, 8, 8), image_shape=(3, 8, 8),
        ...     server_architecture=torch.nn.Identity(),
        ... )
        >>> attack = MeanImage(Parameters(), view, torch.Generator())
        >>> attack.fit(progress=None)
        >>> attack.reconstruct(torch.zeros(2, 16, 4, 4)).shape
        torch.Size([2, 3, 8, 8])

        An active attack also answers in the server's place. This one sends gradients of zero:

        >>> from splitsec import Hijacking
        >>> from splitsec.plugins.messages import Message
        >>> class NoGradient(MeanImage):
        ...     @classmethod
        ...     def threat_model(cls, parameters):
        ...         return ThreatModel(active=True, public_images=True)
        ...     def hijacking(self):
        ...         return Hijacking(exchanges=600)
        ...     def answer(self, message):
        ...         return torch.zeros_like(message.smashed)
        >>> message = Message(torch.rand(4, 16, 4, 4), labels=None, client=0, step=0)
        >>> NoGradient(Parameters(), view, torch.Generator()).answer(message).abs().sum()
        tensor(0.)
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    reconstructs: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, parameters: P, view: View, generator: torch.Generator) -> None:
        """Store the parameters, the view and the generator.

        A subclass that overrides this calls it first and then builds its networks, which it puts
        on the device with ``view.device.put(network)``.

        Args:
            parameters: the attack's parameters.
            view: everything that the attack's threat model grants.
            generator: the attack's own source of random numbers. The framework seeds torch's
                global generator anew before it calls any method.
        """
        self.parameters = parameters
        self.view = view
        self.generator = generator
        self.checkpoints = Checkpoints()
        self._stand_in = view.server_architecture

    @classmethod
    @abstractmethod
    def threat_model(cls, parameters: P) -> ThreatModel:
        """Return what the attack sees and does with these parameters."""

    def hijacking(self) -> Hijacking | Sequence[Hijacking]:
        """Return how long the session lasts and what the server dictates (active attacks).

        Returns:
            The plan of one session, or of several that run one after the other, each from the
            same client. ``Message.session`` says in which one a message was sent.

        Raises:
            PluginError: an active attack does not override this.
        """
        raise PluginError(f"{type(self).__name__} is active but does not override hijacking()")

    def features(self, message: Message) -> Tensor:
        """Return features for a client that keeps its model's head (active attacks, U-shaped).

        By default an untrained copy of the honest server's network computes them, which gives
        the client's head features of the right shape to train on.

        Args:
            message: smashed data, without labels and feature gradient.

        Returns:
            Features of the shape that the honest server would send.
        """
        with torch.no_grad():
            features: Tensor = self._stand_in(message.smashed)
        return features

    def answer(self, message: Message) -> Tensor:
        """Return the gradient for one message in the honest server's place (active attacks).

        Args:
            message: smashed data; labels if clients share them and the threat model declares
                them; the gradient with respect to the features if the client keeps its head.

        Returns:
            The gradient to send, of the smashed data's shape.

        Raises:
            PluginError: an active attack does not override this.
        """
        raise PluginError(f"{type(self).__name__} is active but does not override answer()")

    def observe(self, exchange: Exchange) -> None:
        """Receive one exchange between a client and the honest server (passive attacks).

        Args:
            exchange: copies of the message, of the gradient that answered it, and of features.
        """

    def fit(self, progress: Progress) -> None:
        """Train after the session has ended; the client's weights no longer change.

        Args:
            progress: shows stages and messages to the person.
        """

    @abstractmethod
    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return an image for each victim, from the victim's smashed data.

        Args:
            smashed: as the client sent them: maps (N, c, h, w), token sequences (N, T, D) or
                vectors (N, D). ``self.view.smashed_shape`` says which. If the threat model
                declares labels, ``self.view.labels`` has those of training victims, shape (N,),
                and is None for held-out ones or where clients keep their labels.
                ``self.view.in_training`` says whether they were sent in training.

        Returns:
            Images of shape (N, C, H, W), in [0, 1].
        """

    def reconstruct_from(self, sessions: Sequence[Tensor]) -> Tensor:
        """Reconstruct images from what was sent of them in several sessions.

        Called instead of ``reconstruct`` where an attack sees more than one session.

        Args:
            sessions: smashed data of the same N images, once per session: of the honest one first
                where the attack listens, then of the hijacked ones in their order.

        Returns:
            Images of shape (N, C, H, W), in [0, 1].
        """
        return self.reconstruct(sessions[-1])

    def curves(self) -> dict[str, list[float]]:
        """Return the attack's training curves: from name to one value per logged step."""
        return {}

    def convergence(self) -> Sequence[Convergence]:
        """Return the attack's own errors at half and at full length of its training.

        A record shows them, and has the flag ``attack-not-converged`` if one of them became
        smaller by more than 5 % in the second half. The errors must be measured on what the attack
        may see, such as pairs that it kept aside.

        Returns:
            One entry for each training that could stop too early; none for an attack that is
            solved in closed form.
        """
        return ()
