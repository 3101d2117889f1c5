"""What a deployed client sent, as another framework recorded it; nobody knows its network.

The client sends of each image what was recorded of it. So attacks that ask about other images, or
that imitate the client's architecture, do not apply; use ``splitsec audit --traffic FOLDER``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from splitsec.devices import beside, on_cpu
from splitsec.errors import NotApplicable, UsageError
from splitsec.plugins.parameters import InputPath, Parameters
from splitsec.plugins.target import SplitModel, Target
from splitsec.plugins.toolbox.recording import read_recording
from splitsec.shapes import Shape


class RecordedParameters(Parameters):
    """Parameters of recorded traffic."""

    traffic: InputPath = Field("", description="folder of the recording")


class Recorded(Target[RecordedParameters]):
    """Sends what was recorded of each image."""

    Parameters: ClassVar[type[RecordedParameters]] = RecordedParameters
    cuts: ClassVar[range] = range(1)
    default_cut: ClassVar[int] = 0
    weights_from: ClassVar[tuple[str, ...]] = ("traffic",)
    knows_server: ClassVar[bool] = False

    def preprocessing(self, image: Shape) -> nn.Module:
        """Leave images as they are."""
        return nn.Identity()

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Return a client that looks its smashed data up, and a server that nobody knows."""
        if not self.parameters.traffic:
            return SplitModel(Unknown(), Unknown())
        given = read_recording(Path(self.parameters.traffic).expanduser())
        if given.images.shape[1:] != tuple(image):
            recorded = Shape(*given.images.shape[1:])
            raise UsageError(
                f"the recorded images are {recorded}, not {image}; use --size {recorded.height} "
                f"--channels {recorded.channels}"
            )
        rows = {one.tobytes(): row for row, one in enumerate(given.images)}
        return SplitModel(Replayed(rows, given.smashed), Unknown())


class Replayed(nn.Module):
    """Gives what was recorded of an image; of a black one zeros, by which its shape is read.

    Args:
        rows: bytes of an image (C, H, W), uint8, to its row.
        smashed: (N, ...), what was sent of each.
    """

    def __init__(self, rows: dict[bytes, int], smashed: Tensor) -> None:
        super().__init__()
        self._rows, self._smashed = rows, smashed

    def forward(self, images: Tensor) -> Tensor:
        """Return the smashed data of images (N, C, H, W), in [0, 1].

        Raises:
            NotApplicable: an image was never sent.
        """
        pixels = on_cpu(255 * images).round().to(torch.uint8).numpy()
        found = [self._rows.get(one.tobytes()) for one in pixels]
        sent = []
        for row, one in zip(found, pixels, strict=True):
            if row is None and one.any():
                raise NotApplicable(
                    "the traffic was recorded, so the client cannot be asked about other images"
                )
            sent.append(torch.zeros_like(self._smashed[0]) if row is None else self._smashed[row])
        return beside(torch.stack(sent), images)


class Unknown(nn.Module):
    """A network that nobody knows."""

    def forward(self, values: Tensor) -> Tensor:
        """Raise an error.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("the traffic was recorded, so nobody knows the networks behind it")
