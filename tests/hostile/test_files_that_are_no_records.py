"""Files that stand where a record or its values should be: they are left out, and cost nothing."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from splitsec.errors import DataError
from splitsec.records.bounded import LARGEST_RECORD, read_regular
from splitsec.records.finding import record_files
from splitsec.records.index import load_brief_records
from splitsec.records.per_image import PER_IMAGE, per_image_bytes, read_per_image
from splitsec.records.record import seal_of
from splitsec.records.store import find_records, write_record
from splitsec.running.verification import read_claims
from support.records import make_record
from support.scored_values import make_values, record_of, write_with_values


def text(content: str) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content.encode("utf-8", "surrogatepass")) and None


def saying(**changes: object) -> Callable[[Path], None]:
    """Return what writes a record with other values, sealed anew."""
    content = json.loads(make_record().to_json()) | changes
    return text(json.dumps(content | {"seal": seal_of(content)}))


WHOLE = make_record().sealed().to_json()
FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a device": (lambda file: file.symlink_to("/dev/zero"), "not a regular file"),
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a folder": (Path.mkdir, "not a regular file"),
    "a link to a folder": (lambda file: file.symlink_to("/tmp"), "not a regular file"),
    "a link to nothing": (lambda file: file.symlink_to("gone"), "No such file"),
    "a link to itself": (lambda file: file.symlink_to(file), "symbolic links"),
    "a file of 5 MB": (text(WHOLE + " " * 5_000_000), "larger than 4,000,000 bytes"),
    "a hole of 100 GB": (lambda file: file.touch() or os.truncate(file, 10**11), "larger than 4"),
    "nothing": (text(""), "is not a splitsec record"),
    "no text": (lambda file: file.write_bytes(b"\xff\xfe{") and None, "codec can't decode"),
    "half a letter": (text(WHOLE.replace("phantoms", "\ud800")), "codec can't decode"),
    "half a letter, escaped": (text(WHOLE.replace("phantoms", r"\ud800")), "hex escape"),
    "a list": (text("[]"), "no JSON object"),
    "a million brackets": (text("[" * 1_000_000), "more than 100,000 values"),
    "deep brackets": (text('{"data": ' + "[" * 50_000 + "]" * 50_000 + "}"), "nested too deep"),
    "brackets of a record": (saying(data={"a": json.loads("[" * 900 + "]" * 900)}), "recursion"),
    "many numbers": (saying(flags=[0] * 200_000), "more than 100,000 values"),
    "many mistakes": (saying(flags=[0] * 90_000), "'flags.0'"),
    "infinity": (text(WHOLE.replace("0.877", "1e999")), "not finite"),
    "a number that is none": (text(WHOLE.replace("0.877", "NaN")), "not finite"),
    "a number of a million digits": (text(WHOLE.replace("0.877", "9" * 1_000_000)), "64 bits"),
    "a name twice": (text('{"status": "failed", ' + WHOLE[1:]), "'status' is in one object twice"),
    "a long name": (saying(**{"x" * 1_000_000: 1}), "Extra inputs"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_record_is_left_out(kind: str, tmp_path: Path) -> None:
    put, says = FILES[kind]
    write_record(tmp_path / "honest", make_record(seed=1))
    (tmp_path / "hostile").mkdir()
    put(tmp_path / "hostile" / "record.json")
    told: list[str] = []
    (found,) = find_records([tmp_path], told.append)
    assert found.record.spec.seed == 1
    (sentence,) = told
    assert len(sentence) < 1000
    assert sentence.isprintable()
    assert any(one in sentence for one in says.split("|")), sentence
    (brief,) = load_brief_records([tmp_path], told.append)
    assert brief.spec.seed == 1
    claims = {Path(one.where).parent.name: one for one in read_claims([tmp_path])}
    assert claims["hostile"].problems == [sentence]


def test_a_line_of_a_stream_that_is_no_record_is_left_out(tmp_path: Path) -> None:
    stream = tmp_path / "sent.jsonl"
    stream.write_bytes(b"\xff\n{}\n" + WHOLE.encode() + b"\n[\n")
    told: list[str] = []
    assert len(find_records([stream], told.append)) == 1
    assert [one.split(",")[1] for one in told] == [" line 1", " line 2", " line 4"]


@pytest.mark.parametrize("kind", ["a device", "a FIFO", "one line of 5 MB"])
def test_a_stream_without_an_end_is_not_read(kind: str, tmp_path: Path) -> None:
    stream = tmp_path / "sent.jsonl"
    if kind == "a device":
        stream.symlink_to("/dev/zero")
    elif kind == "a FIFO":
        os.mkfifo(stream)
    else:
        stream.write_bytes(b"[" * (LARGEST_RECORD + 1))
    with pytest.raises(DataError, match=r"cannot read records at .*sent\.jsonl: (it|line 1) is"):
        find_records([stream], print)


def test_folders_in_each_other_are_searched_to_the_end(tmp_path: Path) -> None:
    write_record(tmp_path / "honest", make_record(seed=1))
    (tmp_path / "honest" / "back").symlink_to(tmp_path)
    here, levels = os.open(tmp_path, os.O_RDONLY), 1200  # more than Python's calls in each other
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        here = _moved(here, "a")
    try:
        assert record_files(tmp_path) == [tmp_path / "honest" / "record.json"]
        assert len(find_records([tmp_path], print)) == 1
    finally:  # pytest cannot remove it
        for _ in range(levels):
            here = _moved(here, "..")
            os.rmdir("a", dir_fd=here)
        os.close(here)


def _moved(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY, dir_fd=here)
    os.close(here)
    return there


def test_a_file_that_becomes_larger_is_read_up_to_its_bound(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a regular file"):
        read_regular(Path("/dev/zero"), 10)
    (tmp_path / "ten").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "ten", 10) == b"0123456789"
    with pytest.raises(ValueError, match="larger than 9 bytes"):
        read_regular(tmp_path / "ten", 9)


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in members:
            made.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def header(said: str) -> bytes:
    """Return an array that says what it is, and has no values."""
    words = said.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words


def of_shape(kind: str, shape: str) -> bytes:
    said = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"
    return archive(("held_out.clients", header(said)))


def overlapping() -> bytes:
    """Return an archive of 40 names for the same half a megabyte."""
    one = archive(("a", bytes(500_000)))
    made = BytesIO(one)
    with zipfile.ZipFile(made, "a") as opened:
        (whole,) = opened.infolist()
        for number in range(40):
            again = zipfile.ZipInfo(f"b{number}.npy")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(again, name, getattr(whole, name))
            opened.filelist.append(again)
        opened._didModify = True  # type: ignore[attr-defined]  # what zipfile itself would set
    return made.getvalue()


ARCHIVES = {
    "a billion values": (of_shape("<i8", "(1000000000000,)"), "has 0 bytes where its shape"),
    "a negative shape": (of_shape("<i8", "(-5,)"), "has 0 bytes where its shape"),
    "values of no size": (of_shape("<U0", "(1000000000000,)"), "itemsize|expected|size"),
    "objects": (of_shape("|O", "(3,)"), "Python objects"),
    "code in a header": (
        archive(("version", header("__import__('os').abort()"))),
        "malformed node",
    ),
    "many arrays": (archive(*((f"a{one}", b"") for one in range(100))), "more than it should"),
    "an array twice": (archive(("a", b""), ("a", b"")), "twice"),
    "arrays that overlap": (overlapping(), "more than it should"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_says_more_than_it_holds_is_refused(kind: str) -> None:
    content, says = ARCHIVES[kind]
    with pytest.raises(DataError) as caught:
        read_per_image(content, "values.npz")
    assert any(one in str(caught.value) for one in says.split("|")), caught.value


def test_letters_that_are_none_are_refused() -> None:
    content = per_image_bytes(make_values())
    letter = np.array(["Z"]).tobytes()
    with pytest.raises(DataError, match=r"something other than letters|CRC"):
        read_per_image(content.replace(letter, b"\xff\xff\xff\xff"), "values.npz")


@pytest.mark.parametrize("said", ["../../../etc/passwd", "/etc/passwd", "../../values.npz"])
def test_a_record_cannot_name_a_file_elsewhere(said: str, tmp_path: Path) -> None:
    record = make_record().model_copy(update={"artifacts": {PER_IMAGE: said}})
    write_record(tmp_path / "store" / "cell", record)
    with pytest.raises(DataError, match="is not among the records"):
        find_records([tmp_path], print)


def test_values_that_are_a_device_are_not_read(tmp_path: Path) -> None:
    record = write_with_values(tmp_path, record_of(make_values()), per_image_bytes(make_values()))
    (file,) = (tmp_path / "artifacts").iterdir()
    file.unlink()
    file.symlink_to("/dev/zero")
    assert record.folder is not None
    with pytest.raises(DataError, match=r"cannot read the values per image at .*: it is not a reg"):
        find_records([tmp_path], print)


def test_values_are_no_larger_than_the_images_need(tmp_path: Path) -> None:
    content = per_image_bytes(make_values()) + bytes(5_000_000)
    write_with_values(tmp_path, record_of(make_values()), content)
    with pytest.raises(DataError, match="larger than"):
        find_records([tmp_path], print)
