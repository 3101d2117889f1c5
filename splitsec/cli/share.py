"""The type of options that are shares."""

from __future__ import annotations

import math
from typing import Any

import click


class Share(click.FloatRange):
    """A number from 0 to 1; unlike click's own range, not NaN.

    Args:
        positive: whether 0 is refused.
    """

    def __init__(self, *, positive: bool = False) -> None:
        super().__init__(0, 1, min_open=positive)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or refuse it with a sentence."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number
