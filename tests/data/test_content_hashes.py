"""Files count by their content, and are read again whenever it may have changed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from splitsec.data import content_hashes as hashing
from splitsec.data.files import fingerprint
from splitsec.errors import DataError
from splitsec.progress import Silent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were read, in order."""
    names: list[str] = []

    def sha256_of(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(hashing, "sha256_of", sha256_of)
    return names


def write(folder: Path, **contents: bytes) -> list[Path]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def let_it_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count every file as one that has not changed lately."""
    monkeypatch.setattr(hashing, "_SETTLED_NANOSECONDS", -(10**9))


@pytest.mark.usefixtures("cache")
def test_it_is_the_hash_of_the_content(tmp_path: Path) -> None:
    files = write(tmp_path, a=b"one", b=b"two", c=b"one")
    found = hashing.content_hashes(files, Silent())
    assert found == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert found == hashing.content_hashes(files, Silent())


@pytest.mark.usefixtures("cache")
def test_a_file_that_has_not_changed_is_read_once(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_settle(monkeypatch)
    files = write(tmp_path, a=b"one", b=b"two")
    first = hashing.content_hashes(files, Silent())
    files += write(tmp_path, c=b"three")
    assert hashing.content_hashes(files, Silent())[:2] == first
    assert sorted(read) == ["a", "b", "c"]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("how", ["in place", "another file"])
def test_other_content_of_equal_size_and_time_is_seen(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_settle(monkeypatch)
    (file,) = write(tmp_path, a=b"one")
    (before,) = hashing.content_hashes([file], Silent())
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    if how == "in place":
        file.write_bytes(b"two")
    else:
        (other,) = write(tmp_path, other=b"two")
        os.utime(other, ns=times)
        other.replace(file)
    os.utime(file, ns=times)
    assert file.stat().st_mtime_ns == times[1]
    (after,) = hashing.content_hashes([file], Silent())
    assert after != before
    assert after == hashlib.sha256(b"two").hexdigest()


@pytest.mark.usefixtures("cache")
def test_the_hash_of_a_file_that_has_just_changed_is_not_kept(
    tmp_path: Path, read: list[str]
) -> None:
    files = write(tmp_path, a=b"one")
    hashing.content_hashes(files, Silent())
    hashing.content_hashes(files, Silent())
    assert read == ["a", "a"]


@pytest.mark.usefixtures("cache")
def test_an_interruption_loses_one_portion(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_settle(monkeypatch)
    monkeypatch.setattr(hashing, "_PORTION", 2)
    files = write(tmp_path, a=b"1", b=b"2", c=b"3", d=b"4", e=b"5")
    (tmp_path / "d").unlink()
    (tmp_path / "d").mkdir()  # it cannot be read
    with pytest.raises(DataError, match="cannot read the image"):
        hashing.content_hashes(files, Silent())
    (tmp_path / "d").rmdir()
    write(tmp_path, d=b"4")
    read.clear()
    hashing.content_hashes(files, Silent())
    assert sorted(read) == ["c", "d", "e"]


@pytest.mark.parametrize("damage", ["text", "other table", "a folder"])
def test_damage_to_what_is_kept_changes_no_hash(
    damage: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_settle(monkeypatch)
    cache.mkdir()
    kept = cache / "hashes.sqlite"
    if damage == "text":
        kept.write_text("no database")
    elif damage == "a folder":
        kept.mkdir()
    else:
        with sqlite3.connect(kept) as database:
            database.execute("CREATE TABLE hashes (name TEXT)")
            database.execute("INSERT INTO hashes VALUES ('a')")
        database.close()
    files = write(tmp_path, a=b"one")
    for _ in range(2):
        assert hashing.content_hashes(files, Silent()) == [hashlib.sha256(b"one").hexdigest()]


@pytest.mark.usefixtures("cache")
def test_a_fingerprint_is_of_content_in_order_and_of_no_name(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    one, other = write(tmp_path, a=b"one", b=b"two")
    copied = write(tmp_path / "copy", x=b"one", y=b"two")
    assert fingerprint([one, other], Silent()) == fingerprint(copied, Silent())
    assert fingerprint([other, one], Silent()) != fingerprint(copied, Silent())
    assert fingerprint([one], Silent()) != fingerprint([one, one], Silent())


@pytest.mark.usefixtures("cache")
def test_what_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot reach the image .*gone"):
        hashing.content_hashes([tmp_path / "gone"], Silent())
    with pytest.raises(DataError, match="cannot read the image"):
        hashing.content_hashes([tmp_path], Silent())
