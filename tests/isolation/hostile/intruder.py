"""Tries to get at what it was not granted; its curves tell what it got: 1 or 0."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from splitsec import Attack, Parameters, ThreatModel, View

PRIVATE = {"Part", "Data", "PrivateSide", "Client", "Sender"}
FILL_BYTES = 320 << 20
FAR = 5 << 30  # a file this long has no room on the disk; with a hole in it, only where it may


class IntruderParameters(Parameters):
    """Where to look."""

    process: int = Field(0, description="the host's process")
    port: int = Field(0, description="where somebody listens")
    secret: str = Field("", description="a file among the data")
    store: str = Field("", description="where records are kept")
    mark: str = Field("", description="a file that tells which processes have imported this one")


class Intruder(Attack[IntruderParameters]):
    """Tries everything in turn."""

    Parameters = IntruderParameters

    def __init__(
        self, parameters: IntruderParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        self._got: dict[str, list[float]] = {}

    @classmethod
    def threat_model(cls, parameters: IntruderParameters) -> ThreatModel:
        if parameters.mark:
            with suppress(OSError), Path(parameters.mark).open("a") as file:
                file.write(f"{os.getpid()}\n")
        return ThreatModel(public_images=True)

    def fit(self, progress: Any) -> None:
        attempts: dict[str, Callable[[], object]] = {
            "gc": lambda: _private(gc.get_objects()),
            "frames": lambda: _private(_in_frames()),
            "modules": lambda: _private(_in_modules()),
            "environment": lambda: "SPLITSEC_DATA" in os.environ,
            "data": lambda: _read_by_another(self.parameters.secret),
            "store": lambda: _leave(Path(self.parameters.store, "intruder")),
            "memory": lambda: _open(f"/proc/{self.parameters.process}/mem", "rb"),
            "network": lambda: socket.create_connection(("127.0.0.1", self.parameters.port), 5),
            "source": lambda: _open(__file__, "a"),
            "long file": _write_far,
            "disk": lambda: _fill() >= FILL_BYTES,
            "root": lambda: _leave(Path("/intruder")),
        }
        for name, attempt in attempts.items():
            self._got[name] = [float(_works(attempt))]
        if os.getpid() != self.parameters.process:  # not where the tests run
            _change_everything()

    def reconstruct(self, smashed: Tensor) -> Tensor:
        return torch.full((len(smashed), *self.view.image_shape), 0.5)

    def curves(self) -> dict[str, list[float]]:
        return self._got


def _works(attempt: Callable[[], object]) -> bool:
    try:
        return bool(attempt())
    except (OSError, ValueError):
        return False


def _private(values: Iterable[object]) -> bool:
    return any(type(one).__name__ in PRIVATE for one in values)


def _in_frames() -> Iterable[object]:
    for frame in sys._current_frames().values():
        above: Any = frame
        while above is not None:
            yield from above.f_locals.values()
            above = above.f_back


def _in_modules() -> Iterable[object]:
    for module in list(sys.modules.values()):
        yield from list(getattr(module, "__dict__", {}).values())


def _read_by_another(path: str) -> bytes:
    """Have another program read a file: what Python itself opens would be noticed."""
    return subprocess.run(["cat", path], capture_output=True, check=False).stdout


def _leave(file: Path) -> bool:
    """Write a file, and take it away again: tests may be run by root."""
    file.write_text("been here")
    file.unlink()
    return True


def _open(path: str, mode: str) -> bool:
    with Path(path).open(mode):
        return True


def _write_far() -> bool:
    file = Path(tempfile.gettempdir(), "far")
    try:
        with file.open("wb") as opened:
            opened.seek(FAR)
            opened.write(b"x")
    finally:
        file.unlink(missing_ok=True)
    return True


def _fill() -> int:
    file, written = Path(tempfile.gettempdir(), "full"), 0
    try:
        with file.open("wb", buffering=0) as opened:
            while written < FILL_BYTES:
                written += opened.write(b"\1" * (16 << 20)) or 0
    except OSError:
        pass
    file.unlink(missing_ok=True)
    return written


def _change_everything() -> None:
    """Change the scorer, the clock and the random state, for whoever shares this process."""
    from splitsec.metrics import image_errors

    image_errors.mse = lambda images, victims: torch.zeros(len(images))
    time.monotonic = time.perf_counter = lambda: 0.0
    torch.manual_seed(99)
    torch.set_default_dtype(torch.float64)
