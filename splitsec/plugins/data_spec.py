"""Which images a cell uses; reading this needs no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class DataSpec(BaseModel):
    """Everything that decides the images of a cell and their parts.

    Attributes:
        name: plain name of the source, see ``splitsec list data``.
        plugin: path or installed name that the source was asked for by, such as
            ``./my_data.py``; None for a built-in one.
        parameters: all parameters of the source, with their values.
        size: height and width of the images, pixels.
        channels: 1 (grey) or 3 (RGB).
        partition: seed of the partition; independent of any cell's seed.
        partition_commitment: hash of the secret that the partition is derived from, if any; see
            :mod:`splitsec.data.secret`.
        private: number of images of all clients together.
        public: number of images of the attacker.
        validation: number of images that choose between attackers who see nothing.
        held_out: number of images that train nothing.
        clients: number of clients.
        public_from: ``"same"`` population as the private images, or a ``"shifted"`` one.

    Examples:
        >>> spec = DataSpec(name="retinamnist", size=28, private=300)
        >>> spec.private, spec.public, spec.validation, spec.held_out, spec.total
        (300, 500, 100, 200, 1100)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "phantom-fundus"
    plugin: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    size: int = Field(default=32, ge=8)
    channels: Literal[1, 3] = 3
    partition: int = Field(default=0, ge=0)
    partition_commitment: str | None = None
    private: int = Field(default=500, ge=2)
    public: int = Field(default=500, ge=0)
    validation: int = Field(default=100, ge=1)
    held_out: int = Field(default=200, ge=2)
    clients: int = Field(default=1, ge=1)
    public_from: Literal["same", "shifted"] = "same"

    @property
    def source(self) -> str:
        """The name or path by which the source is loaded."""
        return self.plugin or self.name

    @property
    def total(self) -> int:
        """Number of images in all parts together."""
        return self.private + self.public + self.validation + self.held_out
