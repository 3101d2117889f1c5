from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splitsec
from splitsec.errors import DataError
from splitsec.records.artifacts import artifact
from splitsec.records.image_values import (
    PerImageValues,
)
from splitsec.records.index import load_brief_records
from splitsec.records.per_image import (
    PER_IMAGE,
    load_per_image,
    per_image_bytes,
    read_per_image,
)
from splitsec.records.reading import load_record, read_record
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from support.scored_values import make_values, record_of, write_with_values

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records"


def same(one: Any, other: Any) -> bool:
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one is other


def written(store: Path, content: bytes, values: PerImageValues) -> Record:
    return write_with_values(store, record_of(values), content)


@pytest.mark.parametrize(
    "values",
    [
        make_values(),
        PerImageValues(),
        PerImageValues(held_out=replace(make_values().held_out, attack=None, reference=None)),  # type: ignore[type-var]  # not None
        PerImageValues(training=make_values().training),
    ],
    ids=["all", "nothing", "utility alone", "training alone"],
)
def test_values_are_read_as_they_were_written(values: PerImageValues) -> None:
    content = per_image_bytes(values)
    assert same(read_per_image(content, "here"), values)
    assert per_image_bytes(read_per_image(content, "here")) == content


def test_values_of_another_order_in_memory_give_the_same_bytes() -> None:
    values = make_values()
    assert values.held_out is not None
    answers = values.held_out.utility
    assert answers is not None
    assert answers.outputs is not None
    turned = replace(answers, outputs=np.asfortranarray(answers.outputs))
    other = replace(values, held_out=replace(values.held_out, utility=turned))
    assert per_image_bytes(other) == per_image_bytes(values)


