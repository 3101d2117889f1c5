"""No defense: the client sends its smashed data as they are."""

from __future__ import annotations

from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters


class UndefendedBaseline(Defense[Parameters]):
    """Leaves every hook as it is."""
