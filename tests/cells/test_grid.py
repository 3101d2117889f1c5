"""Grid files, the plan of a grid, and refusals that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splitsec.cells.grid import GridFile, load_grid
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli import group
from splitsec.cli.grid import official_tracks
from splitsec.data.loading import load_data
from splitsec.errors import UsageError
from splitsec.progress import Silent
from splitsec.records.store import record_folder, write_record
from splitsec.running import measured_costs
from splitsec.running.estimate import make_plan
from splitsec.running.runs import take_shard
from support.records import make_record

TINY = """
settings = ["counts.private=32", "counts.public=32", "counts.validation=8",
            "counts.held_out=12", "counts.victims=12", "training.epochs=1"]
"""
GRID = f"""
title = "a grid"
seeds = 2
threads = 1
{TINY}
[[grid]]
attack = ["none", "adra:epochs=1"]
defense = "none,dcor"
target = "fsha-client"
size = 16
cut = [1, 2]

[[grid]]
attack = "none"
target = "fsha-client"
size = 16
cut = 1
settings = ["training.epochs=2"]

[[grid]]
attack = "none"
target = "fsha-client"
size = 16
cut = "2"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "grid.toml"
    file.write_text(text)
    return file


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments), standalone_mode=False)


def test_a_file_is_as_many_cells_as_its_grids_have_each_once(tmp_path: Path) -> None:
    cells = load_grid(written(tmp_path, GRID)).cells()
    assert len(cells) == 2 * (2 * 2 * 2 + 1), "the third grid is part of the first"
    assert {cell.spec.seed for cell in cells} == {0, 1}
    assert {cell.spec.cut for cell in cells} == {1, 2}
    assert {cell.spec.training.epochs for cell in cells} == {1, 2}, "a grid's own settings win"
    assert {cell.spec.threads for cell in cells} == {1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = 1", "grid: expected at least one .*, found 0"),
        ("grid = []", "expected at least one .*, found 0"),
        ("sed = 1\n[[grid]]\nattack = 'fsha'", "unknown key of the file: 'sed'; .* 'seeds'"),
        ("[[grid]]\natack = 'fsha'\nattack = 'fsha'", "unknown key of grid.0: 'atack'.*'attack'"),
        ("seeds = 0\n[[grid]]\nattack = 'fsha'", "seeds: Input should be greater .*got 0"),
        ("[[grid]]\nattack = 3.5", "grid.0.attack: Input should be a valid string"),
        ("[[grid]\n", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError, match=said) as raised:
        load_grid(file)
    assert str(file) in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = ask("run", str(tmp_path / "none.toml"))
    assert isinstance(result.exception, UsageError)
    assert "cannot read the grid" in str(result.exception)


def test_a_plan_counts_trainings_once_and_says_what_was_never_timed() -> None:
    cells = resolve(Request(attack="none,adra", defense="none", target="resnet", seed=(0, 1)))
    base = make_record()

    def timed(number: int, session: float, attack: float) -> object:
        timings = {"honest training": session, "attack": attack}
        return base.model_copy(update={"spec": cells[number].spec, "timings": timings})

    assert make_plan(cells, []) == (cells, 2, 0.0, 0, 4)
    past = [timed(0, 10, 0), timed(1, 30, 0), timed(2, 20, 5)]
    plan = make_plan(cells, past)  # type: ignore[arg-type]
    assert (plan.trainings, plan.seconds, plan.untimed) == (2, 2 * 20 + 2 * 5, 0)


@pytest.mark.parametrize("parts", [1, 2, 3, 12])
def test_shards_are_whole_sessions_disjoint_and_complete(parts: int, tmp_path: Path) -> None:
    cells = load_grid(written(tmp_path, GRID)).cells()
    shards = [take_shard(cells, number, parts) for number in range(1, parts + 1)]
    assert sorted(map(id, (cell for shard in shards for cell in shard))) == sorted(map(id, cells))
    keys = [{cell.session_key() for cell in shard} for shard in shards]
    sizes = [len(some) for some in keys]
    assert sum(sizes) == len(set().union(*keys)) == 10, "no session is in two shards"
    assert max(sizes) - min(sizes) <= 1


def test_a_dry_run_runs_nothing_and_knows_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_costs, "_MOST_SECONDS", -1.0)  # its own tests time steps
    file, output = str(written(tmp_path, GRID)), tmp_path / "out"
    said = ask("run", file, "--dry-run", "--output", str(output)).stdout
    assert "18 cells: 0 have a record, 18 to run in 10 trainings" in said
    assert said.count("seeds 0, 1: to run") == 9, "a line for all seeds of a cell"
    assert not output.exists()
    first = load_grid(Path(file)).cells()[0]
    data = load_data(first.data_spec(), Silent())
    base = make_record()
    assert base.utility is not None
    done = base.model_copy(
        update={
            "utility": base.utility.model_copy(update={"n": first.spec.held_out}),
            "spec": first.spec,
            "cell_id": first.cell_id(data.sha256),
            "data": {"sha256": data.sha256},
            "timings": {"honest training": 60.0},
        }
    )
    write_record(record_folder(output, done), done)
    answer = ask("run", file, "--dry-run", "--output", str(output))
    said = answer.stdout
    assert "a dry run reads no images" in answer.stderr
    assert "seed 0: has a record (ok)" in said
    assert said.count("seeds 0, 1: to run") == 8
    assert said.count("seed 1: to run") == 1
    assert "18 cells: 1 have a record, 17 to run in 10 trainings; about " in said


