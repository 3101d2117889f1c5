"""RetinaMNIST: every damaged file is one sentence, and a download is whole or leaves nothing."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitsec.datasets.medmnist.archive import read_file
from splitsec.datasets.medmnist.download import fetch
from splitsec.datasets.medmnist.sets import set_of
from splitsec.datasets.retinamnist import RetinaMnist, RetinaMnistParameters
from splitsec.download import Patience
from splitsec.errors import DataError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import Catalogue
from splitsec.progress import Silent

COUNTS = {"train": 6, "val": 3, "test": 4}
RETINA = set_of("retinamnist")
WITHIN = Patience(silence_seconds=5, total_seconds=10)


def arrays(**changed: Any) -> dict[str, NDArray[Any]]:
    """Return what a whole file holds, with some arrays changed."""
    generator = np.random.default_rng(0)
    held: dict[str, NDArray[Any]] = {}
    for name, count in COUNTS.items():
        held[f"{name}_images"] = generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        held[f"{name}_labels"] = (np.arange(count) % 5)[:, None].astype(np.uint8)
    return held | changed


def npz(**changed: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays(**changed))
    return stream.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def marked(offset: int, value: int) -> bytes:
    """Return a whole file whose directory entries hold ``value`` at an offset."""
    content = bytearray(npz())
    start = content.find(b"PK\x01\x02")
    while start >= 0:
        struct.pack_into("<H", content, start + offset, value)
        start = content.find(b"PK\x01\x02", start + 1)
    return bytes(content)


def badly_deflated() -> bytes:
    """Return a whole file whose first member's deflated bytes are overwritten."""
    content = bytearray(npz())
    name, extra = struct.unpack("<HH", content[26:30])
    start = 30 + name + extra
    content[start : start + 40] = b"\xff" * 40
    return bytes(content)


