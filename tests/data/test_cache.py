"""Images are decoded in portions, and one that was kept is not decoded again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from splitsec.data.cache import cached_in_portions
from splitsec.progress import Progress, Silent, Stage
from support.workers import Telling

COUNT = 25
ROWS = np.arange(COUNT * 3 * 4 * 4, dtype=np.int64).astype(np.uint8).reshape(COUNT, 3, 4, 4)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept images."""
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "own"))
    return tmp_path / "own" / "images"


class Decoder:
    """Decodes rows, one after the other, and is interrupted before one of them."""

    def __init__(self, interrupted_before: int | None = None) -> None:
        self.decoded: list[int] = []
        self._last = interrupted_before

    def __call__(self, rows: slice, progress: Progress) -> NDArray[np.uint8]:
        chosen = list(range(COUNT))[rows]
        with progress.stage("reading images", len(chosen)) as stage:
            for row in chosen:
                if row == self._last:
                    raise KeyboardInterrupt
                self.decoded.append(row)
                stage.advance()
        with progress.stage("sorting", 1):
            return ROWS[chosen]


class Watching(Silent):
    """Keeps the stages that it is told, with their totals and steps."""

    def __init__(self) -> None:
        self.stages: list[list[object]] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        told = [name, total, 0]
        self.stages.append(told)

        class Counting:
            def advance(self, steps: int = 1, note: str = "") -> None:
                told[2] += steps

        yield Counting()


def read(decode: Decoder, progress: Progress | None = None) -> NDArray[np.uint8]:
    return cached_in_portions({"name": "test"}, COUNT, 10, decode, progress or Silent())


def test_an_interruption_loses_one_portion(images: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(Decoder(interrupted_before=17))
    again, watching = Decoder(), Watching()
    assert np.array_equal(read(again, watching), ROWS)
    assert again.decoded == list(range(10, COUNT))
    assert watching.stages[0] == ["reading images", 15, 15]
    assert len(list(images.glob("*.npy"))) == 1, "the portions are removed"
    finished = Decoder()
    assert np.array_equal(read(finished), ROWS)
    assert finished.decoded == []


@pytest.mark.usefixtures("images")
def test_portions_are_shown_as_one_stage_and_others_for_themselves() -> None:
    watching = Watching()
    read(Decoder(), watching)
    assert watching.stages == [["reading images", COUNT, COUNT], *[["sorting", 1, 0]] * 3]


def test_a_damaged_portion_is_decoded_again(images: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(Decoder(interrupted_before=20))
    damaged = sorted(images.glob("*.npy"), key=lambda file: file.stat().st_mtime_ns)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xaa")
    again = Decoder()
    assert np.array_equal(read(again), ROWS)
    assert again.decoded == [*range(10), *range(20, COUNT)]


def test_where_nothing_can_be_kept_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "file"))
    told = Telling()
    assert np.array_equal(read(Decoder(), told), ROWS)
    (said,) = told.messages
    assert "decoded images are not kept" in said
