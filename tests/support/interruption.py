"""A session that ends as if its process were killed."""

from __future__ import annotations

from typing import Any

import pytest

from splitsec.training.client import Client
from splitsec.training.isolated_clients import IsolatedClient


class Killed(BaseException):
    """Ends a run as a kill would: nothing of ours catches it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, exchange: int) -> None:
    """Let the n-th exchange of sessions, isolated or not, raise; then they go on as usual."""
    steps, count = {kind: kind.step for kind in (Client, IsolatedClient)}, 0

    def counting(self: Client | IsolatedClient, *arguments: Any) -> float | None:
        nonlocal count
        count += 1
        if count == exchange:
            for kind, step in steps.items():
                monkeypatch.setattr(kind, "step", step)
            raise Killed
        return steps[type(self)](self, *arguments)

    for kind in steps:
        monkeypatch.setattr(kind, "step", counting)
