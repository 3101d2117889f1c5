"""Strongest: an ensemble of attacks without parameters, of which the worst one counts.

A defense that holds against one attack has not been shown to hold. As AutoAttack does for
adversarial examples (Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble
of diverse parameter-free attacks", ICML 2020), this attack runs a fixed set of attacks that fail in
different ways, and reports the one that recovers most. There is one set per kind of server:

- ``server=queries``: a server that may also ask the trained client about images of its own, and
  is told which of the smashed data are of the same image.
- ``server=listening``: a server that follows the protocol and keeps what it sees.
- ``server=malicious``: a server that hijacks the training, or listens, whichever gives it more.

Members have the settings of the cell's profile, and each gets what its own threat model declares.
Those that do not apply to a cell are named in its record. The choice of the worst member uses the
victims' images, which an attacker does not have; it knows the victims to be of training or held
out, and may use another attack for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from splitsec.plugins.ensemble import Ensemble, Member
from splitsec.plugins.parameters import Parameters

_LISTENING = (Member("transport"), Member("pseudo-client"))

_MEMBERS: Mapping[str, Sequence[Member]] = {
    "queries": (Member("regression"), Member("adra", {"pairs": "public"}), Member("average")),
    "listening": _LISTENING,
    "malicious": (Member("fsha"), *_LISTENING),
}


class StrongestParameters(Parameters):
    """Parameters of the ensemble."""

    server: Literal["queries", "listening", "malicious"] = Field(
        "queries", description="what the server does: which attacks are members"
    )


class Strongest(Ensemble[StrongestParameters]):
    """Runs several attacks, of which the worst one counts."""

    Parameters: ClassVar[type[StrongestParameters]] = StrongestParameters

    @classmethod
    def members(cls, parameters: StrongestParameters) -> Sequence[Member]:
        """Return the attacks that a server of this kind can mount."""
        return _MEMBERS[parameters.server]
