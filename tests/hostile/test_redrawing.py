"""Attacks that draw the phantoms again instead of reconstructing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitsec import evaluate
from splitsec.data.drawn.source import Phantoms
from splitsec.data.loading import load_data
from splitsec.data.secret import SECRET_VARIABLE, commitment
from splitsec.isolation.sandbox import environment
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.settings import DRAWN
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.progress import Silent
from splitsec.records.record import Record
from support.records import cell

SECRET = "correct horse battery staple, twice over"
SETTINGS: dict[str, Any] = {
    "training.epochs": 1,
    "counts.private": 16,
    "counts.public": 16,
    "counts.validation": 8,
    "counts.held_out": 16,
    "counts.victims": 8,
}

REDRAWS = """
import numpy as np
import torch
from splitsec import Attack, Parameters, ThreatModel
from splitsec.cells.choosing_victims import choose_held_out_victims
from splitsec.data.drawn.fundus import draw_fundus
from splitsec.data.drawn.source import Phantoms
from splitsec.data.loading import load_data
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.progress import Silent

COUNTS = dict(private=16, public=16, validation=8, held_out=16, size=16)

class {name}(Attack[Parameters]):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True{grants})

    def reconstruct(self, smashed):
        images = torch.as_tensor(np.asarray(self.known(smashed)), dtype=torch.float32) / 255
        return images[: len(smashed)]
{how}
"""
KNOWS_THE_PARTITION = """
    def known(self, smashed):
        spec = DataSpec(parameters={"stream": 0}, **COUNTS)
        data = load_data(spec, Silent())
        return data.held_out.images[choose_held_out_victims(data, 8)]
"""
FINDS_THE_STREAM = """
    def known(self, smashed):
        mine = (self.view.public_images[0] * 255).round().byte().numpy()
        for stream in range(2):
            drawn = load_data(DataSpec(parameters={"stream": stream}, **COUNTS), Silent())
            if any(np.array_equal(mine, one) for one in drawn.public.images):
                return drawn.held_out.images[choose_held_out_victims(drawn, 8)]
        return np.full((len(smashed), *self.view.image_shape), 128)
"""
RECOGNISES_WHAT_IT_DRAWS = """
    def known(self, smashed):
        seeds = [(0, index) for index in range(67)] + [(COMMITTED, index) for index in range(67)]
        drawn = np.stack([draw_fundus(*one, 16) for one in seeds])
        given = torch.as_tensor(drawn).float() / 255
        sent = self.view.query(given).flatten(1)
        far, which = (smashed.flatten(1)[:, None] - sent).norm(dim=-1).min(1)
        drawn = drawn[which.numpy()]  # similar ones would be an honest guess
        return np.where((far > 1e-3).numpy()[:, None, None, None], 128, drawn)
"""
ATTACKS = {
    "partition": ("", KNOWS_THE_PARTITION),
    "stream": ("", FINDS_THE_STREAM),
    "recognised": (", queries=True", RECOGNISES_WHAT_IT_DRAWS),
}


def run(tmp_path: Path, how: str, committed: str | None) -> Record:
    grants, code = ATTACKS[how]
    guessed = int(committed or "0", 16)
    file = tmp_path / f"{how}.py"
    text = REDRAWS.format(name="Redraws", grants=grants, how=code)
    file.write_text(text.replace("COMMITTED", str(guessed)))
    return evaluate(
        str(file),
        target="fsha-client",
        cut=1,
        size=16,
        threads=1,
        isolate=False,
        output=tmp_path / "results",
        parameters=SETTINGS,
    )


@pytest.mark.parametrize("how", ATTACKS)
def test_it_has_every_image_of_a_known_seed_and_none_under_a_secret(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    public = run(tmp_path, how, None)
    assert public.leakage is not None and public.leakage.value > 0.9
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    hidden = run(tmp_path, how, commitment())
    assert hidden.leakage is not None and hidden.leakage.value < 0.1


@pytest.mark.parametrize("name", ["phantom-fundus", "phantom-cxr"])
def test_a_secret_draws_other_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for secret in (None, SECRET, SECRET[::-1], SECRET):
        monkeypatch.delenv(SECRET_VARIABLE, raising=False)
        if secret:
            monkeypatch.setenv(SECRET_VARIABLE, secret)
        spec = DataSpec(
            name=name,
            parameters={"stream": 0},
            size=16,
            private=16,
            public=8,
            validation=4,
            held_out=8,
            partition_commitment=commitment(),
        )
        data = load_data(spec, Silent())
        images = np.concatenate([data.private[0].images, data.public.images, data.held_out.images])
        drawn.append({one.tobytes() for one in images})
    assert not (drawn[0] & drawn[1] or drawn[0] & drawn[2] or drawn[1] & drawn[2])
    assert drawn[1] == drawn[3]


def test_a_guest_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    assert SECRET not in "".join(environment("/tmp").values())


def test_boards_of_everything_that_is_drawn_are_called_smoke_tests() -> None:
    names = {listed.name for listed in list_plugins("data") if listed.origin == "built in"}
    drawn = {name for name in names if issubclass(load_plugin("data", name).cls, Phantoms)}
    assert drawn == DRAWN
    for data in ("phantom-fundus", "retinamnist"):
        (board,) = rank([cell("fsha", "none", 0, 0.5, spec={"data": data})], "defenses")
        assert ("px (drawn images: a smoke test)" in board.title) == (data in drawn)
