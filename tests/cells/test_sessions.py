"""A cell may hold several sessions: an honest one, and those that its attack hijacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.isolation import isolation_for
from splitsec.progress import Silent
from splitsec.records.artifacts import artifact
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from splitsec.records.wording import threat_in_words
from splitsec.running.executors import InProcess
from splitsec.running.runs import run_cells
from support.cells import COUNTS

ENSEMBLE = '''
"""An ensemble that listens once and hijacks twice."""
import torch
from splitsec import Attack, Hijacking, ThreatModel

class Ensemble(Attack):
    def __init__(self, parameters, view, generator):
        super().__init__(parameters, view, generator)
        self.heard, self.asked, self.shapes = 0, [0, 0], []

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(active=True, listens=True, public_images=True)

    def hijacking(self):
        return [Hijacking(2), Hijacking(3)]

    def observe(self, exchange):
        self.heard += 1

    def answer(self, message):
        self.asked[message.session] += 1
        # The second session is answered with nothing: its client stays as it began.
        return torch.ones_like(message.smashed) * (1 - message.session)

    def reconstruct(self, smashed):
        raise AssertionError("there are several sessions")

    def reconstruct_from(self, sessions):
        self.shapes.append(len(sessions))
        differ = [float(not torch.equal(one, sessions[0])) for one in sessions[1:]]
        self.differences = differ + [float(not torch.equal(sessions[1], sessions[2]))]
        return self.view.public_images.mean(0).expand(len(sessions[0]), -1, -1, -1)

    def curves(self):
        return {"heard": [self.heard], "asked": self.asked, "sessions": self.shapes,
                "differences": self.differences}
'''


def run(folder: Path, isolate: bool, *, keep_models: bool = False) -> Record:
    file = folder / "ensemble.py"
    file.write_text(ENSEMBLE)
    request = Request(
        attack=str(file),
        target="fsha-client",
        cut=1,
        size=16,
        settings=[*COUNTS, "training.epochs=2"],
        threads=1,
    )
    cells = resolve(request, isolation_for(None, sandbox=False) if isolate else None)
    store = folder / ("apart" if isolate else "here")
    (record,) = run_cells(cells, store, Silent(), executor=InProcess(keep_models))
    assert record.status == "ok", record.reason
    return record


def test_an_attack_sees_the_honest_session_and_both_that_it_hijacks(tmp_path: Path) -> None:
    record = run(tmp_path, isolate=False, keep_models=True)
    curves = record.history["attack"]
    assert curves["heard"] == [record.session["honest_exchanges"]]
    assert curves["asked"] == [2, 3]
    assert curves["sessions"] == [3, 3], "held-out and training victims, in three sessions each"
    assert curves["differences"] == [1, 1, 1], "each session has a client of its own"
    assert record.session["attacked_exchanges"] == record.session["honest_exchanges"] + 5
    assert record.threat_model is not None
    assert "it behaved, and listened" in threat_in_words(record, record.threat_model)
    folder = record_folder(tmp_path / "here", record)
    assert artifact(folder, record, "hijacked_client").is_file()
    assert artifact(folder, record, "hijacked_client_2").is_file()


@pytest.mark.slow
def test_isolation_changes_no_number_of_an_ensemble(tmp_path: Path) -> None:
    here, apart = run(tmp_path, isolate=False), run(tmp_path, isolate=True)
    assert apart.provenance.isolation == "process"
    numbers = here.numbers() | {"flags": apart.flags}
    assert numbers == apart.numbers()


def test_a_threat_model_that_does_not_listen_is_written_as_it_was() -> None:
    from splitsec.plugins.grants import ThreatModel

    assert "listens" not in json.loads(ThreatModel(active=True).model_dump_json())
    assert json.loads(ThreatModel(active=True, listens=True).model_dump_json())["listens"] is True
