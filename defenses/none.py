"""No defense: the client sends its smashed data unchanged."""

from __future__ import annotations

from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters


class UndefendedBaseline(Defense[Parameters]):
    """Changes no hook."""
