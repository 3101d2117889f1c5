"""Slows a client that trains with Adam, by nothing but the size of the gradients that it is sent.

Adam divides each gradient by the root mean square of those before it, of which it remembers a
thousand. So a server that sends two large gradients and then small ones makes the client take
small steps, without a say in its learning rate, whatever else drives the client, such as a
defense's penalty. The second large one is nearly the first one's opposite, which empties Adam's
momentum. Both may be noise, which hardly changes what the client sends. A client with SGD takes
steps in proportion to what it is sent, so it slows down too, but follows another schedule.
"""

from __future__ import annotations

import math

_LARGE = (1.0, -0.9)
"""The first factors; 0.9 is Adam's first beta."""

_MEMORY = 0.999
"""Adam's second beta, which hardly anybody changes."""


class Pace:
    """Gives the factor on each gradient, for gradients of equal norm.

    Examples:
        >>> from splitsec.attacks.fsha.pace import Pace
        >>> pace = Pace()
        >>> [pace.factor(0.1) for _ in range(2)]
        [1.0, -0.9]
        >>> round(pace.factor(0.1), 3)
        0.095
    """

    def __init__(self) -> None:
        self._sent, self._large, self._remembered = 0, 0, 0.0

    @property
    def loud(self) -> bool:
        """Whether the next gradient is one of the large ones."""
        return self._large < len(_LARGE)

    def wait(self, length: float = 0.0) -> None:
        """Count an exchange with a gradient that is not ours to shape.

        Args:
            length: the gradient's norm, relative to one whose factor is one.
        """
        self._sent += 1
        self._remembered = _MEMORY * self._remembered + (1 - _MEMORY) * length**2

    def factor(self, rate: float) -> float:
        """Return the next factor.

        Args:
            rate: length of the client's step relative to its learning rate, in (0, 1].
        """
        self._sent += 1
        known = 1 - _MEMORY**self._sent
        if self.loud:
            factor = _LARGE[self._large]
            self._large += 1
        else:
            # Solves factor^2 = rate^2 * (what Adam will remember, factor^2 included) / known.
            others = rate**2 * _MEMORY * self._remembered
            factor = math.sqrt(others / (known - rate**2 * (1 - _MEMORY)))
        self._remembered = _MEMORY * self._remembered + (1 - _MEMORY) * factor**2
        return factor
