"""Compares an attacker's copy of a stranger's defense with a client's.

A defense could behave in one way as a client's and in another in the attacker's process, so that an
attack learns from a copy that is none. When an attack takes its copy, and again after its ``fit``,
another one with the same seeds releases images there, and the same one in a client's process; both
must release the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from splitsec.errors import PluginError, SplitsecError, blaming
from splitsec.isolation.host import Answer
from splitsec.isolation.protocol import MalformedError
from splitsec.plugins.defense import Defense, DefenseStart
from splitsec.randomness import globally_seeded

ASKED, RELEASED = "images for the copy", "released by the copy"
"""Requests of an attack's process."""

_CLOSE = 1e-5  # absolute and relative


class Expected(NamedTuple):
    """What a copy releases in a client's process.

    Attributes:
        images: shape (N, C, H, W), in [0, 1].
        smashed: their smashed data before the release.
        released: their smashed data after it.
        seed: seed of the copy's draws.
    """

    images: Tensor
    smashed: Tensor
    released: Tensor
    seed: int


class DefenseCopy(NamedTuple):
    """The copy of a defense that an isolated attack is granted.

    Attributes:
        start: what its process builds it from.
        expected: gives what such a copy releases as a client's; None for a built-in defense.
    """

    start: DefenseStart
    expected: Callable[[], Expected] | None = None


class CopyCheck:
    """The private side of the comparison.

    Args:
        label: names the defense in errors.
        copy: what the attack is granted.
    """

    def __init__(self, label: str, copy: DefenseCopy) -> None:
        self._label = label
        self._copy = copy
        self._asked = False
        self._compared = 0

    @cached_property
    def _expected(self) -> Expected:
        assert self._copy.expected is not None, "it is a stranger's"
        return self._copy.expected()

    def compare(self, ask: Callable[[], object]) -> None:
        """Have the copies compared, whether or not the attack's process wants to.

        Args:
            ask: asks that process to make its requests.

        Raises:
            PluginError: the copies disagree, or none was compared.
        """
        if self._copy.expected is None:
            return
        before = self._compared
        ask()
        if self._compared == before:
            raise PluginError(
                f"the copies of {self._label} disagree: the attacker's process compares none"
            )

    def answer(self, name: str, tensors: Mapping[str, Tensor]) -> Answer:
        """Answer a request.

        Raises:
            PluginError: the copies disagree.
        """
        if name == ASKED and self._copy.expected is not None:
            images, smashed, _, seed = self._expected
            self._asked = True
            return Answer(seed, {"images": images, "smashed": smashed})
        if not self._asked:
            raise MalformedError("it sent something out of turn")
        released = tensors.get("released")
        if released is None:
            raise PluginError(
                f"the copies of {self._label} disagree: in the attacker's process it raises, or "
                "releases no tensor"
            )
        check_same(self._label, released, self._expected.released, "in the attacker's process")
        self._asked, self._compared = False, self._compared + 1
        return Answer()


def check_same(label: str, copied: Tensor, sent: Tensor, where: str) -> None:
    """Raise a PluginError unless a copy of a defense released what a client's did.

    Args:
        label: names the defense.
        copied: what the copy released.
        sent: what the client's released of the same smashed data.
        where: where the copy is, in words.
    """
    same = copied.shape == sent.shape and copied.is_floating_point()
    if not same or not torch.allclose(
        copied.to(sent.dtype), sent, rtol=_CLOSE, atol=_CLOSE, equal_nan=True
    ):
        raise PluginError(
            f"the copies of {label} disagree: {where} it releases something else than as a client's"
        )


def release_of_copy(
    label: str, copy: Defense[Any], generator: torch.Generator, told: Answer
) -> Tensor | None:
    """Return what a copy in the attack's process releases of the images that it was sent.

    Args:
        label: names the defense in errors.
        copy: a copy that has just begun.
        generator: its generator.
        told: the answer to ``ASKED``.

    Returns:
        None if it raised, or released no tensor: the private side then ends the attack.
    """
    generator.manual_seed(told.content)
    released: object = None
    with (
        suppress(SplitsecError),
        torch.no_grad(),
        globally_seeded(told.content),
        blaming(label, "release()"),
    ):
        released = copy.release(told.tensors["images"], told.tensors["smashed"])
    return released if isinstance(released, Tensor) else None
