"""Values per image of cells that ran: they are what the record averages, and always the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import splitsec
from splitsec.cells.choosing_victims import choose_held_out_victims, choose_training_victims
from splitsec.cells.image_lists import held_out_clients, held_out_images, training_victims
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.writing import CURVE_VALUES, _bounded
from splitsec.data.parts import Data
from splitsec.errors import DataError
from splitsec.leaderboard.samples import Resampler
from splitsec.leaderboard.web.publication import publish, values_of
from splitsec.metrics.utility import roc_auc
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from splitsec.records.agreement import compare
from splitsec.records.artifacts import artifact
from splitsec.records.image_values import ImageMeasures, ImageSetValues
from splitsec.records.per_image import PER_IMAGE, load_per_image
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord, find_records
from splitsec.running.runs import run_cells
from splitsec.running.verification import Checker, read_claims
from support.cells import COUNTS
from support.parts import make_part

ATTACK = '''from splitsec import Attack, Parameters, ThreatModel


class Blur(Attack[Parameters]):
    """Guess the mean image, a little brighter where the smashed data are."""

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True)

    def fit(self, progress):
        self._guess = self.view.public_images.mean(0)

    def reconstruct(self, smashed):
        level = smashed.flatten(1).mean(1).sigmoid()[:, None, None, None]
        return (0.9 * self._guess + 0.1 * level).clamp(0, 1)
'''


def run(folder: Path, **given: Any) -> Record:
    file = folder.parent / "blur.py"
    file.write_text(ATTACK)
    asked: dict[str, Any] = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    asked |= {"settings": COUNTS, "clients": 2, "isolate": False} | given
    settings = asked.pop("settings")
    parameters = dict(one.split("=") for one in settings)
    return splitsec.evaluate(f"{file}:Blur", parameters=parameters, output=folder, **asked)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    found = run(tmp_path_factory.mktemp("values") / "results")
    assert found.status == "ok", found.reason
    return found


def content(record: Record) -> bytes:
    assert record.folder is not None
    return artifact(record.folder, record, PER_IMAGE).read_bytes()


def arrays_of(measures: ImageMeasures | None) -> dict[str, NDArray[np.float64]]:
    assert measures is not None
    return {name: one for name, one in vars(measures).items() if one is not None}


def sets_of(record: Record) -> dict[str, ImageSetValues]:
    values = load_per_image(record)
    assert values.training is not None
    assert values.held_out is not None
    return {"training": values.training, "held_out": values.held_out}


def test_the_record_holds_the_means_of_the_values(record: Record) -> None:
    assert record.victims is not None
    for name, own in sets_of(record).items():
        scores = getattr(record.victims, name)
        attack, reference = arrays_of(own.attack), arrays_of(own.reference)
        assert scores.count == len(attack["mse"]) == len(reference["mse"])
        identified = scores.privacy.identification
        for kind in ("structure", "pixel"):
            assert attack[kind].mean() == pytest.approx(getattr(identified, kind))
        for error in ("mse", "ssim"):
            wrong = [
                1 - one[error] if error == "ssim" else one[error] for one in (attack, reference)
            ]
            skill = 1 - wrong[0].mean() / wrong[1].mean()
            assert skill == pytest.approx(getattr(scores.skill, error))
        assert "per_image" not in scores.privacy.model_dump_json()


def test_the_utility_follows_from_the_answers(record: Record) -> None:
    answers = sets_of(record)["held_out"].utility
    assert answers is not None
    assert record.utility is not None
    assert answers.outputs is not None
    assert answers.labels is not None
    assert roc_auc(answers.outputs, answers.labels) == pytest.approx(record.utility.auc)


def test_images_and_clients_are_named(record: Record) -> None:
    frame = splitsec.per_image_frame(record, "held_out")
    assert frame["client"].tolist() == [0, 0, 1, 1]
    training = splitsec.per_image_frame(record)
    assert training["client"].tolist() == [0, 0, 1, 1]
    rows = [*frame["row"], *training["row"]]
    assert len(set(rows)) == len(rows), "victims of training are not held out"


def test_fewer_held_out_images_are_attacked_than_give_the_utility(record: Record) -> None:
    own = sets_of(record)["held_out"]
    assert own.images is not None
    assert own.images.rows is not None
    assert own.attacked is not None
    assert (own.attacked // 4).tolist() == [0, 0, 1, 1], "two of each client's four"
    assert (np.diff(own.attacked) > 0).all()
    assert own.utility is not None
    assert own.utility.outputs is not None
    assert len(own.utility.outputs) == 8
    frame = splitsec.per_image_frame(record, "held_out")
    assert frame["row"].tolist() == own.images.rows[own.attacked].tolist()
    assert record.victims is not None
    assert record.victims.held_out.count == 4


@pytest.mark.parametrize(
    ("images", "clients", "count", "of_each"),
    [
        (5, 1, 2, [2]),
        (5, 1, 9, [5]),
        (50, 2, 3, [2, 1]),
        (6, 3, 3, [1, 1, 1]),
        (4, 3, 5, [2, 1, 1]),
    ],
)
def test_victims_are_of_all_clients(
    images: int, clients: int, count: int, of_each: list[int]
) -> None:
    data = data_of(images, clients)
    owners = held_out_clients(images, clients)
    victims = choose_held_out_victims(data, count)
    assert np.bincount(owners[victims], minlength=clients).tolist() == of_each
    assert victims == sorted(set(victims))
    trained = choose_training_victims(data, count)
    shares = [count // clients + (client < count % clients) for client in range(clients)]
    assert [sum(one == client for one, _ in trained) for client in range(clients)] == [
        min(share, images) for share in shares
    ]
    assert trained == sorted(set(trained))


def test_who_is_a_victim_follows_from_all_images_and_not_from_a_row() -> None:
    some, others = (choose_training_victims(data_of(1000, 1, digest), 200) for digest in ("a", "b"))
    assert some == choose_training_victims(data_of(1000, 1, "a"), 200)
    rows = {row for _, row in some}
    assert 20 < len(rows & {row for _, row in others}) < 60, "as many as by chance"
    assert 20 < len(rows & set(range(200))) < 60, "not the first ones"
    held_out = choose_held_out_victims(data_of(1000, 1, "a"), 200)
    assert 20 < len(rows & set(held_out)) < 60


def test_a_board_resamples_victims_apart_from_answers(record: Record) -> None:
    resampler = Resampler({0: record})
    assert (resampler.victims, resampler.held_out) == (4, 8)
    leakage, utility = resampler.leakage(0), resampler.utility(0)
    assert leakage is not None
    assert utility is not None
    assert len(leakage) == len(utility)
    assert record.utility is not None
    assert np.ptp(utility) > 0


def data_of(images: int, clients: int, digest: str = "") -> Data:
    parts = tuple(make_part(images) for _ in range(clients))
    return Data(DataSpec(), ("a", "b"), "", digest, parts, *[make_part(images)] * 3, ())


def test_the_same_cell_gives_the_same_bytes(record: Record, tmp_path: Path) -> None:
    again = run(tmp_path / "results")
    assert content(again) == content(record)
    assert compare(record, again).agreement == "identical"


@pytest.mark.slow
def test_isolation_gives_the_same_bytes(record: Record, tmp_path: Path) -> None:
    assert content(run(tmp_path / "results", isolate=True)) == content(record)


def test_a_cell_without_an_attack_has_the_answers(tmp_path: Path) -> None:
    given = dict(one.split("=") for one in COUNTS)
    alone = splitsec.evaluate(
        "none", parameters=given, target="fsha-client", cut=1, size=16, output=tmp_path
    )
    values = load_per_image(alone)
    assert values.training is None
    assert values.held_out is not None
    assert values.held_out.attack is None
    assert values.held_out.utility is not None


def test_what_is_published_has_its_values(record: Record, tmp_path: Path) -> None:
    assert record.folder is not None
    (found,) = find_records([record.folder])
    copy = publish(found, tmp_path / "store")
    assert record.folder.parent not in artifact(copy.folder or tmp_path, copy, PER_IMAGE).parents
    for name, own in sets_of(copy).items():
        assert own.images is not None
        assert own.images.names is None
        expected = arrays_of(sets_of(record)[name].attack)
        for measure, values in arrays_of(own.attack).items():
            assert np.array_equal(values, expected[measure])
    assert values_of(StoredRecord(copy, copy.folder)) == content(copy), "publishing twice"
    assert compare(copy, record).agreement == "identical"


def test_the_record_is_small(record: Record) -> None:
    assert record.folder is not None
    assert (record.folder / "record.json").stat().st_size < 100_000


def test_long_curves_are_averaged() -> None:
    short = {"training": {"loss": [1.0, 2.0]}}
    assert _bounded(short) == short
    long = {
        "training": {"loss": [1.0, 2.0]},
        "attack": {"a": [3.0] * 10_000, "b": [0.0, 1.0] * 900},
    }
    kept = _bounded(long)
    assert kept["training"] == long["training"]
    assert sum(len(one) for named in kept.values() for one in named.values()) <= CURVE_VALUES
    assert set(kept["attack"]["a"]) == {3.0}
    assert np.mean(kept["attack"]["b"]) == pytest.approx(0.5, abs=0.01)


def test_lists_name_files_and_keep_patients_together() -> None:
    parts = [make_part(4, seed=index) for index in range(4)]
    named = [
        type(part)(
            part.images,
            part.labels,
            part.indices + 10 * place,
            patients=part.indices // 2,
            names=tuple(f"{place}-{row}.png" for row in part.indices),
        )
        for place, part in enumerate(parts)
    ]
    unnamed = Data(DataSpec(), ("a", "b"), "", "", tuple(parts[:2]), *parts[2:], parts[3], ())
    known = Data(DataSpec(), ("a", "b"), "", "", tuple(named[:2]), *named[2:], named[3], ())
    victims = [(0, 0), (0, 1), (1, 3)]
    listed = training_victims(known, victims)
    assert listed.names is not None
    assert listed.rows is not None
    assert listed.names.tolist() == ["0-0.png", "0-1.png", "1-3.png"]
    assert (listed.rows.tolist(), listed.clients.tolist()) == ([0, 1, 13], [0, 0, 1])
    assert listed.patients.tolist() == [0, 0, 1]
    alone = training_victims(unnamed, victims)
    assert alone.names is None
    held_out = held_out_images(unnamed)
    everybody = [*alone.patients.tolist(), *held_out.patients.tolist()]
    assert len(set(everybody)) == len(everybody)
    assert held_out.clients.tolist() == [0, 0, 1, 1]


def test_a_missing_file_is_said_and_the_scores_are_used(tmp_path: Path) -> None:
    class Telling(Silent):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    asked: dict[str, Any] = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    cells = resolve(Request(attack="none", settings=COUNTS, **asked))
    (first,) = run_cells(cells, tmp_path, Telling(), rerun="failed")
    assert first.folder is not None
    artifact(first.folder, first, PER_IMAGE).unlink()
    Telling.said.clear()
    (again,) = run_cells(cells, tmp_path, Telling(), rerun="failed")
    assert again == first
    assert "copy the folder 'artifacts'" in Telling.said[0]
    (claim,) = read_claims([tmp_path])
    Checker({}, Silent()).check(claim)
    assert any("values per image" in one for one in claim.problems)
    with pytest.raises(DataError, match="cannot read the values per image"):
        publish(StoredRecord(first, first.folder), tmp_path / "store")
