"""Defenses: what a client does to its training so that its smashed data tells less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape

P = TypeVar("P", bound=Parameters)


class Defense(Generic[P]):
    """A client-side defense; every hook does nothing unless overridden.

    The hooks run on the client's side of the wire, in this order, for each batch:
    ``release`` (what is sent), ``receive`` (the server's answer), ``penalty`` (the client's
    own loss). Defenses see raw images: they are reviewed, not confined.

    Every client has a defense object of its own. ``release`` is also what victims' smashed
    data and the utility are measured on, after the session: it must not behave otherwise there.

    Attributes:
        Parameters: the parameter class.
        profiles: parameter defaults that differ under a profile.
        randomised: whether ``release`` draws random numbers; records are flagged.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    randomised: ClassVar[bool] = False

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @property
    def task_weight(self) -> float:
        """Factor on every task-side gradient that reaches the client; 1 by default."""
        return 1.0

    def begin(self, image: Shape, smashed: Shape, generator: torch.Generator) -> None:
        """Prepare for one session.

        Args:
            image: shape of one image.
            smashed: shape of one image's smashed data.
            generator: the only source of random numbers the defense may use, beside torch's
                global generator while modules are constructed.
        """

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return what is sent in place of the smashed data.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            smashed: the client's output, shape (N, c, h, w), attached to its graph.

        Returns:
            A tensor of the shape of ``smashed``, through which gradients flow to it.
        """
        return smashed

    def penalty(self, images: Tensor, smashed: Tensor) -> Tensor | None:
        """Return the defense's own loss, already weighted, or None.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            smashed: the client's output before ``release``, attached to its graph.

        Returns:
            A scalar that the client minimises beside the task, or None.
        """
        return None

    def receive(self, gradient: Tensor, step: int) -> Tensor:
        """Inspect or change the gradient that the server sent.

        Args:
            gradient: shape of the released smashed data.
            step: index of the exchange, from 0.

        Returns:
            The gradient to use.

        Raises:
            SessionEnded: a detecting defense refuses to go on.
        """
        return gradient
