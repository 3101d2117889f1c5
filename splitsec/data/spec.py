"""What data a cell uses: the source, the size, and how many images play which role."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from splitsec.errors import UsageError
from splitsec.parameters import Parameters

SMALLEST_SIZE = 8


class DataSpec(Parameters):
    """One partition of one data set. It alone decides which image plays which role."""

    name: str = Field("phantom-fundus", description="data source (splitsec list data)")
    parameters: dict[str, Any] = Field({}, description="parameters of the source")
    size: int = Field(32, description="height and width in pixels")
    channels: int = Field(3, description="3 (RGB) or 1 (grey)")
    partition: int = Field(0, ge=0, description="which random partition")
    private: int = Field(description="training images of all clients together")
    public: int = Field(description="images that the attacker has")
    validation: int = Field(description="images that tune and choose trivial attackers")
    held_out: int = Field(description="images that trained nothing")
    clients: int = Field(1, description="clients that share the private images")
    public_from: Literal["same", "shifted"] = Field(
        "same", description="population of the public images"
    )

    @model_validator(mode="after")
    def _possible(self) -> DataSpec:
        if self.size < SMALLEST_SIZE:
            raise UsageError(
                f"image size {self.size} is too small; the smallest is {SMALLEST_SIZE} pixels"
            )
        if self.channels not in (1, 3):
            raise UsageError(f"channels={self.channels}: images have 1 (grey) or 3 (RGB) channels")
        for role in ("private", "public", "validation", "held_out"):
            if getattr(self, role) < 1:
                raise UsageError(
                    f"{role}={getattr(self, role)}: there must be {role.replace('_', '-')} "
                    f"images, at least 1"
                )
        if not 1 <= self.clients <= self.private:
            raise UsageError(
                f"clients={self.clients}: {self.private} private images can be shared by "
                f"1 to {self.private} clients"
            )
        return self
