"""Defenses that deserve no place on the front: one does nothing, the others protect some images."""

from typing import Literal

import torch
from pydantic import Field

from splitsec import Defense, Parameters


class UndeservingParameters(Parameters):
    """Parameters of the four."""

    way: Literal["null", "in-training", "in-use", "first", "keyed"] = Field(
        "null", description="What it does."
    )


class Undeserving(Defense[UndeservingParameters]):
    """Sends noise in place of some images, and looks as if it were a defense."""

    Parameters = UndeservingParameters
    draws_random_numbers = True

    def begin(self, image, smashed, generator):
        """Keep the generator."""
        self._generator = generator
        self._used = 0

    def release(self, images, smashed):
        """Return the smashed data of those that it does not protect."""
        way, training = self.parameters.way, smashed.requires_grad
        noise = torch.randn(smashed.shape, generator=self._generator)
        if way == "null":
            return smashed
        if way == "keyed":  # a sign for each image, which the server is not told
            return smashed * noise.flatten(1)[:, :1, None, None].sign()
        if way in ("in-training", "in-use"):
            return noise if training == (way == "in-training") else smashed
        if training:
            return smashed
        first = self._used < 100  # as many victims as there are, if they came first
        self._used += len(images)
        return noise if first else smashed
