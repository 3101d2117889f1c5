"""What attacks say of their own convergence, in records and in flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitsec import Convergence
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from splitsec.running.runs import run_cells
from support.cells import COUNTS

ATTACK = '''
"""Guesses the mean image, and says how it got there."""
from splitsec import Attack, Convergence, ThreatModel

class Mean(Attack):
    """Guesses."""

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True)

    def reconstruct(self, smashed):
        return self.view.public_images.mean(0).expand(len(smashed), *self.view.image_shape)

    def convergence(self):
        return {says}
'''


def run(folder: Path, attack: str, isolation: Isolation | None = None) -> list[Record]:
    asked = Request(attack=attack, target="fsha-client", cut=1, size=16, threads=1, settings=COUNTS)
    return list(run_cells(resolve(asked, isolation), folder / "out", Silent()))


@pytest.mark.parametrize(
    ("half", "full", "reached"),
    [(1.0, 0.96, True), (1.0, 0.94, False), (1.0, 3.0, True), (0.0, 0.0, True)],
)
def test_five_per_cent_are_allowed(half: float, full: float, reached: bool) -> None:
    assert Convergence(measured_on="pairs", half=half, full=full).reached == reached


def test_noise_is_averaged_and_the_best_is_not() -> None:
    curve = [1.0] * 50 + [0.9, 1.1] * 25
    last = Convergence.of_last("pairs", curve)
    assert (last.half, last.full) == (1.0, pytest.approx(1.0, abs=0.03))
    assert Convergence.of_best("pairs", curve).full == 0.9
    assert Convergence.of_best("pairs", [0.5]) == Convergence(
        measured_on="pairs", half=0.5, full=0.5
    )


@pytest.mark.parametrize(
    ("full", "flagged", "isolation"),
    [
        (0.99, False, None),
        (0.5, True, None),
        pytest.param(0.5, True, Isolation(attacks="all"), marks=pytest.mark.slow),
    ],
)
def test_a_record_holds_what_an_attack_says(
    full: float, flagged: bool, isolation: Isolation | None, tmp_path: Path
) -> None:
    plugin = tmp_path / "mean.py"
    says = f"[Convergence(measured_on='pairs', half=1.0, full={full})]"
    plugin.write_text(ATTACK.format(says=says))
    (record,) = run(tmp_path, str(plugin), isolation)
    assert record.status == "ok", record.reason
    assert record.convergence == (Convergence(measured_on="pairs", half=1.0, full=full),)
    assert ("attack-not-converged" in record.flags) == flagged
    assert load_record(record_folder(tmp_path / "out", record)) == record


@pytest.mark.parametrize("says", ["0.5", "[0.5]"])
def test_something_else_is_refused(says: str, tmp_path: Path) -> None:
    plugin = tmp_path / "mean.py"
    plugin.write_text(ATTACK.format(says=says))
    (record,) = run(tmp_path, str(plugin))
    assert record.status == "failed"
    assert "expected a list of splitsec.Convergence" in (record.reason or "")


@pytest.mark.slow
def test_built_in_attacks_say_what_they_measured_on(tmp_path: Path) -> None:
    records = run(
        tmp_path,
        "adra:epochs=4,queries=20,blend=false,adra:epochs=2,queries=20,kept=0,blend=false,"
        "regression:queries=20,pseudo-client:epochs=2,afterwards=2,fsha:iterations=21,image_steps=5",
    )
    measured = [[one.measured_on for one in record.convergence] for record in records]
    assert measured == [
        ["kept pairs"],
        ["pairs trained on"],
        [],
        ["distance of moments", "kept pairs of the pseudo-client"],
        ["public images"],
    ]
    for record in records:
        unfinished = not all(one.reached for one in record.convergence)
        assert ("attack-not-converged" in record.flags) == unfinished
    assert "attack-not-converged" in records[0].flags, "four epochs are too few"