def holding(member: bytes) -> bytes:
    """Return a whole file in which ``member`` stands for the first array."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays().items():
            archive.writestr(f"{name}.npy", member if name == "train_images" else npy(array))
    return stream.getvalue()


ABSURD = npy(np.zeros((1, 28, 28, 3), np.uint8)).replace(
    b"(1, 28, 28, 3), }              ", b"(99999999999, 2828, 2828, 3), }"
)
DAMAGED = {
    "empty": b"",
    "no archive": b"not a zip",
    "cut short": npz()[:-500],
    "a single array": npy(np.zeros(3)),
    "a pickle": b"\x80\x04N.",
    "encrypted": marked(8, 1),
    "oddly compressed": marked(10, 77),
    "badly deflated": badly_deflated(),
    "more than memory holds": holding(ABSURD),
    "a member that is no array": holding(b"text"),
    "a header that is no Python": holding(
        npy(np.zeros(1)).replace(b"'fortran_order'", b"(((((((((((((((")
    ),
    "arrays of objects": npz(val_labels=np.array([None] * 3)),
    "other names": npz().replace(b"val_labels", b"val_grades"),
}


def source(path: Path | str = "") -> RetinaMnist:
    return RetinaMnist(RetinaMnistParameters(path=str(path)))


def read_all(file: Path) -> tuple[Catalogue, NDArray[np.uint8]]:
    """Return the catalogue of a file and all of its images, at 28 px."""
    read = source(file)
    catalogue = read.catalogue(DataSpec(name="retinamnist"))
    return catalogue, read.decode(catalogue.keys.tolist(), 28, 3, Silent())


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "retinamnist.npz"
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"retinamnist\.npz is not RetinaMNIST: .+; replace it"
    ) as e:
        read_all(file)
    assert "\n" not in str(e.value)


def graded(*grades: Any) -> NDArray[Any]:
    return np.array(grades)[:, None]


WRONG = {
    "a half": ({"val_labels": graded(0, 1.5, 2)}, r"val_labels holds 1\.5 \(row 1\)"),
    "not a number": ({"val_labels": graded(0, 1, np.nan)}, r"val_labels holds nan \(row 2\)"),
    "five": ({"val_labels": graded(5, 1, 2)}, r"val_labels holds 5 \(row 0\)"),
    "negative": ({"val_labels": graded(0, -1, 2)}, r"val_labels holds -1 \(row 1\)"),
    "text": ({"val_labels": graded("0", "1", "2")}, "val_labels is <U1, not whole numbers"),
    "complex": ({"val_labels": graded(0, 1j, 2)}, "val_labels is complex128, not whole"),
    "too many": ({"val_labels": np.zeros((3, 2))}, "val has 3 images and 6 labels"),
    "none": (
        {"val_labels": np.zeros((0, 1)), "val_images": np.zeros((0, 28, 28, 3), np.uint8)},
        "val has 0 images and 0 labels",
    ),
    "floats": ({"val_images": np.zeros((3, 28, 28, 3))}, "val_images is float64 of shape"),
    "grey": ({"val_images": np.zeros((3, 28, 28), np.uint8)}, "val_images is uint8 of shape"),
    "flat": ({"val_images": np.zeros((3, 0, 28, 3), np.uint8)}, "val_images is uint8 of shape"),
    "sizes": ({"val_images": np.zeros((3, 64, 64, 3), np.uint8)}, "images of different sizes"),
}


@pytest.mark.parametrize(("changed", "said"), WRONG.values(), ids=WRONG)
def test_wrong_contents_are_named(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "retinamnist.npz"
    file.write_bytes(npz(**changed))
    with pytest.raises(DataError, match=rf"retinamnist\.npz: .*{said}"):
        read_all(file)


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "retinamnist.npz"
    file.write_bytes(npz(val_labels=graded(0.0, 4.0, 2.0)))
    found, images = read_all(file)
    stored = np.concatenate([arrays()[f"{split}_images"] for split in COUNTS])
    assert np.array_equal(images, stored.transpose(0, 3, 1, 2))
    grades = [0, 1, 2, 3, 4, 0, 0, 4, 2, 0, 1, 2, 3]
    assert read_file(file, RETINA).labels.tolist() == grades
    assert found.labels.tolist() == [int(grade > 0) for grade in grades]
    assert found.pools.tolist() == ["train"] * 6 + ["validation"] * 3 + ["test"] * 4
    assert found.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(found.disclosures) == 2
    assert "is not the file that MedMNIST publishes as RetinaMNIST" in found.disclosures[1]


def test_a_given_path_is_the_only_place(tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    assert not source(str(missing)).availability().found
    with pytest.raises(DataError, match=r"there is no file .*none\.npz; 'path' must name"):
        source(str(missing)).catalogue(DataSpec(name="retinamnist"))
    with pytest.raises(DataError, match="is a folder; 'path' must name"):
        source(str(tmp_path)).catalogue(DataSpec(name="retinamnist"))
    with pytest.raises(UsageError, match="unknown user"):
        source("~nobody-of-this-name/a.npz").catalogue(DataSpec(name="retinamnist"))
    with pytest.raises(DataError, match=r"cannot reach .*: File name too long|there is no file"):
        source("a" * 5000).catalogue(DataSpec(name="retinamnist"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_no_permission_to_read(tmp_path: Path) -> None:
    file = tmp_path / "retinamnist.npz"
    file.write_bytes(npz())
    file.chmod(0)
    with pytest.raises(DataError, match=r"cannot read .*retinamnist\.npz: Permission denied"):
        read_all(file)


# The download


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/hangs":
            self.server.over.wait(30)  # type: ignore[attr-defined]
        elif self.path == "/good":
            content = npz()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server of this machine; returns its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.over = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def state(monkeypatch: pytest.MonkeyPatch, info: dict[str, Any]) -> None:
    """Install a medmnist package that states ``info``."""
    package = ModuleType("medmnist")
    package.__spec__ = ModuleSpec("medmnist", None)
    package.INFO = info  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medmnist", package)


def published(url: str) -> dict[str, Any]:
    md5 = hashlib.md5(npz(), usedforsecurity=False).hexdigest()
    return {"retinamnist": {"url": url, "MD5": md5}}


def test_a_download_is_kept_whole_and_used(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, published(f"{site}/good"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path / "data"))
    assert "will be downloaded" in source().availability().sentence
    assert len(source().catalogue(DataSpec(name="retinamnist")).keys) == 13
    kept = tmp_path / "cache" / "data" / "retinamnist" / "retinamnist.npz"
    assert kept.read_bytes() == npz()
    assert list(kept.parent.iterdir()) == [kept]
    state(monkeypatch, {})
    assert source().availability().sentence == f"found at {kept}"
    assert len(source().catalogue(DataSpec(name="retinamnist")).keys) == 13


@pytest.mark.parametrize(
    ("page", "md5", "said"),
    [
        ("good", "0" * 32, "the MD5 of what came, .* does not begin with 000"),
        ("none", "0" * 32, "404"),
    ],
)
def test_a_failed_download_leaves_nothing(
    page: str, md5: str, said: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, {"retinamnist": {"url": f"{site}/{page}", "MD5": md5}})
    with pytest.raises(DataError, match=f"cannot download RetinaMNIST from .*{said}.*; put retina"):
        fetch(RETINA, 28, tmp_path / "retinamnist" / "retinamnist.npz", WITHIN)
    assert list((tmp_path / "retinamnist").iterdir()) == []


@pytest.mark.parametrize("patience", [Patience(0.3, 30), Patience(30, 0.5)])
def test_a_server_that_hangs_is_given_up(
    patience: Patience, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, published(f"{site}/hangs"))
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"timed out|not finished after 0\.5 seconds"):
        fetch(RETINA, 28, tmp_path / "retinamnist.npz", patience)
    assert time.monotonic() - begin < 5
    assert list(tmp_path.iterdir()) == []


def test_a_medmnist_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state(monkeypatch, {"retinamnist": {}})
    with pytest.raises(DataError, match=r"does not say where RetinaMNIST is \('url'\); put"):
        fetch(RETINA, 28, tmp_path / "retinamnist.npz", WITHIN)
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(DataError, match="does not say where RetinaMNIST is"):
        fetch(RETINA, 28, tmp_path / "retinamnist.npz", WITHIN)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state(monkeypatch, published("http://127.0.0.1:9/none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot keep RetinaMNIST in .*: (File exists|Not a dir)"):
        fetch(RETINA, 28, tmp_path / "file" / "retinamnist.npz", WITHIN)


def test_medmnist_states_the_file_that_we_have(data_root: Path) -> None:
    stated = pytest.importorskip("medmnist").INFO["retinamnist"]
    content = (data_root / "retinamnist" / "retinamnist.npz").read_bytes()
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == stated["MD5"]
    assert stated["url"].startswith("https://")


def test_the_official_file_is_as_it_was(data_root: Path) -> None:
    file = data_root / "retinamnist" / "retinamnist.npz"
    found, images = read_all(file)
    with np.load(file) as stored:
        grades = np.concatenate([stored[f"{split}_labels"][:, 0] for split in COUNTS])
        pixels = np.concatenate([stored[f"{split}_images"] for split in COUNTS])
    assert np.array_equal(found.labels, grades > 0)
    assert np.array_equal(images, pixels.transpose(0, 3, 1, 2))
    assert found.classes == ("no retinopathy", "retinopathy")
    assert len(found.disclosures) == 1, "the official file needs no excuse"
