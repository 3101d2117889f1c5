"""What a person reads about a record; and records made for tests of what shows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splitsec.cli.summary import headline, print_summary
from splitsec.metrics.schema import VictimScores
from splitsec.records.record import FLAGS, Record


def baseline(mse: float, leakage: float | None = 0.0) -> dict[str, Any]:
    return {
        "mse": mse,
        "psnr": 17.0,
        "ssim": 0.5,
        "lpips": 0.4,
        "structure": 0.01,
        "pixel": 0.02,
        "leakage": leakage,
    }


def make_scores(leakage: float | None = 0.62, **changes: Any) -> VictimScores:
    """Return scores of two victims in a gallery of 100."""
    measure = {"mean": 0.1234, "per_image": [0.1, 0.1468]}
    values: dict[str, Any] = {
        "privacy": {
            "mse": measure,
            "psnr": measure,
            "ssim": measure,
            "lpips": measure,
            "identification": {"structure": 0.83, "pixel": 0.91, "gallery": 100},
        },
        "skill": {"mse": 0.7, "ssim": 0.6, "lpips": 0.56},
        "leakage": {"mean": leakage, "per_image": [0.6, 0.64], "share_above_random": 1.0},
        "reference": {"mse": "mean-image", "ssim": "median-image", "lpips": "median-image"},
        "trivial": {"mean-image": baseline(0.4321), "median-image": baseline(0.45)},
        "yardsticks": {"colour": baseline(0.3, 0.2), "components-10": baseline(0.05, 0.7)},
        "equivalent_components": 6.25,
        "equivalent_components_capped": False,
        "clamped_share": 0.0,
    }
    return VictimScores.model_validate(values | changes)


def without_lpips() -> VictimScores:
    """Return scores of a machine that has no LPIPS weights."""
    values = make_scores().model_dump()
    values["privacy"]["lpips"] = values["skill"]["lpips"] = values["reference"]["lpips"] = None
    values["leakage"] = {"mean": None, "per_image": None, "share_above_random": None}
    for group in ("trivial", "yardsticks"):
        for one in values[group].values():
            one["lpips"] = one["leakage"] = None
    return VictimScores.model_validate(values)


def make_record(
    training: VictimScores | None = None,
    *,
    held_out_only: bool = False,
    seed: int = 0,
    **changes: Any,
) -> Record:
    """Return a record as ``splitsec eval`` would write it."""
    training = training or make_scores()
    headline_set = "held_out" if held_out_only else "training"
    values: dict[str, Any] = {
        "cell_id": f"{seed:064x}",
        "status": "ok",
        "spec": {
            "target": "resnet",
            "cut": 3,
            "data": "phantom-fundus",
            "size": 32,
            "attack": "fsha",
            "defense": "dcor",
            "profile": "quick",
            "seed": seed,
            "private": 500,
            "public": 500,
            "validation": 100,
            "held_out": 200,
            "victims": 200,
            "threads": 2,
            "training": {"epochs": 10, "batch_size": 32, "learning_rate": 1e-3},
            "parameters": {"attack": {"iterations": 600}, "defense": {"alpha": 0.5}},
        },
        "threat_model": {"active": True, "public_images": True},
        "data": {"disclosures": ["phantoms are drawn"]},
        "victims": {"training": None if held_out_only else training, "held_out": training},
        "leakage": {"value": training.leakage.mean, "victims": headline_set},
        "utility": {
            "accuracy": 0.815,
            "auc": 0.877,
            "auc_interval": [0.81, 0.93],
            "trivial": {"accuracy": 0.5, "auc": 0.5},
            "n": 200,
            "distance_correlation": 0.42,
        },
        "access": {"public_images": 500},
        "session": {"honest_exchanges": 160, "attacked_exchanges": 600, "ended": None},
        "history": {
            "training": {"loss": [1 / (1 + step) for step in range(160)]},
            "attack": {"client loss": [float(step) for step in range(60)], "empty": []},
        },
        "flags": ["in-process"],
        "provenance": {
            "plugins": {},
            "packages": {},
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "device": "cpu",
            "threads": 2,
            "commit": None,
            "dirty": None,
            "created": "2026-11-23T00:00:00+00:00",
            "command": ["splitsec", "eval", "--attack", "fsha", "--output", "a b"],
        },
        "timings": {"attack": 60.0, "scoring": 4.4},
        "peak_memory_bytes": 1_500_000_000,
        "artifacts": {"panel": "panel.png"},
    }
    return Record.model_validate(values | changes)


def failed_record(seed: int = 0) -> Record:
    """Return the record of a cell whose training diverged."""
    nothing = dict.fromkeys(("victims", "leakage", "utility", "threat_model", "access"))
    return make_record(
        status="failed", reason="training diverged at step 7", seed=seed, artifacts={}, **nothing
    )


def printed(record: Record, folder: Path | None = None, width: int = 80) -> str:
    stream = io.StringIO()
    print_summary(record, Console(file=stream, width=width), folder)
    return stream.getvalue()


def test_the_headline_says_leakage_in_words() -> None:
    says = headline(make_record())
    assert "recovered 62%" in says
    assert "about 6.2 well-chosen numbers" in says
    assert "83% by shapes" in says
    assert "chance: 1%" in says


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"equivalent_components": 0.4}, "less than one number"),
        ({"equivalent_components": 100.0, "equivalent_components_capped": True}, "more than 100 "),
        ({"equivalent_components": 30.0}, "about 30 "),
        ({"leakage": 0.0}, "no closer to the private ones than the best guess"),
    ],
)
def test_other_headlines(changes: dict[str, Any], says: str) -> None:
    assert says in headline(make_record(make_scores(**changes)))


def test_identification_contradicts_a_leakage_of_zero() -> None:
    assert "Yet, asked" in headline(make_record(make_scores(leakage=0.01)))
    assert "Yet" not in headline(make_record(make_scores(leakage=0.5)))


def test_every_measure_stands_beside_the_trivial_attacker() -> None:
    text = printed(make_record())
    row = next(line for line in text.splitlines() if line.strip().startswith("MSE"))
    assert row.split()[-6:] == ["0.1234", "0.4321", "0.70", "0.1234", "0.4321", "0.70"]
    for measure in ("PSNR", "SSIM", "LPIPS", "leakage", "by shapes", "by pixels"):
        assert measure in text
    assert "the mean of the public images (MSE)" in text
    assert "10 principal components" in text


def test_utility_stands_beside_the_trivial_predictor() -> None:
    text = printed(make_record())
    assert "0.877 (0.810 to 0.930)" in text
    assert "81.5%" in text
    assert "50.0%" in text
    assert "with the defense dcor on" in text
    spec = make_record().spec.model_copy(update={"defense": "none"})
    assert "without a defense" in printed(make_record(spec=spec))


def test_files_and_command_can_be_copied_whole() -> None:
    folder = Path("/somewhere") / ("long-name-" * 12)
    lines = [line.strip() for line in printed(make_record(), folder).splitlines()]
    assert f"record: {folder / 'record.json'}" in lines
    assert f"panel: {folder / 'panel.png'}" in lines
    assert "again: splitsec eval --attack fsha --output 'a b'" in lines


@pytest.mark.parametrize(
    "record",
    [
        make_record(),
        make_record(held_out_only=True),
        make_record(without_lpips()),
        make_record(flags=list(FLAGS), notes=["a [bold]note[/bold] with brackets"]),
        failed_record(),
    ],
    ids=["ok", "held-out only", "no LPIPS", "every flag", "failed"],
)
def test_it_fits_80_columns_and_needs_no_colour(record: Record) -> None:
    text = printed(record)
    copied = ("again: ", "record: ", "panel: ")
    for line in text.splitlines():
        assert len(line) <= 80 or line.strip().startswith(copied)
    assert "\x1b" not in text
    assert record.spec.title() in text


def test_missing_lpips_is_said_and_never_a_zero() -> None:
    record = make_record(without_lpips())
    assert "not available" in headline(record)
    text = printed(record)
    row = next(line for line in text.splitlines() if line.strip().startswith("LPIPS (0"))
    assert row.split()[-6:] == ["n/a"] * 6
    leakage = next(line for line in text.splitlines() if line.strip().startswith("leakage "))
    assert leakage.split()[1::2] == ["n/a", "n/a"]


def test_flags_are_in_words_and_invalid_ones_stand_out() -> None:
    text = " ".join(printed(make_record(flags=["non-finite", "oracle-access"])).split())
    assert f"INVALID, not to be ranked: {FLAGS['non-finite']} [non-finite]" in text
    assert f"flag: {FLAGS['oracle-access']} [oracle-access]" in text
    assert "note: phantoms are drawn" in text


def test_the_threat_model_is_in_words() -> None:
    active = " ".join(printed(make_record()).split())
    assert "Malicious" in active
    assert "images of its own" in active
    assert "500 public images" in active
    passive = " ".join(printed(make_record(threat_model={"active": False})).split())
    assert "Honest but curious" in passive
    assert "only the traffic" in passive


def test_cells_that_differ_in_a_parameter_only_can_be_told_apart() -> None:
    text = printed(make_record())
    assert "defense dcor: alpha=0.5" in text
    assert "attack fsha: iterations=600" in text


def test_an_oracle_is_shown_on_held_out_images_only() -> None:
    text = printed(make_record(held_out_only=True))
    assert "training images are not scored" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("MSE"))
    assert row.split()[-3:] == ["0.1234", "0.4321", "0.70"]


def test_a_failed_record_says_why() -> None:
    text = printed(failed_record())
    assert "no result (failed): training diverged at step 7" in " ".join(text.split())
    assert "server recovered" not in text
