"""Loads the profiles, which give defaults for everything that a request leaves open."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field

from splitsec.errors import UsageError, unknown_name
from splitsec.records.spec import COUNTS
from splitsec.training.settings import Training


class Profile(BaseModel):
    """Defaults for everything that a request leaves open; see profiles.toml.

    Attributes:
        target: default target.
        data: task to its default data set.
        size: height and width of the images, pixels.
        private: number of images of all clients together.
        public: number of images of the attacker.
        validation: number of images that choose the strongest blind attacker.
        held_out: number of images that train nothing.
        victims: number of images that are attacked and scored, at most: so many of the clients'
            training images, and so many of the held-out ones.
        threads: CPU threads; they affect the numbers.
        training: the clients' settings.
        for_data: data set to its own size and counts, for sets that need others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    data: dict[str, str]
    size: int
    private: int
    public: int
    validation: int
    held_out: int
    victims: int
    threads: int
    training: Training
    for_data: dict[str, dict[str, int]] = Field(default_factory=dict)

    def images(self, data: str) -> dict[str, int]:
        """Return the size and the counts of the images of a data set."""
        usual = {name: getattr(self, name) for name in ("size", *COUNTS)}
        return usual | self.for_data.get(data, {})


@cache
def load_profiles() -> dict[str, Profile]:
    """Return all profiles by name."""
    text = resources.files("splitsec.cells").joinpath("profiles.toml").read_text(encoding="utf-8")
    return {name: Profile(**values) for name, values in tomllib.loads(text).items()}


def get_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        UsageError: no profile has that name.
    """
    known = load_profiles()
    if name not in known:
        raise UsageError(unknown_name("profile", name, known))
    return known[name]