def swept(*sweeps: str, **asked: str) -> list[dict[str, float]]:
    cells = resolve(Request(attack="none", target="resnet:depth=18", sweeps=sweeps, **asked))
    return [cell.spec.parameters["defense"] for cell in cells]


def test_a_sweep_is_a_cell_per_value() -> None:
    given = swept("defense.dcor.alpha=0.1, 0.5", defense="none,dcor:estimator=published")
    assert [one.get("alpha") for one in given] == [None, 0.1, 0.5]
    both = swept(
        "defense.proxy-adversary.alpha=0.1,0.5",
        "defense.proxy-adversary.steps=1,2",
        defense="proxy-adversary",
    )
    assert [(one["alpha"], one["steps"]) for one in both] == [
        (0.1, 1),
        (0.1, 2),
        (0.5, 1),
        (0.5, 2),
    ]


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ("defense.dcor.alpha", "not of the form"),
        ("defense.dcor.alpha=", "not of the form"),
        ("defence.dcor.alpha=1", "not of the form"),
        ("defense.gaussian-noise.sigma=1,2", "no defense 'gaussian-noise'"),
        ("defense.dcor.alpah=0.1", "did you mean 'alpha'"),
        ("defense.dcor.alpha=0.1,much", "alpha"),
    ],
)
def test_a_sweep_that_is_wrong(sweep: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        swept(sweep, defense="none,dcor")


def test_a_grid_file_may_sweep(tmp_path: Path) -> None:
    text = GRID.replace(
        "cut = 1\n", 'cut = 1\ndefense = "dcor"\nsweeps = ["defense.dcor.alpha=0.1,0.2"]\n'
    )
    assert len(load_grid(written(tmp_path, text)).cells()) == 2 * (2 * 2 * 2 + 2)


@pytest.mark.parametrize(("track", "cells", "trainings"), [("phantoms", 20, 12)])
def test_an_official_track_is_run_by_its_name(
    track: str, cells: int, trainings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_costs, "_MOST_SECONDS", -1.0)  # what is not timed is said so
    said = ask("run", track, "--dry-run", "--output", str(tmp_path))
    assert said.exit_code == 0
    assert f"{cells} cells: 0 have a record, {cells} to run in {trainings} trainings" in said.output
    assert f"; no timing yet for {cells} of them" in said.output


@pytest.mark.parametrize("track", ["phantoms", "retinamnist", "x-rays"])
def test_official_tracks_are_in_order(track: str) -> None:
    grid = load_grid(official_tracks()[track])
    assert grid.title
    cells = grid.cells()
    assert {cell.spec.attack for cell in cells} >= {"adra", "fsha"}
    assert {cell.spec.defense for cell in cells} >= {"none", "dcor"}
    if track != "phantoms":
        assert {cell.spec.seed for cell in cells} == set(range(5))


def test_threads_can_be_given_beside_a_file(tmp_path: Path) -> None:
    file = written(tmp_path, GRID)
    assert {cell.spec.threads for cell in load_grid(file).with_threads(3).cells()} == {3}
    assert "--threads" in ask("run", "--help").stdout
    with pytest.raises(UsageError, match="threads"):
        load_grid(file).with_threads(0)


def test_the_help_of_run_has_every_key_of_its_file() -> None:
    said = ask("run", "--help").stdout
    _, _, keys = said.partition("Keys of GRID:")
    shared, _, own = keys.partition("Keys of each [[grid]]")
    for model, text in ((GridFile, shared), (Request, own)):
        for name, field in model.model_fields.items():
            assert f"\n  {name} " in text
            assert str(field.description).split()[0] in text
