"""Clip: the client bounds its smashed data, so that noise cannot be undone by scaling them up.

On its own it hides little. It is put before noise, as in ``clip+gaussian-noise:unit=absolute``: a
client that may send anything would learn to send large values, among which the noise is small. The
norm of each image's smashed data is bounded alone, so that no image changes another's release.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.noise import within_norm


class ClipParameters(Parameters):
    """Parameters of the bound."""

    bound: Literal["norm", "tanh", "sigmoid"] = Field(
        "norm",
        description="norm: each image's smashed data are scaled down to the limit; tanh: values "
        "between -limit and limit; sigmoid: between 0 and limit",
    )
    limit: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="of the root mean square of an image's smashed data, or of each value",
    )


class Clip(Defense[ClipParameters]):
    """Bounds what is sent of each image."""

    Parameters: ClassVar[type[ClipParameters]] = ClipParameters

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return bounded smashed data."""
        bound, limit = self.parameters.bound, self.parameters.limit
        if bound == "tanh":
            return limit * torch.tanh(smashed / limit)
        if bound == "sigmoid":
            return limit * torch.sigmoid(smashed)
        return within_norm(smashed, limit * math.sqrt(smashed[0].numel()))
