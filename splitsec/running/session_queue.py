"""The queue of a grid's sessions that are left to run; one process at a time claims a session.

A claim is a lock on a file of the store; the system releases it when its process dies. Two runs may
therefore use one store, and each finds the records of the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from splitsec.cells.cell import Cell
from splitsec.errors import OutputError
from splitsec.records.record import Record


@dataclass
class _Claim:
    lock: FileLock
    left: set[str] = field(default_factory=set)


class Queue:
    """Sessions to run: groups of cells that differ only in their attack.

    Args:
        sessions: groups of cells.
        store: folder of records.
        look_up: returns a cell's usable record if it has one by now, else None.
    """

    def __init__(
        self,
        sessions: Iterable[Sequence[Cell]],
        store: Path,
        look_up: Callable[[Cell], Record | None],
    ) -> None:
        self._found: list[Record] = []
        self._waiting = deque(list(cells) for cells in sessions)
        self._folder = store / ".locks"
        self._look_up = look_up
        self._claims: dict[str, _Claim] = {}

    def __bool__(self) -> bool:
        """Return whether any session waits, including those that another run has claimed."""
        return bool(self._waiting)

    def take(self) -> list[Cell] | None:
        """Claim the next session that no other run has.

        Returns:
            Its cells that have no record by now; None if no session waits or other runs have
            claimed all that wait.

        Raises:
            OutputError: the store cannot be written.
        """
        for _ in range(len(self._waiting)):
            cells = self._waiting.popleft()
            if not self._claim(cells):
                self._waiting.append(cells)
                continue
            records = [(cell, self._look_up(cell)) for cell in cells]
            self._found += [record for _, record in records if record is not None]
            left = [cell for cell, record in records if record is None]
            key = cells[0].session_key()
            self._claims[key].left = {cell.spec.model_dump_json() for cell in left}
            if left:
                return left
            self._release(key)
        return None

    def take_found(self) -> list[Record]:
        """Return the new records that another run has made, each once."""
        found, self._found = self._found, []
        return found

    def put_back(self, cells: Sequence[Cell]) -> None:
        """Put back cells of a session that was taken; they stay claimed and come next."""
        self._waiting.appendleft(list(cells))

    def done(self, cell: Cell) -> None:
        """Note that a cell has its record; the last cell of a session releases its claim."""
        key = cell.session_key()
        left = self._claims[key].left
        left.discard(cell.spec.model_dump_json())
        if not left:
            self._release(key)

    def close(self) -> None:
        """Release all claims."""
        for key in list(self._claims):
            self._release(key)

    def _claim(self, cells: Sequence[Cell]) -> bool:
        key = cells[0].session_key()
        if key in self._claims:
            return True
        lock = FileLock(self._folder / f"{key[:24]}.lock")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise OutputError(
                f"cannot write {lock.lock_file}: {error.strerror or error}"
            ) from error
        except NotImplementedError as error:
            raise OutputError(f"{self._folder} cannot be locked: {error}") from error
        self._claims[key] = _Claim(lock)
        return True

    def _release(self, key: str) -> None:
        self._claims.pop(key).lock.release()
