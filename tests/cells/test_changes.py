"""Settings that are not the defaults show in titles, file names, dry runs and on boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from splitsec.cells.cell import Cell
from splitsec.cells.requests import make_request, request_of
from splitsec.cells.resolve import resolve
from splitsec.cells.transport import build_again
from splitsec.cli.eval import command as eval_command
from splitsec.isolation import isolation_for
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.settings import plugin_name, plugin_names
from splitsec.plugins.names import KINDS, Kind
from splitsec.records.record import Record
from splitsec.records.spec import value_in_words
from splitsec.records.store import find_folder, folder_of, record_folder, stored, write_record
from splitsec.running import measured_costs
from support.records import SEEDS, cell, make_record

SMALL = {"target": "resnet:depth=18", "data": "phantom-fundus"}


def resolved(**values: Any) -> list[Cell]:
    return resolve(make_request({**SMALL, "attack": "none", "defense": "none", **values}))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"defense": "dcor"}, "none against dcor on resnet:depth=18 cut"),
        ({"defense": "dcor:alpha=0.5"}, "against dcor on"),  # the default, spelled out
        ({"defense": "dcor:alpha=0.9"}, "against dcor:alpha=0.9 on"),
        ({"settings": ["defense.dcor.alpha=0.9"], "defense": "dcor"}, "against dcor:alpha=0.9 on"),
        ({"attack": "adra:epochs=7,queries=2"}, "adra:epochs=7,queries=2 against"),
        ({"target": "resnet:labels=private"}, "on resnet:labels=private cut"),
        ({"settings": ["training.learning_rate=0.01"]}, "px, training.learning_rate=0.01, seed 0"),
        ({"settings": ["counts.private=40"]}, "px, counts.private=40, seed 0"),
        ({"clients": 2}, "px, clients=2, seed 0"),
    ],
)
def test_what_is_not_the_default_is_in_the_title(asked: dict[str, Any], shown: str) -> None:
    (one,) = resolved(**asked)
    assert shown in one.spec.title()
    if "training" not in shown and "counts" not in shown and "clients" not in shown:
        assert one.spec.title().endswith("phantom-fundus 32 px, seed 0")


def test_defaults_of_a_profile_are_defaults() -> None:
    for profile in ("quick", "standard", "paper"):
        for one in resolved(
            attack="fsha,adra,pseudo-client", defense="dcor", profile=profile, target="resnet"
        ):
            assert one.spec.changed == {}, one.spec.title()


@pytest.mark.parametrize("kind", ["defense.dcor.alpha", "attack.adra.epochs"])
def test_a_sweep_names_each_strength(kind: str) -> None:
    values = {"attack": "adra", "defense": "dcor"}
    cells = resolved(**values, sweeps=[f"{kind}=1,2,3" if "epochs" in kind else f"{kind}=0.1,0.9"])
    titles = [one.spec.title() for one in cells]
    assert len(set(titles)) == len(titles) > 1
    assert len({one.spec.brief() for one in cells}) == len(cells)
    assert len({folder_of(Path(), one.spec, "0" * 64) for one in cells}) == len(cells)


def test_a_dry_run_has_no_two_equal_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_costs, "_MOST_SECONDS", -1.0)  # nothing is timed
    said = CliRunner().invoke(
        eval_command,
        "--attack none --defense dcor --data phantom-fundus --dry-run "
        f"--sweep defense.dcor.alpha=0.1,0.5,0.9 --output {tmp_path}",
    )
    lines = [line for line in said.stdout.splitlines() if " against " in line]
    assert len(lines) == len(set(lines)) == 3
    assert sum("dcor:alpha=0.9" in line for line in lines) == 1


def test_a_folder_is_named_by_what_is_not_the_default(tmp_path: Path) -> None:
    (one,) = resolved(defense="dcor:alpha=0.9", settings=["training.epochs=3"])
    name = folder_of(tmp_path, one.spec, "ab" * 32).name
    assert name.startswith("none-dcor-alpha=0.9-resnet-depth=18-cut3-phantom-fundus-32px-seed0-")
    assert name.endswith("-training.epochs=3-ababababab")


def test_a_name_of_a_folder_is_safe_and_short(tmp_path: Path) -> None:
    strange = {"weights": "/home/me/ä b*c.pt", "note": "x" * 500}
    spec = make_record().spec.model_copy(
        update={
            "parameters": {"attack": strange},
            "changed": {"attack": list(strange), "training": ["unheard of"], "counts": ["title"]},
        }
    )
    name = folder_of(tmp_path, spec, "ab" * 32).name
    assert name.isascii()
    assert len(name) < 144
    assert "weights=_b_c.pt" in name
    assert "home" not in name
    assert "unheard" not in spec.title()


def test_a_cell_is_found_under_another_name(tmp_path: Path) -> None:
    record = make_record()
    write_record(record_folder(tmp_path, record), record)
    renamed = record.spec.model_copy(update={"changed": {"counts": ["private"]}})
    assert folder_of(tmp_path, renamed, record.cell_id) != record_folder(tmp_path, record)
    assert find_folder(tmp_path, renamed, record.cell_id) == record_folder(tmp_path, record)
    alike = record.cell_id[:10] + "1" * 54  # another cell whose id begins the same way
    assert stored(tmp_path, renamed, alike, "failed", pytest.fail) is None
    found = stored(tmp_path, renamed, record.cell_id, "failed", pytest.fail)
    assert found is not None
    assert found.cell_id == record.cell_id
    assert stored(tmp_path, renamed, "f" * 64, "failed", pytest.fail) is None
    assert stored(tmp_path / "none", renamed, record.cell_id, "failed", pytest.fail) is None


def test_what_is_changed_is_no_part_of_a_cells_id() -> None:
    (one,) = resolved(defense="dcor:alpha=0.9")
    assert one.spec.changed == {"defense": ["alpha"], "target": ["depth"]}
    other = Cell(one.spec.model_copy(update={"changed": {}}), *one.plugins)
    assert other.cell_id("x") == one.cell_id("x")
    assert other.session_key() == one.session_key()


def test_a_re_run_finds_by_itself_what_is_changed() -> None:
    (one,) = resolved(defense="dcor:alpha=0.9", settings=["training.epochs=3"])
    hidden = one.spec.model_copy(update={"changed": {}})
    plugins: dict[Kind, str] = {kind: getattr(hidden, kind) for kind in KINDS}
    assert build_again(hidden, plugins).spec == one.spec
    (same,) = resolve(request_of(one.spec, {}))
    assert same.spec == one.spec


@pytest.mark.slow
def test_an_isolated_attack_says_what_is_changed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pydantic import Field\n"
        "from splitsec import Attack, Parameters, ThreatModel\n\n\n"
        "class Strength(Parameters):\n"
        "    steps: int = Field(5, description='steps')\n"
        "    rate: float = Field(0.1, description='rate')\n\n\n"
        "class Mine(Attack[Strength]):\n"
        "    Parameters = Strength\n"
        "    profiles = {'quick': {'rate': 0.2}}\n\n"
        "    @classmethod\n"
        "    def threat_model(cls, parameters):\n"
        "        return ThreatModel()\n\n"
        "    def reconstruct(self, smashed):\n"
        "        raise NotImplementedError\n"
    )
    path = f"{tmp_path / 'mine.py'}"
    request = make_request(
        {**SMALL, "attack": f"{path}:steps=9,{path}:rate=0.2", "defense": "none"}
    )
    isolation = isolation_for(
        None, sandbox=False, hidden=(), seconds=60.0, memory_gib=8.0, processes=32
    )
    steps, usual = resolve(request, isolation)
    assert steps.spec.named("attack") == "mine:steps=9"
    assert usual.spec.named("attack") == "mine"


def changed(record: Record, kinds: dict[str, list[str]]) -> Record:
    return record.model_copy(update={"spec": record.spec.model_copy(update={"changed": kinds})})


def test_a_board_names_a_strength_that_is_not_the_default() -> None:
    strong = [cell("a", "dcor", s, 0.2, parameters={"alpha": 0.9}) for s in SEEDS]
    records = [changed(cell("a", "none", s, 0.6), {}) for s in SEEDS]
    records += [changed(one, {"defense": ["alpha"]}) for one in strong]
    (board,) = rank(records, "defenses")
    assert board.rows["name"].tolist() == ["dcor:alpha=0.9", "none"]
    usual = [changed(one, {}) for one in strong]
    assert set(plugin_names(usual)(usual[0]).values()) == {"a", "dcor", "resnet cut 3"}


def test_records_from_before_are_compared_with_todays_defaults() -> None:
    for alpha, name in ((0.9, "dcor:alpha=0.9"), (0.5, "dcor")):
        old = cell("a", "dcor", 0, 0.2, parameters={"alpha": alpha})
        assert old.spec.changed is None
        assert plugin_name(old, "defense") == name
    foreign = cell("a", "mine", 0, 0.2, parameters={"alpha": 0.5})
    assert plugin_name(foreign, "defense") == "mine:alpha=0.5"


def test_boards_say_training_that_is_not_the_default() -> None:
    def slow(one: Record) -> Record:
        training = one.spec.training.model_copy(update={"learning_rate": 0.0001})
        spec = one.spec.model_copy(
            update={"training": training, "changed": {"training": ["learning_rate"]}}
        )
        return one.model_copy(update={"spec": spec})

    (board,) = rank([slow(cell("a", "none", s, 0.6)) for s in SEEDS], "defenses")
    assert "training.learning_rate=0.0001" in board.title


def test_two_files_of_one_name_are_two_rows() -> None:
    records = [
        changed(
            cell("a", "d", s, 0.1 * (1 + place), parameters={"weights": f"/{place}/w.pt"}),
            {"defense": ["weights"]},
        )
        for place in range(2)
        for s in SEEDS
    ]
    names = plugin_names(records)
    assert {names(one)["defense"] for one in records} == {
        'd:weights="/0/w.pt"',
        'd:weights="/1/w.pt"',
    }


def test_other_images_under_the_same_name_are_another_board() -> None:
    records = [cell("a", "none", s, 0.6) for s in SEEDS]
    others = [
        one.model_copy(update={"data": {**one.data, "sha256": "f" * 64}})
        for one in (cell("a", "none", s, 0.2) for s in SEEDS)
    ]
    boards = rank([*records, *others], "defenses")
    assert sorted(board.rows["leakage"].round(6).tolist() for board in boards) == [[0.2], [0.6]]
    assert sum("images=" in board.title for board in boards) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.9, "0.9"),
        (True, "true"),
        (None, "null"),
        ("fsha", "fsha"),
        ("/home/me/scans/", "scans"),
        (r"C:\data\scans", "scans"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_short(value: object, words: str) -> None:
    assert value_in_words(value) == words
