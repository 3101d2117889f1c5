"""Long stages save themselves, so that a cell that was killed goes on where it was.

A stage names the objects that make up its state, which is saved now and then (:mod:`.state`), and
put back into the same objects, built anew, when the cell is run again. A stage whose state cannot
be saved, or no longer fits, begins anew: a checkpoint saves time, and never decides a number.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from splitsec.errors import OutputError, SplitsecError
from splitsec.state import UnfitError, put_back, take
from splitsec.storage import write_atomically

EVERY_SECONDS = 180.0
"""How often a running stage is saved."""

_DIGEST = 32  # bytes


class Checkpoints:
    """Where the stages of a session and of its attacks are saved.

    Args:
        folder: for the files, or None to save nothing.
        depends_on: JSON values that decide the numbers; a checkpoint of others is never used.
        announce: told when a stage goes on from a checkpoint, or cannot be saved.
    """

    part_of_no_state = True  # an attack holds it, and is saved without it

    def __init__(
        self,
        folder: Path | None = None,
        depends_on: Any = None,
        announce: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._depends_on = depends_on
        self._announce = announce

    def within(self, depends_on: Any) -> Checkpoints:
        """Return the same with more that decides the numbers."""
        return Checkpoints(self._folder, [self._depends_on, depends_on], self._announce)

    def stage(self, name: str, **parts: object) -> Saved:
        """Return a stage, its parts as they were when it was last saved, if it was.

        Args:
            name: of the stage, unique within the session or the attack.
            **parts: the objects that make up its state: modules, optimizers, generators,
                tensors, containers of such, and objects that hold such. What changes is held in
                an object, since a number or a text cannot be put back in place.
        """
        if self._folder is None:
            return Saved(None, name, parts, self._announce)
        text = json.dumps([name, self._depends_on, torch.__version__], sort_keys=True)
        file = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.pt"
        return Saved(file, name, parts, self._announce)

    def clear(self) -> None:
        """Remove the files, when the session's records are written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Saved:
    """A stage that is saved now and then; made by :meth:`Checkpoints.stage`.

    Attributes:
        position: steps that are done; the stage goes on from here.
        seconds: what these took.
    """

    def __init__(
        self,
        file: Path | None,
        name: str,
        parts: dict[str, object],
        announce: Callable[[str], None],
    ) -> None:
        self.position = 0
        self.seconds = 0.0
        self._file = file
        self._name = name
        self._parts = parts
        self._announce = announce
        if file is not None and file.exists():
            self._load(file)
        self._since = self._begun = time.monotonic()

    def reached(self, position: int) -> None:
        """Say how many steps are done; saves the stage if that was not done for a while."""
        if self._file is not None and time.monotonic() - self._since >= EVERY_SECONDS:
            self._save(self._file, position)

    def finish(self, position: int) -> None:
        """Say that the stage is done; it is saved if it took long."""
        if self._file is not None and time.monotonic() - self._begun >= EVERY_SECONDS:
            self._save(self._file, position)

    def _load(self, file: Path) -> None:
        try:
            saved = _read(file)
            parts, state = self._parts, saved["parts"]
            # Looked at whole before anything is put back, so that it is all or nothing.
            for name, part in parts.items():
                put_back(part, state[name], dry=True)
        except (UnfitError, KeyError, OSError) as error:
            file.unlink()
            self._announce(f"{self._name} begins anew: its checkpoint does not fit ({error})")
            return
        try:
            for name, part in parts.items():
                put_back(part, state[name])
            torch.set_rng_state(saved["generator"])
        except Exception as error:  # half of it is put back: nothing can go on from here
            file.unlink()
            raise SplitsecError(
                f"the checkpoint of {self._name} could not be put back ({error}), and was removed; "
                "run the cell again"
            ) from error
        self.position, self.seconds = saved["position"], saved["seconds"]
        self._announce(f"{self._name} goes on from its checkpoint at step {self.position}")

    def _save(self, file: Path, position: int) -> None:
        self._since = time.monotonic()
        try:
            content = {
                "position": position,
                "seconds": self.seconds + time.monotonic() - self._begun,
                "generator": torch.get_rng_state(),
                "parts": {name: take(part, name) for name, part in self._parts.items()},
            }
            write_atomically(file, lambda path: _write(path, content))
        except (UnfitError, OutputError) as error:
            self._announce(f"{self._name} cannot be saved, and will begin anew if killed: {error}")
            self._file = None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint: the SHA-256 of what follows, and tensors and values as torch has them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with path.open("wb") as file:
        file.write(hashlib.sha256(buffer.getbuffer()).digest())
        file.write(buffer.getbuffer())


def _read(path: Path) -> dict[str, Any]:
    written = path.read_bytes()
    digest, content = written[:_DIGEST], memoryview(written)[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise UnfitError("it is damaged")
    saved: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return saved
