"""Mutates records at random, and seals them anew so that what is behind the seal is reached."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

from splitsec.records.record import seal_of

Value = Any

VALUES: tuple[Value, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**6,
    10**17,
    -(10**17),
    0.5,
    -30.0,
    1e300,
    5e-324,
    "",
    "NaN",
    "-Infinity",
    "x",
    "x" * 5000,
    "a\nidentical: b\x1b[2J",
    "=1+1",
    "../../x",
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    "🙂\u202e",
    [],
    {},
    [[]],
    {"": {}},
    [0.5] * 3000,
    {str(one): one for one in range(1000)},
)
"""What takes the place of a value."""


def places(value: Value, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in JSON values."""
    found = [path] if path else []
    if isinstance(value, dict):
        inside = list(value.items())
    else:
        inside = list(enumerate(value[:20])) if isinstance(value, list) else []
    for name, one in inside:
        found += places(one, (*path, name))
    return found


def mutated(content: dict[str, Value], draws: random.Random) -> str:
    """Return a record's JSON with one to three changes, and with its seal.

    Args:
        content: the JSON values of a record.
        draws: decides the changes; the same draws give the same record.
    """
    changed = copy.deepcopy(content)
    for _ in range(draws.choice((1, 1, 2, 3))):
        _change(changed, draws)
    changed["seal"] = seal_of(changed)
    return json.dumps(changed)


def _change(content: dict[str, Value], draws: random.Random) -> None:
    path = draws.choice(places(content))
    above: Value = content
    for name in path[:-1]:
        above = above[name]
    last, kind = path[-1], draws.random()
    value = above[last]
    if kind < 0.35 and isinstance(value, int | float) and not isinstance(value, bool):
        above[last] = _number(value, draws)
    elif kind < 0.45:
        del above[last]
    elif kind < 0.55 and isinstance(above, dict):
        above[draws.choice(("x", "", "mean", "auc", "y\n" * 9))] = copy.deepcopy(value)
    elif kind < 0.65:
        other = draws.choice(places(content))
        found: Value = content
        for name in other:
            found = found[name]
        above[last] = copy.deepcopy(found)
    elif kind < 0.7 and isinstance(value, list):
        above[last] = value * draws.choice((2, 50))
    else:
        above[last] = copy.deepcopy(draws.choice(VALUES))


def _number(value: float, draws: random.Random) -> float:
    other = draws.choice(
        (value * 2, -value, value / 3, value + 1, value - 1, value * 1e9, 1 - value)
    )
    if isinstance(value, int) and abs(other) < 10**17 and draws.random() < 0.8:
        return int(other)
    return other if math.isfinite(other) else 0.0
