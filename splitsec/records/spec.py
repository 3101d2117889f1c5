"""The specification of one cell: everything that was asked, with every parameter resolved."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from splitsec.training.settings import Training
from splitsec.versioned import VersionedModel


class CellSpec(VersionedModel):
    """Everything that was asked of one cell, with every parameter resolved.

    Attributes:
        target: plain name of the target.
        cut: index of the client's last layer.
        data: name of the data set.
        size: height and width of the images, pixels.
        channels: 1 or 3.
        clients: number of clients.
        attack: plain name of the attack.
        defense: plain name of the defense.
        profile: the profile that gave the defaults.
        seed: seed of the initial weights, the batch order, the attack and the defense.
        partition: seed of the data's partition.
        partition_commitment: hash of the secret that the partition is derived from, if any; see
            :mod:`splitsec.data.secret`.
        public_from: population of the attacker's images: the private images' or a shifted one.
        private: number of images of all clients together.
        public: number of images of the attacker.
        validation: number of images that choose between attackers who see nothing.
        held_out: number of images that train nothing.
        victims: number of private images whose traffic is attacked and scored.
        threads: CPU threads.
        training: the clients' settings.
        parameters: from target, data, attack and defense to all their parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[tuple[str, ...]] = ("partition_commitment",)

    target: str
    cut: int
    data: str
    size: int = Field(ge=1)
    channels: Literal[1, 3] = 3
    clients: int = Field(default=1, ge=1)
    attack: str
    defense: str
    profile: str
    seed: int = Field(ge=0)
    partition: int = Field(default=0, ge=0)
    partition_commitment: str | None = None
    public_from: Literal["same", "shifted"] = "same"
    private: int = Field(ge=2)
    public: int = Field(ge=0)
    validation: int = Field(ge=1)
    held_out: int = Field(ge=2)
    victims: int = Field(ge=1)
    threads: int = Field(ge=1)
    training: Training
    parameters: dict[str, dict[str, Any]]

    def title(self) -> str:
        """Return a short name that a person recognises the cell by."""
        return (
            f"{self.attack} against {self.defense} on {self.target} cut {self.cut}, "
            f"{self.data} {self.size} px, seed {self.seed}"
        )

    def brief(self) -> str:
        """Return a shorter name, for where several cells of a grid are shown side by side."""
        return f"{self.attack} against {self.defense}, cut {self.cut}, seed {self.seed}"
