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
from typing import Any, NamedTuple, Protocol

import torch

from splitsec.errors import OutputError, SplitsecError
from splitsec.files import write_bytes
from splitsec.state import UnfitError, put_back, take

EVERY_SECONDS = 180.0
"""How often a running stage is saved."""

_DIGEST = 32  # bytes


class Shelf(Protocol):
    """Keeps the content of checkpoints, each under a name of hexadecimal digits."""

    def read(self, name: str) -> bytes | None:
        """Return what was kept last, or None.

        Raises:
            OutputError: it cannot be read.
        """

    def keep(self, name: str, content: bytes | memoryview) -> None:
        """Keep content in the place of what was kept.

        Raises:
            OutputError: there is no room for it.
        """

    def remove(self, name: str) -> None:
        """Keep it no longer."""


class CheckpointFolder:
    """Checkpoints in files.

    Args:
        path: folder for them; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes | None:
        """Return what was kept last, or None.

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
        """Keep content in the place of what was kept; all of it is there, or nothing is changed.

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
    """Where the stages of a session and of its attacks are saved.

    Args:
        shelf: keeps them, or None to save nothing.
        depends_on: JSON values that decide the numbers; a checkpoint of others is never used.
        announce: told when a stage goes on from a checkpoint, or cannot be saved.
        every_seconds: how often a running stage is saved.
    """

    part_of_no_state = True  # an attack holds it, and is saved without it

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
        """Return the same with more that decides the numbers."""
        both = [self._depends_on, depends_on]
        return Checkpoints(self.shelf, both, self._announce, self.every_seconds)

    def name(self, stage: str) -> str:
        """Return the name under which a stage is kept."""
        text = json.dumps([stage, self._depends_on, torch.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def stage(self, name: str, **parts: object) -> SavedStage:
        """Return a stage, its parts as they were when it was last saved, if it was.

        Args:
            name: of the stage, unique within the session or the attack.
            **parts: the objects that make up its state: modules, optimizers, generators,
                tensors, containers of such, and objects that hold such. What changes is held in
                an object, since a number or a text cannot be put back in place.
        """
        place = None
        if self.shelf is not None:
            place = _Place(self.shelf, self.name(name), self.every_seconds)
        return SavedStage(place, name, parts, self._announce)


class _Place(NamedTuple):
    """Where and how often a stage is saved."""

    shelf: Shelf
    name: str
    every_seconds: float


class SavedStage:
    """A stage that is saved now and then; made by :meth:`Checkpoints.stage`.

    Attributes:
        position: steps that are done; the stage goes on from here.
        seconds: what these took.
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
        """Say how many steps are done; saves the stage if that was not done for a while."""
        self._save_after(self._since, position)

    def finish(self, position: int) -> None:
        """Say that the stage is done; it is saved if it took long."""
        self._save_after(self._begun, position)

    def _load(self, place: _Place) -> None:
        try:
            kept = place.shelf.read(place.name)
            if kept is None:
                return
            saved = _unpacked(kept)
            parts, state = self._parts, saved["parts"]
            # Looked at whole before anything is put back, so that it is all or nothing.
            for name, part in parts.items():
                put_back(part, state[name], dry=True)
        except (UnfitError, KeyError, OutputError) as error:
            place.shelf.remove(place.name)
            self._announce(f"{self._name} begins anew: its checkpoint does not fit ({error})")
            return
        try:
            for name, part in parts.items():
                put_back(part, state[name])
            torch.set_rng_state(saved["generator"])
        except Exception as error:  # half of it is put back: nothing can go on from here
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
            self._announce(f"{self._name} cannot be saved, and will begin anew if killed: {error}")
            self._place = None


def _packed(content: dict[str, Any]) -> memoryview:
    """Return tensors and values as torch has them, and the SHA-256 of that."""
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
