"""Mixed precision: what crosses was computed in bfloat16, and boards do not mix it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from splitsec.cells.private_side import PrivateSide
from splitsec.data.loading import load_data
from splitsec.errors import UsageError
from splitsec.leaderboard.ranking import rank
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import evaluate
from splitsec.training.trained import TrainedSession
from support.cells import FEW, tiny_cells
from support.records import cell


def trained(precision: str) -> TrainedSession:
    from dataclasses import replace

    (one,) = tiny_cells("none", "none", None)
    one = replace(one, spec=one.spec.model_copy(update={"precision": precision}))
    side = PrivateSide(one, load_data(one.data_spec(), Silent()))
    return side.honest(Silent())


def test_what_crosses_is_float32_and_was_computed_in_bfloat16() -> None:
    whole, mixed = trained("float32"), trained("bf16")
    for victim, sent in mixed.traffic.sent.items():
        assert sent.dtype == torch.float32
        assert torch.equal(sent, sent.bfloat16().float())
        assert torch.allclose(sent, whole.traffic.sent[victim], atol=0.3)
    assert not all(torch.equal(one, one.bfloat16().float()) for one in whole.traffic.sent.values())
    assert all(weight.dtype == torch.float32 for weight in mixed.model.client.parameters())
    assert all(weight.dtype == torch.float32 for weight in mixed.model.server.parameters())


def run(folder: Path, **options: Any) -> Record:
    usual = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1, "output": folder}
    return evaluate("transport", "none", parameters=FEW, precision="bf16", **usual, **options)


@pytest.mark.slow
def test_isolated_clients_give_the_same_numbers(tmp_path: Path) -> None:
    here, apart = (run(tmp_path / str(one), isolate=one) for one in (False, True))
    assert [here.status, apart.status] == ["ok", "ok"], [here.reason, apart.reason]
    assert here.victims == apart.victims
    assert here.utility == apart.utility


@pytest.mark.slow
@pytest.mark.parametrize("target", ["unet:width=4", "resnet:depth=18,labels=private"])
def test_a_client_with_the_end_computes_it_in_bfloat16_too(target: str, tmp_path: Path) -> None:
    data = "phantom-cxr" if target.startswith("unet") else "phantom-fundus"
    record = evaluate(
        "none",
        "none",
        parameters=FEW,
        precision="bf16",
        target=target,
        data=data,
        cut=1,
        size=32,
        threads=1,
        output=tmp_path,
    )
    assert record.status == "ok", record.reason


def test_it_is_part_of_the_cell_and_the_default_changes_no_id() -> None:
    (one,) = tiny_cells("none", "none", None)
    assert "precision" not in one.spec.model_dump()
    mixed = one.spec.model_copy(update={"precision": "bf16"})
    assert mixed.model_dump()["precision"] == "bf16"
    assert "precision=bf16" in mixed.title()


def test_boards_do_not_mix_precisions() -> None:
    records = [
        cell("fsha", "none", seed, 0.8, spec={"precision": precision})
        for seed in range(2)
        for precision in ("float32", "bf16")
    ]
    for place, one in enumerate(records):
        records[place] = one.model_copy(update={"cell_id": f"{place:064x}"})
    assert len(rank(records, "defenses")) == 2


def test_another_precision_is_refused() -> None:
    from splitsec.cells.requests import make_request

    with pytest.raises(UsageError, match="precision"):
        make_request({"precision": "fp16"})
