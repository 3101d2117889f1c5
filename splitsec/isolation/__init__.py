"""Attacks in processes of their own, which hold nothing private.

The host (:mod:`.host`) starts a guest (:mod:`.guest`) per attack and cell, and hands it what the
attack's view grants and what crosses the wire, as frames (:mod:`.protocol`). The rest of splitsec
calls an isolated attack (:mod:`.attack`) like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from splitsec.errors import UsageError

GIB = 1 << 30


class Isolation(BaseModel):
    """Which attacks are isolated, how, and what they may use up. It decides no number.

    Attributes:
        attacks: ``"others"`` isolates those that are not built in, ``"all"`` every one.
        sandbox: whether bubblewrap keeps them from network, files and other processes.
        seconds: that an attack may take of one cell.
        memory_gib: resident memory that its processes may have, together.
        processes: that it may have at once.
        hidden: folders that the sandbox must not show, beside those of the data and the cache.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attacks: Literal["others", "all"] = "others"
    sandbox: bool = False
    seconds: float = Field(86_400.0, gt=0)
    memory_gib: float = Field(8.0, gt=0)
    processes: int = Field(32, ge=1)
    hidden: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["process", "sandbox"]:
        """What records call it."""
        return "sandbox" if self.sandbox else "process"


def isolation_for(
    isolate: bool | None, *, sandbox: bool, hidden: tuple[str, ...] = (), **limits: float
) -> Isolation | None:
    """Return the isolation that was asked for, or None where every attack runs in-process.

    Args:
        isolate: whether attacks are isolated; None for those that are not built in.
        sandbox: see :class:`Isolation`.
        hidden: see :class:`Isolation`.
        **limits: ``seconds``, ``memory_gib`` and ``processes`` of :class:`Isolation`.

    Raises:
        UsageError: the sandbox is asked for without isolation.
    """
    if isolate is False:
        if sandbox:
            raise UsageError("the sandbox is for isolated attacks; leave out --no-isolate")
        return None
    attacks = "others" if isolate is None else "all"
    absolute = tuple(str(Path(folder).absolute()) for folder in hidden)
    return Isolation.model_validate(
        {"attacks": attacks, "sandbox": sandbox, "hidden": absolute, **limits}
    )
