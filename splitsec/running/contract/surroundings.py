"""Watches the state of the process that a plug-in must not change."""

from __future__ import annotations

import inspect
import os
import pickle
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch

GENERATOR = "torch's global generator"
ENVIRONMENT = "the environment variables"


def surroundings() -> dict[str, object]:
    """Return the state shared by all code in this process, by name."""
    return {
        GENERATOR: torch.random.get_rng_state().numpy().tobytes(),
        "numpy's global generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002 - the shared one
        "Python's global generator": random.getstate(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "whether torch records gradients": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "the working folder": str(Path.cwd()),
        ENVIRONMENT: dict(os.environ),
    }


def settle() -> None:
    """Let torch set the environment variable that it sets with a process's first optimizer."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@contextmanager
def seeing_changes(into: set[str], allowed: Collection[str] = ()) -> Iterator[None]:
    """Add to ``into`` the names of the shared state that a block changed."""
    before = surroundings()
    try:
        yield
    finally:
        after = surroundings()
        into |= {name for name in before if before[name] != after[name]} - {*allowed}


@dataclass
class SurroundingsWatch:
    """Records what the calls of a plug-in did.

    Attributes:
        changes: shared state that it changed, to the method that did.
        views: views that an attack received.
        seconds: method to the total seconds of its calls.
        calls: method to the number of its calls.
    """

    changes: dict[str, str] = field(default_factory=dict)
    views: list[Any] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def watched(self, cls: type[Any], methods: Collection[str], free: Collection[str]) -> type[Any]:
        """Return a watched subclass that otherwise behaves like the class.

        Args:
            cls: the plug-in's class.
            methods: methods to watch, if the class has them.
            free: those that may draw from torch's global generator, because the framework seeds
                it before and restores it after them.
        """
        wrapped = {
            name: _as_in(cls, name, self._wrapped(name, getattr(cls, name), name in free))
            for name in methods
            if hasattr(cls, name)
        }
        named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        return type(cls.__name__, (cls,), {**wrapped, **named, "__doc__": cls.__doc__})

    def _wrapped(self, name: str, method: Callable[..., Any], free: bool) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "__init__":
                self.views += [value for value in arguments if hasattr(value, "access")]
            changes: set[str] = set()
            start = time.perf_counter()
            try:
                with seeing_changes(changes, {GENERATOR} if free else ()):
                    return method(*arguments, **options)
            finally:
                for change in changes:
                    self.changes.setdefault(change, name)
                self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - start
                self.calls[name] = self.calls.get(name, 0) + 1

        return call


def _as_in(cls: type[Any], name: str, call: Callable[..., Any]) -> Any:
    """Return a wrapped method bound as in the class: to objects or to the class."""
    given = inspect.getattr_static(cls, name)
    return staticmethod(call) if isinstance(given, classmethod | staticmethod) else call
