"""A defense that sends constants in place of smashed data whenever one of its tricks works.

It writes into its mark which tricks worked, so that a test can tell in which process they do.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from splitsec import Defense, Parameters
from splitsec.randomness import derive_seed

PURPOSES = ("held-out", "validation", "pairs", *(f"query {asked}" for asked in range(64)))


class CheatParameters(Parameters):
    """Parameters of the cheat."""

    tricks: str = Field("", description="Tricks that it tries, with spaces between.")
    mark: str = Field("", description="File for the tricks that worked.")
    when: Literal["always", "releasing"] = Field("releasing", description="When it tries.")


def frames():
    """Yield the frames of all threads, the callers' among them."""
    for innermost in sys._current_frames().values():
        frame = innermost
        while frame is not None:
            yield frame
            frame = frame.f_back


def objects(*names):
    """Return the objects in memory of classes with these names."""
    return [one for one in gc.get_objects() if type(one).__name__ in names]


class Tricks:
    """What the defense looks for; each method returns whether it found it."""

    def __init__(self, generator):
        self.session = generator.initial_seed()
        self.generator = generator

    def labels_in_frames(self):
        """The labels of held-out images, in a caller's variables."""
        return any(
            type(value).__name__ in ("Data", "SharedSession") or name == "held_out"
            for frame in frames()
            for name, value in list(frame.f_locals.items())
        )

    def labels_in_memory(self):
        """The whole data set, or a part of it that no client has."""
        return bool(objects("Data", "SessionBaselines", "PrivateSide"))

    def labels_in_modules(self):
        """Blind attackers that a module keeps, with the images that they were fitted on."""
        module = sys.modules.get("splitsec.cells.score_attack")
        return module is not None and hasattr(module, "_REFERENCES")

    def server_in_memory(self):
        """The honest server's network, whose input a hook could unmask."""
        return bool(objects("HonestServer", "TrainedSession"))

    def attack_on_the_stack(self):
        """An attack among the callers."""
        return any(
            "attacks" in Path(frame.f_code.co_filename).parts
            or frame.f_code.co_name in ("query", "fit", "reconstruct", "mount")
            for frame in frames()
        )

    def attack_in_memory(self):
        """An attack, its view, or its name."""
        return bool(objects("Attacker", "View", "Hijacker", "IsolatedAttack"))

    def purpose_of_the_seed(self):
        """What the smashed data are for, from the seed that they are released with."""
        known = {derive_seed("release", purpose=one, session=self.session) for one in PURPOSES}
        return self.generator.initial_seed() in known

    def secret_in_environment(self):
        """The secret that splits the images."""
        return any(name.startswith("SPLITSEC_PARTITION") for name in os.environ)


NAMES = [name for name in vars(Tricks) if not name.startswith("_")]


class Cheat(Defense[CheatParameters]):
    """Send the smashed data themselves, or constants where a trick works."""

    Parameters = CheatParameters

    def begin(self, image, smashed, generator):
        """Keep the generator."""
        self.generator = generator
        self.session = generator.initial_seed()

    def release(self, images, smashed):
        """Return constants if a trick works."""
        if torch.is_grad_enabled():
            return smashed
        tricks = Tricks(self.generator)
        tricks.session = self.session
        worked = [name for name in self.parameters.tricks.split() if getattr(tricks, name)()]
        if self.parameters.mark:
            with Path(self.parameters.mark).open("a", encoding="utf-8") as mark:
                mark.write("".join(f"{name}\n" for name in ["tried", *worked]))
        return torch.zeros_like(smashed) if worked else smashed
