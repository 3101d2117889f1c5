"""A defense whose copy in an attacker's process is another one than a client's."""

import sys
from typing import Literal

import torch

from splitsec import Defense, Parameters


class PoisonedParameters(Parameters):
    """Parameters of the poison."""

    how: Literal["raises", "process", "callers", "memory", "later", "nothing"] = "nothing"


def callers():
    """Yield the files of the callers."""
    frame = sys._getframe()
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


class Poisoned(Defense[PoisonedParameters]):
    """Double what is sent, or zeros where no client is in the process."""

    Parameters = PoisonedParameters

    def release(self, images, smashed):
        """Release."""
        if not torch.is_tensor(images):
            raise TypeError("no images")
        first = not hasattr(sys, "released")  # outlives the module, which each copy has anew
        sys.released = True
        main = sys.modules["__main__"].__spec__
        found = {
            "raises": main is not None and main.name.endswith("isolation.guest"),
            "process": main is not None and main.name.endswith("isolation.guest"),
            "callers": any(file.endswith("copier.py") for file in callers()),
            "memory": "splitsec.training.client" not in sys.modules,
            "later": not first and "splitsec.training.client" not in sys.modules,
            "nothing": False,
        }[self.parameters.how]
        if found and self.parameters.how == "raises":
            raise ValueError("not for you")
        return torch.zeros_like(smashed) if found else 2 * smashed
