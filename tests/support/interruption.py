"""A session that ends as if its process were killed."""

from __future__ import annotations

from typing import Any

import pytest

from splitsec.training.client import Client


class Killed(BaseException):
    """Ends a run as a kill would: nothing of ours catches it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, exchange: int) -> None:
    """Let the n-th exchange of any session from now on raise; then sessions go on as usual."""
    step, count = Client.step, 0

    def counting(self: Client, *arguments: Any) -> float | None:
        nonlocal count
        count += 1
        if count == exchange:
            monkeypatch.setattr(Client, "step", step)
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(Client, "step", counting)
