"""Whether an attack's training had converged when it ended."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitsec.errors import PluginError

_STILL_IMPROVES = 0.05
_MOST = 20  # entries of one attack
_WINDOW = 0.05  # of a noisy curve, over which it is averaged


class Convergence(BaseModel):
    """An attack's own error half way through its training and at the end.

    Attributes:
        measured_on: what the error was measured on, such as ``"kept pairs"``.
        half: the error at half of the training's length, 0 or more.
        full: the error at its end, in the same unit.

    Examples:
        >>> Convergence(measured_on="kept pairs", half=0.20, full=0.195).reached
        True
        >>> Convergence(measured_on="kept pairs", half=0.20, full=0.15).reached
        False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured_on: str = Field(min_length=1, max_length=100)
    half: float = Field(ge=0, allow_inf_nan=False)
    full: float = Field(ge=0, allow_inf_nan=False)

    @property
    def reached(self) -> bool:
        """Whether the second half made the error smaller by 5 % at most."""
        return self.full >= (1 - _STILL_IMPROVES) * self.half

    @classmethod
    def of_best(cls, measured_on: str, curve: Sequence[float]) -> Convergence:
        """Compare the best errors so far, for an attack that keeps what was best.

        Args:
            measured_on: see above.
            curve: an error per step, of one step or more.

        Examples:
            >>> Convergence.of_best("kept pairs", [0.9, 0.5, 0.4, 0.45])
            Convergence(measured_on='kept pairs', half=0.5, full=0.4)
        """
        return cls(measured_on=measured_on, half=min(curve[: _half(curve)]), full=min(curve))

    @classmethod
    def of_last(cls, measured_on: str, curve: Sequence[float]) -> Convergence:
        """Compare means of the last errors, for an attack that keeps what was last.

        Args:
            measured_on: see above.
            curve: an error per step, of one step or more; it may be noisy.

        Examples:
            >>> Convergence.of_last("public images", [0.9, 0.5, 0.4, 0.45])
            Convergence(measured_on='public images', half=0.5, full=0.45)
        """
        window = max(1, round(_WINDOW * len(curve)))
        ends = (curve[: _half(curve)], curve)
        half, full = (sum(one[-window:]) / len(one[-window:]) for one in ends)
        return cls(measured_on=measured_on, half=half, full=full)


def read_convergence(content: object, who: str) -> list[Convergence]:
    """Return what an attack in a process of its own reported, checked.

    Args:
        content: JSON values.
        who: names the attack in errors.

    Raises:
        PluginError: it is no list of such errors, or too long to be shown.
    """
    if not isinstance(content, list) or len(content) > _MOST:
        raise PluginError(f"{who} returned no list of at most {_MOST} from convergence()")
    try:
        found = [Convergence.model_validate(one) for one in content]
    except ValidationError:
        raise PluginError(f"{who} returned no Convergence from convergence()") from None
    if not all(one.measured_on.isprintable() for one in found):
        raise PluginError(f"{who} measured on something that cannot be printed")
    return found


def _half(curve: Sequence[float]) -> int:
    return max(1, len(curve) // 2)
