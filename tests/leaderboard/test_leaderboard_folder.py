"""The leaderboard's page as files: the same for the same records, private, and well said."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tomllib
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splitsec.cli.eval import command as eval_command
from splitsec.cli.exit_codes import Exit
from splitsec.cli.request_options import take_request
from splitsec.errors import DataError, UsageError
from splitsec.leaderboard.web.content import choices
from splitsec.leaderboard.web.pictures import picture_of
from splitsec.leaderboard.web.publication import command as again
from splitsec.leaderboard.web.publication import publish, published, without_folders
from splitsec.records.image_values import RANKED
from splitsec.records.per_image import PER_IMAGE
from splitsec.records.reading import load_record
from splitsec.records.store import StoredRecord, find_records, write_record
from support.published_records import Built, build, build_once, publish_all, run, store
from support.records import cell

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_once(tmp_path_factory.mktemp("leaderboard"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def taken(file: Path) -> dict[str, Any]:
    """Return the values that a script of the page gives."""
    found = re.fullmatch(r'splitsec\.take\("\w+",(.*)\);\n', file.read_text(), re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    first = files(built.page)
    assert first == files(build(built.source, tmp_path / "page"))
    (tmp_path / "page" / "CNAME").write_text("ours.example")
    (tmp_path / "page" / "cells" / "stale.js").write_text("old")
    folders = sorted(built.source.iterdir(), reverse=True)
    result = run(*folders, "--format", "html", "--output", tmp_path / "page")
    assert result.return_value == Exit.OK
    assert files(tmp_path / "page") == first | {"CNAME": b"ours.example"}


@pytest.mark.slow
def test_the_published_records_give_the_same_page(built: Built, tmp_path: Path) -> None:
    records = publish_all(built.source, tmp_path / "store")
    assert len(records) == len(built.records)
    assert all(load_record(file).seal for file in records)
    assert run(*records, "--format", "html", "--output", tmp_path / "page").return_value == Exit.OK
    assert files(tmp_path / "page") == files(built.page)


def test_nothing_tells_whose_machine_it_was(built: Built, tmp_path: Path) -> None:
    assert "/home/alice" in next(built.source.rglob("record.json")).read_text()
    publish_all(built.source, tmp_path)
    for name, content in (files(built.page) | files(tmp_path)).items():
        assert b"/home" not in content, name
        assert b"secret plans" not in content, name
        assert str(built.source).encode() not in content, name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("raised (/home/alice/lab/mine.py, line 3)", "raised (mine.py, line 3)"),
        ("--output=/srv/a/b", "--output=b"),
        ("/Users/Alice Smith/scans", "scans"),
        ("file:///home/alice/a.csv", "a.csv"),
        (r"at C:\Users\alice\mine.py", "at mine.py"),
        ("attacks/fsha, 3/4 of https://example.org/a/b", None),
        ("../artifacts/a.png and ./mine.py", None),
    ],
)
def test_paths_are_shortened_to_their_last_name(text: str, shown: str | None) -> None:
    assert without_folders({"a": [text]}) == {"a": [shown or text]}


def test_a_record_is_published_with_the_same_numbers(built: Built) -> None:
    for record in built.records:
        copy = published(record, {})
        assert copy.victims == record.victims
        assert copy.leakage == record.leakage
        assert copy.provenance.created == record.provenance.created
        assert copy.provenance.command[:2] == ["splitsec", "eval"]


def test_the_command_asks_for_the_same_cell() -> None:
    from splitsec.cells.requests import Request
    from splitsec.cells.resolve import resolve

    (asked,) = resolve(
        Request(
            attack="fsha:iterations=7,loss=bce",
            defense="dcor:alpha=0.3",
            cut="2",
            seed=[4],
            clients=2,
            settings=["training.keep=best", "counts.victims=30"],
            public_from="shifted",
        )
    )
    record = cell("fsha", "dcor", 4, 0.5).model_copy(update={"spec": asked.spec})
    options = eval_command.make_context("eval", again(record)[2:]).params
    (resolved,) = resolve(take_request(options))
    assert resolved.spec == asked.spec
    moved = asked.spec.model_copy(update={"partition": 1})
    assert again(record.model_copy(update={"spec": moved})) == [], "eval cannot ask for that"


def test_a_picture_is_found_wherever_the_record_says(tmp_path: Path) -> None:
    record = cell("fsha", "none", 0, 0.5)
    source = store(tmp_path / "results", [record], panel="../artifacts/any.png")
    (picture,) = source.rglob("panel.png")
    (source / "artifacts").mkdir()
    picture.rename(source / "artifacts" / "any.png")
    page = build(source, tmp_path / "page")
    (shown,) = taken(page / "assets" / "data.js")["cells"]
    assert (page / shown["picture"]["file"]).read_bytes() == (
        source / "artifacts" / "any.png"
    ).read_bytes()
    assert (shown["picture"]["width"], shown["picture"]["height"]) == (160, 90)


def ranked(**changes: Any) -> dict[str, NDArray[Any]]:
    draws = np.random.default_rng(0)
    images = {
        f"ranked_{name}": draws.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
        for name in ("originals", "reconstructions", "trivial")
    }
    return {"ranked_rows": np.arange(4), **images, **changes}


def with_pictures(folder: Path, arrays: dict[str, NDArray[Any]]) -> StoredRecord:
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    name = f"{hashlib.sha256(held.getvalue()).hexdigest()}.npz"
    store(folder, [cell("fsha", "none", 0, 0.5)], pictures=f"../artifacts/{name}")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / name).write_bytes(held.getvalue())
    (found,) = find_records([folder])
    return found


def test_victims_are_published_as_small_pictures(tmp_path: Path) -> None:
    arrays = ranked()
    found = with_pictures(tmp_path / "results", arrays)
    picture = picture_of(found)
    assert picture is not None
    assert (picture.artifact, picture.width, picture.height) == ("ranked", 128, 96)
    assert len(picture.content) < 50_000, "noise cannot be packed, and a panel has 175 KB"
    pixels = np.asarray(Image.open(io.BytesIO(picture.content))).transpose(2, 0, 1)
    for row, name in enumerate(("originals", "reconstructions", "trivial")):
        for column in range(4):
            shown = pixels[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            assert np.array_equal(shown, arrays[f"ranked_{name}"][column])
    copy = publish(found, tmp_path / "store")
    assert copy.artifacts.keys() == {"ranked"}
    assert picture_of(StoredRecord(copy, copy.folder)) == picture, "publishing twice"
    page = build(tmp_path / "store", tmp_path / "page")
    (shown,) = taken(page / "assets" / "data.js")["cells"]
    assert [name for name, _ in shown["picture"]["columns"]] == list(RANKED)


def test_a_picture_is_shown_without_values_that_are_missing(tmp_path: Path) -> None:
    found = with_pictures(tmp_path / "results", ranked())
    assert found.folder is not None
    artifacts = found.record.artifacts | {PER_IMAGE: f"../artifacts/{'0' * 64}.npz"}
    write_record(found.folder, found.record.model_copy(update={"artifacts": artifacts}))
    page = build(tmp_path / "results", tmp_path / "page")
    (shown,) = taken(page / "assets" / "data.js")["cells"]
    assert shown["picture"]["columns"] == [[name, None] for name in RANKED]


@pytest.mark.parametrize(
    "arrays",
    [
        ranked(ranked_trivial=np.zeros((4, 3, 31, 32), np.uint8)),
        ranked(ranked_originals=np.zeros((2, 3, 32, 32), np.uint8)),
        ranked(ranked_originals=np.zeros((4, 3, 32, 32), np.float32)),
        ranked(ranked_rows=np.zeros(4)),
        ranked(ranked_originals=np.array(["a"])),
        ranked(more=np.zeros(200_000_000, np.uint8)),
        {"masks": np.zeros(4)},
    ],
    ids=["size", "count", "type", "rows", "text", "too large", "none"],
)
def test_other_arrays_are_no_pictures(arrays: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    picture = picture_of(with_pictures(tmp_path, arrays))
    assert picture is not None
    assert picture.artifact == "panel", "the older picture is left"


def test_a_picture_of_other_proportions_is_refused(tmp_path: Path) -> None:
    store(tmp_path, [cell("fsha", "none", 0, 0.5)], ranked="panel.png")  # 160 by 90
    store(tmp_path, [cell("fsha", "none", 1, 0.5)], ranked="odd.png")
    found = find_records([tmp_path])
    odd = found[1].folder
    assert odd is not None
    Image.new("RGB", (161, 90)).save(odd / "odd.png")
    assert picture_of(found[0]) is not None
    with pytest.raises(DataError, match="is not of 4 victims"):
        picture_of(found[1])


def test_a_record_may_publish_pictures_only(tmp_path: Path) -> None:
    record = cell("fsha", "none", 0, 0.5)
    source = store(tmp_path / "deep" / "results", [record], panel="../../outside.png")
    (next(source.rglob("panel.png"))).rename(tmp_path / "deep" / "outside.png")
    options = "--format", "html", "--output", tmp_path / "page"
    assert "is not among the records" in run(source, *options).stderr
    source = store(tmp_path / "text", [record], panel="record.json")
    assert "left out: " in (said := run(source, *options).stderr)
    assert "'record.json' is not a PNG" in said
    page = tmp_path / "page"
    (shown,) = taken(page / "assets" / "data.js")["cells"]
    assert shown["picture"] is None
    assert shown["missing"].startswith("The picture that came with this record is no PNG")
    assert not list((page / "pictures").iterdir())


def test_an_id_that_is_no_hash_names_no_file(tmp_path: Path) -> None:
    stream = tmp_path / "sent.jsonl"
    stream.write_text(cell("fsha", "none", 0, 0.5, cell_id="../../x").sealed().to_json())
    with pytest.raises(DataError, match="is no SHA-256"):
        build(stream, tmp_path / "page")


def test_without_a_picture_the_page_says_so(tmp_path: Path) -> None:
    records = [cell("fsha", "none", 0, 0.5), cell("none", "none", 1, None)]
    stream = tmp_path / "sent.jsonl"
    stream.write_text("".join(f"{one.sealed().to_json()}\n" for one in records))
    page = build(stream, tmp_path / "page")
    cells = taken(page / "assets" / "data.js")["cells"]
    assert [one["picture"] for one in cells] == [None, None]
    assert "No picture came with this record" in cells[0]["missing"]
    assert "mounts no attack" in cells[1]["missing"]
    (found,) = find_records([stream, store(tmp_path / "results", records[:1])])[:1]
    assert found.folder is not None, "the one with its pictures wins"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "html"], "name it with --output FOLDER"),
        (["--format", "csv", "--output", "page"], "csv is printed"),
        (["--format", "html", "--output", "FILE"], "is a file"),
        (["--format", "html", "--output", "FOREIGN"], "holds something other than a leaderboard"),
    ],
)
def test_bad_input_is_a_sentence(
    options: list[str], said: str, built: Built, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "index.html").write_text("<title>My holidays</title>")
    places = {"FILE": str(tmp_path / "file"), "FOREIGN": str(tmp_path / "foreign")}
    result = run(built.source, *(places.get(one, one) for one in options))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert [one.name for one in (tmp_path / "foreign").iterdir()] == ["index.html"]


def test_without_an_attack_there_is_no_page(tmp_path: Path) -> None:
    source = store(tmp_path / "results", [cell("none", "none", 0, None)])
    result = run(source, "--format", "html", "--output", tmp_path / "page")
    assert result.return_value == Exit.EMPTY
    assert not (tmp_path / "page").exists()


def test_an_install_has_everything_that_a_browser_gets() -> None:
    room = resources.files("splitsec.leaderboard.web")
    configuration = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = configuration["package-data"]["splitsec.leaderboard.web"]
    assert "splitsec.leaderboard.web" in configuration["packages"]
    shipped = [
        f"{part}/{file.name}"
        for part in ("assets", "templates")
        for file in room.joinpath(part).iterdir()
    ]
    assert len(shipped) >= 6
    for name in shipped:
        assert any(fnmatch(name, pattern) for pattern in patterns), name


def test_the_page_grows_little_with_each_cell(built: Built) -> None:
    data = (built.page / "assets" / "data.js").stat().st_size
    assert data / len(built.records) < 2000
    assert built.records[0].cell_id not in (built.page / "index.html").read_text()


def test_strengths_of_a_defense_are_a_curve_in_their_order(built: Built) -> None:
    charts = taken(built.page / "assets" / "data.js")["charts"]
    (chart,) = (one for name, one in charts.items() if name.startswith("defenses"))
    names = [one["name"] for one in chart["points"]]
    (curve,) = chart["curves"]
    assert [names[place] for place in curve] == [f"dcor:alpha={alpha}" for alpha in (0.1, 0.5, 0.9)]
    assert [names[place] for place in chart["front"]] == [
        "dcor:alpha=0.9",
        "dcor:alpha=0.5",
        "dcor:alpha=0.1",
        "none",
    ]
    broken = chart["points"][names.index("noise")]
    assert not broken["ranked"]
    assert "not ranked: retains less than 50% of the utility" in broken["lines"]
    assert "late" not in names, "an incomplete row has no number to draw"
    strong = chart["points"][names.index("dcor:alpha=0.9")]
    assert strong["y"][0] == pytest.approx(0.27)
    assert strong["x"][0] == pytest.approx((0.81 - 0.5) / (0.9 - 0.5))


def test_choices_are_in_the_order_a_person_expects() -> None:
    assert choices([10, 2, "none", 2]) == ["none", "2", "10"]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(mode: int, built: Built) -> None:
    style = (built.page / "assets" / "style.css").read_text()
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", root))
    needed = {"ink": 4.5, "muted": 4.5, "accent": 4.5, "warn": 4.5, "line": 3.0}
    needed |= {f"series-{number}": 4.5 for number in range(6)}  # labels of strengths have them
    for name, least in needed.items():
        for ground in ("paper", "raised"):
            low, high = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= least, f"{name} on {ground}"
