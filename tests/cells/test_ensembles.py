"""An ensemble: members recover what they recover alone, and the worst of them counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import PluginError
from splitsec.isolation import Isolation
from splitsec.plugins.description import threat_model_of
from splitsec.plugins.ensemble import together
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import load_plugin
from splitsec.progress import Silent, Stage
from splitsec.records.members import MemberScores
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from splitsec.records.wording import headline, members_in_words
from splitsec.running.runs import run_cells
from support.cells import COUNTS
from support.interruption import Killed

ENSEMBLE = '''
"""Several attacks."""
from splitsec import Parameters
from splitsec.plugins.ensemble import Ensemble, Member

class Several(Ensemble[Parameters]):
    """Several attacks."""
    @classmethod
    def members(cls, parameters):
        return [Member(name, given) for name, given in {members!r}]
'''
ATTACK = '''
"""Guesses the mean image, unless it says something else."""
import torch
from splitsec import Attack, NotApplicable, ThreatModel

class Mean(Attack):
    """Guesses."""
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True)
    def fit(self, progress):
        self.fitted = True
        {fit}
    def reconstruct(self, smashed):
        {reconstruct}
        return self.view.public_images.mean(0).expand(len(smashed), *self.view.image_shape)
'''
KINDS = ("listening", "malicious")
QUICK: list[tuple[str, dict[str, Any]]] = [
    ("regression", {"queries": 40}),
    ("adra", {"epochs": 2, "queries": 20}),
    ("pseudo-client", {"epochs": 1, "afterwards": 2}),
    ("fsha", {"iterations": 2, "image_steps": 5}),
]


def ensemble(folder: Path, members: list[tuple[str, dict[str, Any]]]) -> str:
    (folder / "several.py").write_text(ENSEMBLE.format(members=members))
    return str(folder / "several.py")


def member(folder: Path, name: str, fit: str = "pass", reconstruct: str = "pass") -> str:
    (folder / f"{name}.py").write_text(ATTACK.format(fit=fit, reconstruct=reconstruct))
    return str(folder / f"{name}.py")


def asked(attack: str) -> Request:
    return Request(
        attack=attack, target="fsha-client", cut=(1,), size=16, threads=1, settings=COUNTS
    )


def run(
    folder: Path, attack: str, isolation: Isolation | None = None, progress: Silent | None = None
) -> list[Record]:
    cells = resolve(asked(attack), isolation)
    records = list(run_cells(cells, folder / "out", progress or Silent()))
    for record in records:
        assert load_record(record_folder(folder / "out", record)) == record
    return records


def spelled(name: str, given: dict[str, Any]) -> str:
    return ",".join([name, *(f"{key}={value}" for key, value in given.items())]).replace(
        ",", ":", 1
    )


@pytest.mark.slow
def test_members_recover_what_they_recover_alone_and_the_worst_counts(tmp_path: Path) -> None:
    words = ",".join(spelled(name, given) for name, given in QUICK)
    alone, whole = run(tmp_path, words), run(tmp_path, ensemble(tmp_path, QUICK))[0]
    assert [one.status for one in (*alone, whole)] == ["ok"] * 5, whole.reason
    assert "ensemble-incomplete" not in whole.flags
    for one, each in zip(whole.members, alone, strict=True):
        assert each.victims is not None
        assert (one.attack, one.status, one.reason) == (each.spec.attack, "ok", None)
        assert one.parameters == each.spec.parameters["attack"]
        assert one.training == MemberScores.of(each.victims.training)
        assert one.held_out == MemberScores.of(each.victims.held_out)
        assert (one.access, one.convergence) == (each.access, each.convergence)
    for name in ("training", "held_out"):
        scores = [getattr(each.victims, name) for each in alone]
        worst = max(scores, key=lambda one: (one.leakage.mean or 0, one.skill.mse))
        assert getattr(whole.victims, name) == worst
    leakages = {each.spec.attack: each.leakage.value or 0.0 for each in alone if each.leakage}
    assert whole.leakage is not None
    assert whole.leakage.value == max(leakages.values())
    assert leakages[str(whole.leakage.member)] == whole.leakage.value
    assert f"Of 4 attacks {whole.leakage.member} did best." in headline(whole)
    threats = [each.threat_model for each in alone if each.threat_model]
    assert whole.threat_model == together(threats)
    assert whole.threat_model is not None and whole.threat_model.listens
    assert whole.access is not None
    assert whole.access.queries == sum(each.access.queries for each in alone if each.access)
    assert "adra: decoder loss" in whole.history["attack"]


def test_a_member_that_fails_or_does_not_apply_is_named_and_the_others_count(
    tmp_path: Path,
) -> None:
    wrong = [
        member(tmp_path, "raises", fit="raise ValueError('no')"),
        member(tmp_path, "refuses", fit="raise NotApplicable('not here')"),
        member(
            tmp_path,
            "diverges",
            reconstruct="return torch.full((len(smashed), 3, 16, 16), torch.nan)",
        ),
        member(tmp_path, "misshapes", reconstruct="return smashed"),
        member(tmp_path, "works"),
    ]
    (record,) = run(tmp_path, ensemble(tmp_path, [("none", {}), *((one, {}) for one in wrong)]))
    assert (record.status, record.reason) == ("ok", None)
    stood = {one.attack: (one.status, one.held_out is not None) for one in record.members}
    assert stood == {
        "none": ("skipped", False),
        "raises": ("failed", False),
        "refuses": ("skipped", False),
        "diverges": ("failed", False),
        "misshapes": ("failed", False),
        "works": ("ok", True),
    }
    assert {"ensemble-incomplete"} <= set(record.flags)
    assert "non-finite" not in record.flags
    assert record.leakage is not None and record.leakage.member == "works"
    said = " ".join(members_in_words(record))
    assert "raises failed: attack 'raises' raised ValueError in fit(): no" in said
    assert "refuses skipped: not here" in said
    assert "Only works worked." in headline(record)


@pytest.mark.parametrize(
    ("fit", "status"),
    [("raise NotApplicable('not here')", "skipped"), ("raise ValueError('no')", "failed")],
)
def test_without_a_member_that_works_there_is_no_result(
    fit: str, status: str, tmp_path: Path
) -> None:
    one, none = member(tmp_path, "one", fit=fit), ("none", {})
    (record,) = run(tmp_path, ensemble(tmp_path, [(one, {}), none]))
    assert record.status == status
    assert "no member of attack 'several' has a result (one: " in str(record.reason)
    assert [each.status for each in record.members] == [status, "skipped"]


def test_a_cell_is_another_one_when_a_member_changes(tmp_path: Path) -> None:
    def cell_id(**given: Any) -> str:
        (cell,) = resolve(asked(ensemble(tmp_path, [(one, {}), ("adra", given)])))
        return cell.cell_id("0")

    one = member(tmp_path, "one")
    before = cell_id(epochs=2)
    assert cell_id(epochs=2) == before != cell_id(epochs=3)
    member(tmp_path, "one", fit="self.guess = 0")
    assert cell_id(epochs=2) != before


@pytest.mark.slow
def test_an_ensemble_works_in_processes_of_its_own(tmp_path: Path) -> None:
    several = ensemble(tmp_path, QUICK[:1])
    (shared,) = run(tmp_path / "shared", several)
    (apart,) = run(tmp_path / "apart", several, Isolation(attacks="all"))
    assert apart.status == "ok", apart.reason
    assert "in-process" in shared.flags and "in-process" not in apart.flags
    assert apart.victims == shared.victims
    assert apart.cell_id == shared.cell_id
    with pytest.raises(PluginError, match="its members must be built in"):
        resolve(asked(ensemble(tmp_path, [(member(tmp_path, "own"), {})])), Isolation())


class _Ending(Silent):
    """Ends the run in the second step of one stage, as a kill would."""

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        with super().stage(name, total) as stage:
            yield _EndingStage() if name == self._name else stage


class _EndingStage:
    steps = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += bool(steps)
        if self.steps == 2:
            raise Killed


@pytest.mark.slow
def test_a_killed_ensemble_goes_on_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splitsec.checkpoint.EVERY_SECONDS", 0.0)
    two = [("adra", {"epochs": 3, "queries": 20}), ("adra", {"epochs": 4, "queries": 20})]
    several = ensemble(tmp_path, two)
    (whole,) = run(tmp_path / "whole", several)
    with pytest.raises(Killed):
        run(tmp_path, several, progress=_Ending("training adra's decoder"))
    assert list((tmp_path / "out" / ".checkpoints").rglob("*.pt"))
    (resumed,) = run(tmp_path, several)
    assert resumed.numbers() == whole.numbers()


def test_what_several_attackers_do_together() -> None:
    active, passive = ThreatModel(active=True), ThreatModel(labels=True)
    assert together([passive]) == passive
    assert together([active]) == active
    assert together([active, passive]) == ThreatModel(active=True, listens=True, labels=True)


@pytest.mark.parametrize(
    ("server", "threat"),
    [
        ("queries", {"queries": True, "active": False}),
        ("listening", {"queries": False, "active": False}),
        ("malicious", {"queries": False, "active": True, "listens": True}),
    ],
)
def test_strongest_declares_no_more_than_its_kind_of_server_has(
    server: str, threat: dict[str, bool]
) -> None:
    strongest = load_plugin("attack", "strongest")
    declared = threat_model_of(strongest, {"server": server}).model_dump()
    assert {name: declared.get(name, False) for name in threat} == threat
    assert not declared["pairs"] and not declared["client_weights"]


def test_a_malicious_server_also_listens() -> None:
    cls = load_plugin("attack", "strongest").cls
    listening, malicious = (cls.members(cls.Parameters(server=one)) for one in KINDS)
    assert [one for one in malicious if one in listening] == list(listening)
    assert len(malicious) > len(listening)
