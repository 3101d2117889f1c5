"""No defense: the client sends its smashed data as they are."""

from __future__ import annotations

from splitsec.defense import Defense
from splitsec.parameters import Parameters


class Undefended(Defense[Parameters]):
    """Leaves every hook as it is."""
