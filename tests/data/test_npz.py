"""Arrays of an archive: rows are those of the array, and what cannot be read is said."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitsec.data.npz import array_header, read_array, read_rows


@pytest.mark.parametrize("saved", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_those_of_the_array(saved: Any, order: Any, tmp_path: Path) -> None:
    held = np.array(np.arange(7 * 5 * 4, dtype=np.int16).reshape(7, 5, 4), order=order)
    saved(tmp_path / "a.npz", a=held)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert array_header(archive, "a").shape == (7, 5, 4)
        assert np.array_equal(read_array(archive, "a"), held)
        rows = np.array([0, 2, 2, 6])
        assert np.array_equal(np.stack([*read_rows(archive, "a", rows)]), held[rows])


def test_an_array_that_is_shorter_than_it_says(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes()[:-8])
    with (
        zipfile.ZipFile(tmp_path / "a.npz") as archive,
        pytest.raises(ValueError, match=r"a has 40 bytes where its shape \(3, 2\) needs 48"),
    ):
        array_header(archive, "a")


@pytest.mark.parametrize(
    ("held", "says"),
    [(np.array([None]), "a holds Python objects"), (np.zeros(2), "it has no array b")],
)
def test_what_is_not_read(held: Any, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, a=held)
    with (
        zipfile.ZipFile(tmp_path / "a.npz") as archive,
        pytest.raises(ValueError, match=says),
    ):
        read_array(archive, "b" if held.dtype == float else "a")
