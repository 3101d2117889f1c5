"""Saves long stages, so that a killed cell resumes when it runs again.

A stage names the objects that make up its state. The state is saved at intervals (:mod:`.state`)
and restored into newly built objects when the cell runs again. A stage whose state cannot be saved,
or no longer fits, starts from scratch: a checkpoint saves time and never changes a number.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from splitsec.errors import OutputError, SplitsecError
from splitsec.files import write_bytes
from splitsec.state import UnfitError, put_back, take

EVERY_SECONDS = 180.0
"""Interval between the saves of a running stage."""

_DIGEST = 32  # bytes


class Shelf(Protocol):
    """Keeps the content of checkpoints, each under a name of hexadecimal digits."""

    def read(self, name: str) -> bytes | None:
        """Return the last content, or None.

        Raises:
            OutputError: it cannot be read.
        """

    def keep(self, name: str, content: bytes | memoryview) -> None:
        """Keep content in place of the last.

        Raises:
            OutputError: there is no room for it.
        """

    def remove(self, name: str) -> None:
        """Remove the content."""


class CheckpointFolder:
    """Checkpoints in files.

    Args:
        path: folder for them; created on first use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes | None:
        """Return the last content, or None.

        Raises:
            OutputError: it cannot be read.
        """
        try:
            return self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(str(error)) from error

    def keep(self, name: str, content: bytes | memoryview) -> None:
        """Keep content in place of the last, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        write_bytes(self._file(name), content)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._file(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self._path / f"{name}.pt"


class Checkpoints:
    """Saves the stages of a session and of its attacks.

    Args:
        shelf: keeps them, or None to save nothing.
        depends_on: JSON values that decide the numbers; a checkpoint of others is never used.
        announce: called with a sentence if a stage resumes or cannot be saved.
        every_seconds: interval between the saves of a running stage.
    """

    part_of_no_state = True  # an attack holds it but is saved without it

    def __init__(
        self,
        shelf: Shelf | None = None,
        depends_on: Any = None,
        announce: Callable[[str], None] = lambda text: None,
        every_seconds: float | None = None,
    ) -> None:
        self.shelf = shelf
        self.every_seconds = EVERY_SECONDS if every_seconds is None else every_seconds
        self._depends_on = depends_on
        self._announce = announce

    def within(self, depends_on: Any) -> Checkpoints:
        """Return the same with further values that decide the numbers."""
        both = [self._depends_on, depends_on]
        return Checkpoints(self.shelf, both, self._announce, self.every_seconds)

    def name(self, stage: str) -> str:
        """Return the file name of a stage."""
        text = json.dumps([stage, self._depends_on, torch.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def stage(self, name: str, **parts: object) -> SavedStage:
        """Return a stage, with its parts restored from its last save if there is one.

        Args:
            name: name of the stage, unique within the session or the attack.
            **parts: the objects that make up its state: modules, optimizers, generators,
                tensors, containers of these, and objects that hold these. A number or a text
                cannot be restored in place, so an object must hold it.
        """
        place = None
        if self.shelf is not None:
            place = _Place(self.shelf, self.name(name), self.every_seconds)
        return SavedStage(place, name, parts, self._announce)


class _Place(NamedTuple):
    """The place and interval of a stage's saves."""

    shelf: Shelf
    name: str
    every_seconds: float


class SavedStage:
    """A stage that is saved at intervals; made by :meth:`Checkpoints.stage`.

    Attributes:
        position: number of finished steps; the stage resumes after them.
        seconds: time of these steps.
    """

    def __init__(
        self,
        place: _Place | None,
        name: str,
        parts: dict[str, object],
        announce: Callable[[str], None],
    ) -> None:
        self.position = 0
        self.seconds = 0.0
        self._place = place
        self._name = name
        self._parts = parts
        self._announce = announce
        if place is not None:
            self._load(place)
        self._since = self._begun = time.monotonic()

    def reached(self, position: int) -> None:
        """Report the number of finished steps; save the stage if the interval has passed."""
        self._save_after(self._since, position)

    def finish(self, position: int) -> None:
        """Report that the stage is finished; save it if it took long."""
        self._save_after(self._begun, position)

    def _load(self, place: _Place) -> None:
        try:
            kept = place.shelf.read(place.name)
            if kept is None:
                return
            saved = _unpacked(kept)
            parts, state = self._parts, saved["parts"]
            # Checked as a whole before anything is restored, so that it is all or nothing.
            for name, part in parts.items():
                put_back(part, state[name], dry=True)
        except (UnfitError, KeyError, OutputError) as error:
            place.shelf.remove(place.name)
            self._announce(f"{self._name} starts again: its checkpoint does not fit ({error})")
            return
        try:
            for name, part in parts.items():
                put_back(part, state[name])
            torch.set_rng_state(saved["generator"])
        except Exception as error:  # partly restored, so the stage cannot continue
            place.shelf.remove(place.name)
            raise SplitsecError(
                f"the checkpoint of {self._name} could not be put back ({error}), and was removed; "
                "run the cell again"
            ) from error
        self.position, self.seconds = saved["position"], saved["seconds"]
        self._announce(f"{self._name} goes on from its checkpoint at step {self.position}")

    def _save_after(self, since: float, position: int) -> None:
        place = self._place
        if place is None or time.monotonic() - since < place.every_seconds:
            return
        self._since = time.monotonic()
        try:
            content = {
                "position": position,
                "seconds": self.seconds + time.monotonic() - self._begun,
                "generator": torch.get_rng_state(),
                "parts": {name: take(part, name) for name, part in self._parts.items()},
            }
            place.shelf.keep(place.name, _packed(content))
        except (UnfitError, OutputError) as error:
            self._announce(f"{self._name} cannot be saved; if killed, it starts again: {error}")
            self._place = None


def _packed(content: dict[str, Any]) -> memoryview:
    """Return tensors and values in torch's format, followed by their SHA-256."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.write(digest)
    return buffer.getbuffer()


def _unpacked(packed: bytes) -> dict[str, Any]:
    content, digest = memoryview(packed)[:-_DIGEST], packed[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise UnfitError("it is damaged")
    saved: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return saved
