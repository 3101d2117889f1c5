"""Isolation: runs attacks in processes of their own, which hold nothing private.

The clients' side of a session can have such a process too, with its images and labels and nothing
of the server, the attack or the scorer (:mod:`splitsec.training.client_guest`).

The host (:mod:`.host`) starts a guest (:mod:`.guest`) per attack and cell, and sends it the view's
grants and the server's messages as frames (:mod:`.protocol`). The rest of splitsec calls an
isolated attack (:mod:`.proxy`) like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from splitsec.errors import UsageError

GIB = 1 << 30


class Isolation(BaseModel):
    """Which plug-ins are isolated, how, and within which limits. It affects no number.

    Attributes:
        attacks: ``"others"`` isolates attacks that are not built in, and the clients of defenses
            and targets that are not; ``"all"`` every attack and all clients.
        sandbox: whether bubblewrap denies them network, files and other processes.
        seconds: time limit of an attack per cell.
        memory_gib: limit on the resident memory of all its processes together.
        processes: limit on its processes at once.
        hidden: folders that the sandbox hides, in addition to the data and the cache.
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
        """Its name in records."""
        return "sandbox" if self.sandbox else "process"


def isolation_for(
    isolate: bool | None, *, sandbox: bool, hidden: tuple[str, ...] = (), **limits: float
) -> Isolation | None:
    """Return the requested isolation, or None if every attack runs in this process.

    Args:
        isolate: whether attacks are isolated; None for those that are not built in.
        sandbox: see :class:`Isolation`.
        hidden: see :class:`Isolation`.
        **limits: ``seconds``, ``memory_gib`` and ``processes`` of :class:`Isolation`.

    Raises:
        UsageError: the sandbox is requested without isolation.
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
