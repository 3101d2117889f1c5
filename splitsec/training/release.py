"""The door: all smashed data that leave a client pass here, encoded and released by its defense.

:mod:`.wire` carries them on to the server.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from splitsec.devices import CPU, Device
from splitsec.errors import PluginError, blaming
from splitsec.plugins.defense import Defense
from splitsec.plugins.messages import kind_of
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Encoding, encode
from splitsec.randomness import derive_seed, seeded_global_generator


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
    """

    encoder: nn.Module
    defense: Defense[Parameters]
    generator: torch.Generator = field(default_factory=torch.Generator)
    client: int = 0
    names: tuple[str, str] = ("the target", "the defense")
    device: Device = CPU

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
        with blaming(target, "the client's forward()"):
            encoded = encode(self.encoder, images)
        with blaming(defense, "release()"):
            released = self.defense.release(images, encoded.smashed)
        check_shape(released, encoded.smashed, f"{defense} in release()")
        return encoded, released

    @torch.no_grad()
    def send_in_evaluation(self, images: Tensor, purpose: str, batch_size: int = 64) -> Encoding:
        """Release images with the encoder in evaluation mode.

        The session's seed and ``purpose`` decide the defense's random numbers. The session's own
        draws and the state of the defense do not change.

        Args:
            images: shape (N, C, H, W), in [0, 1], on any device.
            purpose: use of the smashed data.
            batch_size: images at once.

        Returns:
            Released smashed data, and the skips, of the N images.
        """
        training, state = self.encoder.training, self.generator.get_state()
        draw = {"purpose": purpose, "session": self.generator.initial_seed()}
        self.generator.manual_seed(derive_seed("release", **draw))
        sender = replace(self, defense=self.copied_defense())
        self.encoder.eval()
        parts = []
        try:
            with seeded_global_generator("release", draw):
                for batch in torch.split(images, batch_size):
                    encoded, released = sender.send(self.device.put(batch))
                    parts.append((released, *encoded.skips))
        finally:
            self.encoder.train(training)
            self.generator.set_state(state)
        smashed, *skips = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return Encoding(smashed, tuple(skips))


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