def test_numpy_alone_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "values.npz").write_bytes(per_image_bytes(make_values()))
    code = (
        "import sys, numpy\n"
        f"file = numpy.load({str(tmp_path / 'values.npz')!r}, allow_pickle=False)\n"
        "print(file['held_out.utility.outputs'].shape, file['held_out.names'][1])\n"
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-X", "utf8", "-I", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    assert said.stdout == "(5, 3) Zoë 1.png\nFalse\n"


def test_the_reader_does_without_torch() -> None:
    code = "import sys, splitsec.records.per_image; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def test_a_record_finds_its_values_however_it_is_read(tmp_path: Path) -> None:
    values = make_values()
    record = written(tmp_path, per_image_bytes(values), values)
    folder = record_folder(tmp_path, record)
    (brief,) = load_brief_records([tmp_path], print)
    (kept,) = load_brief_records([tmp_path], print)
    found = (record, load_record(folder), folder, str(folder / "record.json"), brief, kept)
    assert all(same(load_per_image(one), values) for one in found)
    frame = splitsec.per_image_frame(record, "held_out")
    assert list(frame.columns[:4]) == ["row", "file", "client", "patient"]
    assert frame.nlargest(1, "mse")["file"].item() == f"Zoë {frame['mse'].argmax()}.png"
    assert "file" not in splitsec.per_image_frame(record, "training")


def test_records_are_equal_wherever_they_are(tmp_path: Path) -> None:
    record = written(tmp_path, per_image_bytes(make_values()), make_values())
    elsewhere = record.found_in(tmp_path / "other")
    assert elsewhere == record
    assert elsewhere.folder != record.folder
    assert record != record.model_copy(update={"flags": []})
    assert Record.model_validate_json(record.to_json()) == record


def test_a_line_of_json_says_that_its_values_are_elsewhere(tmp_path: Path) -> None:
    record = written(tmp_path, per_image_bytes(make_values()), make_values())
    with pytest.raises(DataError, match="read without its folder"):
        load_per_image(read_record(record.to_json(), "a line"))


def npz(save: Callable[..., None], **changes: Any) -> bytes:
    arrays = dict(np.load(io.BytesIO(per_image_bytes(make_values()))))
    buffer = io.BytesIO()
    kept = {name: array for name, array in (arrays | changes).items() if array is not None}
    save(buffer, **kept)
    return buffer.getvalue()


BROKEN = {
    "no archive": (b"PK no zip", "not a zip"),
    "nothing": (b"", "not a zip"),
    "pickle": (pickle.dumps({"version": 1}), "not a zip"),
    "compressed": (npz(np.savez_compressed), "compressed"),
    "objects": (npz(np.savez, **{"held_out.names": np.array([None] * 5)}), "Python objects"),
    "unknown": (npz(np.savez, more=np.zeros(5)), "unknown array 'more'"),
    "version": (npz(np.savez, version=np.array(2)), "not version 1"),
    "no version": (npz(np.savez, version=None), "not version 1"),
    "short": (npz(np.savez, **{"held_out.attack.ssim": np.zeros(4)}), "expected 5 rows"),
    "whole numbers": (npz(np.savez, **{"held_out.attack.mse": np.zeros(5, int)}), "of f8"),
    "NaN": (npz(np.savez, **{"training.attack.mse": np.full(3, np.nan)}), "not finite"),
    "flat": (npz(np.savez, **{"held_out.utility.outputs": np.zeros(5, np.float32)}), "5 rows"),
    "scalar": (npz(np.savez, **{"held_out.clients": np.array(1)}), "expected 1 dimensions"),
    "no measure": (npz(np.savez, **{"training.attack.ssim": None}), "lacks training.attack.ssim"),
    "no clients": (npz(np.savez, **{"training.clients": None}), "lacks training.clients"),
    "victims twice": (npz(np.savez, **{"held_out.attacked": np.array([1, 1])}), "no increasing"),
    "victims below": (npz(np.savez, **{"held_out.attacked": np.array([-1, 1])}), "rows of 5"),
    "victims beyond": (npz(np.savez, **{"held_out.attacked": np.array([1, 5])}), "rows of 5"),
    "victims around": (
        npz(np.savez, **{"held_out.attacked": np.array([4, -(2**63), -(2**62)])}),
        "rows of 5",
    ),
    "victims left": (
        npz(np.savez, **{"held_out.attacked": np.array([0, 4])}),
        "expected 2 rows",
    ),
    "no patients": (npz(np.savez, **{"training.patients": None}), "lacks training.patients"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_something_else_is_refused_in_one_sentence(
    kind: str, tmp_path: Path
) -> None:
    content, says = BROKEN[kind]
    record = written(tmp_path, content, make_values())
    with pytest.raises(DataError, match=says) as caught:
        load_per_image(record)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_or_changed_file_is_found(tmp_path: Path) -> None:
    values = make_values()
    record = written(tmp_path, per_image_bytes(values), values)
    file = artifact(record_folder(tmp_path, record), record, PER_IMAGE)
    file.write_bytes(per_image_bytes(make_values(6)))
    with pytest.raises(DataError, match="damaged"):
        splitsec.per_image_frame(record)
    file.unlink()
    with pytest.raises(DataError, match="copy the folder 'artifacts'"):
        splitsec.per_image_frame(record)


def test_values_of_another_record_are_refused(tmp_path: Path) -> None:
    values = make_values()
    assert values.held_out is not None
    assert values.held_out.attack is not None
    better = replace(values.held_out.attack, mse=values.held_out.attack.mse / 2)
    other = replace(values, held_out=replace(values.held_out, attack=better))
    with pytest.raises(DataError, match="the mean held_out mse is"):
        load_per_image(written(tmp_path, per_image_bytes(other), values))
    for changed in (replace(values, training=None), PerImageValues()):
        with pytest.raises(DataError, match="do not score the same"):
            load_per_image(written(tmp_path, per_image_bytes(changed), values))


def test_published_values_name_nobody() -> None:
    values = make_values()
    public, secret = (values.without_identities(rows=rows) for rows in (True, False))
    for found in (public, secret):
        for name in ("training", "held_out"):
            assert getattr(found, name).images.names is None
            assert same(getattr(found, name).attack, getattr(values, name).attack)
        assert b"Zo" not in per_image_bytes(found)
        assert found.training is not None
        assert found.training.images is not None
        assert found.held_out is not None
        assert found.held_out.images is not None
        assert found.training.images.patients.tolist() == [0, 1, 1]
        assert found.held_out.images.patients.tolist() == [0, 0, 2, 2, 3]
        assert same(found, read_per_image(per_image_bytes(found), "here"))
    assert public.held_out is not None
    assert public.held_out.images is not None
    assert np.array_equal(public.held_out.images.rows, np.arange(5) * 3)  # type: ignore[arg-type]  # not None
    assert secret.held_out is not None
    assert secret.held_out.images is not None
    assert secret.held_out.images.rows is None


@pytest.mark.parametrize("board", ["retinamnist", "x-rays"])
def test_records_of_protocol_4_hold_their_values(board: str) -> None:
    paths = sorted(path.parent for path in (PUBLISHED / board).glob("adra*/record.json"))[:1]
    assert paths
    record = load_record(paths[0])
    assert record.protocol == 4
    assert record.victims is not None
    values = load_per_image(paths[0])
    for name in ("training", "held_out"):
        own, scores = getattr(values, name), getattr(record.victims, name)
        assert own.attack.mse.mean() == pytest.approx(scores.privacy.mse.mean)
        assert own.attack.leakage.tolist() == list(scores.leakage.per_image)
        assert (own.images, own.reference, own.utility) == (None, None, None)
        assert list(splitsec.per_image_frame(record, name)) == [
            "mse",
            "psnr",
            "ssim",
            "lpips",
            "leakage",
        ]
