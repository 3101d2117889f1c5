"""The door: all smashed data that leave a client pass here, encoded and released by its defense.

:mod:`.wire` carries them on to the server.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from splitsec.devices import CPU, Device, Precision, computing, in_batches
from splitsec.errors import PluginError, blaming
from splitsec.plugins.defense import Defense
from splitsec.plugins.messages import kind_of
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Encoding, encode

AT_ONCE = 64
"""Images in evaluation mode."""


@dataclass
class Sender:
    """The encoder and the defense between a client's images and the wire.

    Attributes:
        encoder: the client's encoder.
        defense: the client's defense.
        generator: the defense's generator.
        client: index of the client, from 0.
        names: names of the target and of the defense, for errors.
        device: where the encoder is; images are put there.
        precision: in which it computes; what is sent is float32.
    """

    encoder: nn.Module
    defense: Defense[Parameters]
    generator: torch.Generator = field(default_factory=torch.Generator)
    client: int = 0
    names: tuple[str, str] = ("the target", "the defense")
    device: Device = CPU
    precision: Precision = "float32"

    def copied_defense(self) -> Defense[Parameters]:
        """Return a copy of the defense that draws from the same generator."""
        return copy.deepcopy(self.defense, {id(self.generator): self.generator})

    def send(self, images: Tensor) -> tuple[Encoding, Tensor]:
        """Encode images of shape (N, C, H, W) and release their smashed data.

        Returns:
            The encoder's output, and the released smashed data, still attached to its graph.

        Raises:
            PluginError: the target or the defense broke its contract.
        """
        target, defense = self.names
        with blaming(target, "the client's forward()"), computing(self.precision, images):
            encoded = encode(self.encoder, images)
        if self.precision != "float32":
            encoded = Encoding(encoded.smashed.float(), tuple(one.float() for one in encoded.skips))
        with blaming(defense, "release()"):
            released = self.defense.release(images, encoded.smashed)
        check_shape(released, encoded.smashed, f"{defense} in release()")
        return encoded, released

    def in_use(self, seed: int) -> Use:
        """Return one use of the client with its encoder in evaluation mode.

        Args:
            seed: decides what a randomised defense draws. Neither the session's own draws nor the
                state of the defense change.
        """
        return Use(self, seed)

    def release(self, images: Tensor, seed: int) -> Tensor:
        """Return released smashed data, in evaluation mode.

        Args:
            images: shape (N, C, H, W), in [0, 1], on any device.
            seed: as for :meth:`in_use`.
        """
        use = self.in_use(seed)
        return torch.cat(in_batches(lambda batch: use.send(batch).smashed, images, AT_ONCE))


class Use:
    """One use of a client outside of training: it releases one batch after the other.

    Args:
        sender: the client's encoder and defense.
        seed: decides what a randomised defense draws.
    """

    def __init__(self, sender: Sender, seed: int) -> None:
        self._sender = replace(sender, defense=sender.copied_defense())
        for network in self._sender.defense.networks:
            network.eval()
        # The states of the defense's generator and of torch's global one, from batch to batch.
        self._own = self._global = torch.Generator().manual_seed(seed).get_state()

    @torch.no_grad()
    def send(self, images: Tensor) -> Encoding:
        """Release a batch.

        Args:
            images: shape (N, C, H, W), in [0, 1], on any device.

        Returns:
            Released smashed data, and the skips.

        Raises:
            PluginError: the target or the defense broke its contract.
        """
        sender, generator = self._sender, self._sender.generator
        training, state = sender.encoder.training, generator.get_state()
        generator.set_state(self._own)
        sender.encoder.eval()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._global)
                encoded, released = sender.send(sender.device.put(images))
                self._global = torch.get_rng_state()
            self._own = generator.get_state()
        finally:
            sender.encoder.train(training)
            generator.set_state(state)
        return Encoding(released, encoded.skips)


def check_shape(given: object, due: Tensor, who: str) -> None:
    """Raise a PluginError unless it is a float tensor with the shape and device of ``due``."""
    if not isinstance(given, Tensor) or given.shape != due.shape or not given.is_floating_point():
        shape = tuple(due.shape)
        raise PluginError(f"{who} gave {kind_of(given)}; expected a float tensor of shape {shape}")
    if given.device != due.device:
        raise PluginError(
            f"{who} gave a tensor on {given.device}, but its input is on {due.device}; make new "
            "tensors on the device of the input"
        )
