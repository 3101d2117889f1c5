"""What a person reads about a record; and records made for tests of what shows them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splitsec.cli.summary import headline, print_summary
from splitsec.metrics.label_schema import LabelScore, LabelScores
from splitsec.records.record import FLAGS, Record
from splitsec.records.wording import with_interval
from support.records import failed_record, make_ensemble, make_record, make_scores, without_lpips


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
    assert "Yet, asked" in headline(make_record(make_scores(0.01, privacy=make_scores().privacy)))
    assert "Yet" not in headline(make_record(make_scores(leakage=0.5)))


def test_every_attack_of_an_ensemble_is_shown() -> None:
    text = printed(make_ensemble())
    lines = [line.split() for line in text.splitlines()]
    assert ["a", "0.30", "0.30", "31%", "7", "not", "converged"] in lines
    assert ["b", "0.62", "0.62", "62%", "7"] in lines
    assert ["c", "-", "-", "-", "0", "failed"] in lines
    assert "c failed: it broke" in text
    assert "Of 2 attacks b did best." in " ".join(text.replace("│", "").split())
    assert "an attack of the ensemble did not apply or failed" in text


def test_every_measure_stands_beside_the_trivial_attacker() -> None:
    text = printed(make_record())
    row = next(line for line in text.splitlines() if line.strip().startswith("MSE"))
    assert row.split()[-6:] == ["0.2058", "0.4321", "0.52", "0.2058", "0.4321", "0.52"]
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
    assert row.split()[-3:] == ["0.2058", "0.4321", "0.52"]


def test_a_failed_record_says_why() -> None:
    text = printed(failed_record())
    assert "no result (failed): training diverged at step 7" in " ".join(text.split())
    assert "server recovered" not in text


def test_a_number_is_written_with_its_interval_if_it_has_one() -> None:
    assert with_interval(0.887, 0.881, 0.902) == "0.89 (0.88 to 0.90)"
    assert with_interval(0.5, 0.25, 0.75, ".1%") == "50.0% (25.0% to 75.0%)"
    assert with_interval(0.887, None, None) == with_interval(0.887, math.nan, math.nan) == "0.89"
    assert with_interval(None, None, None) == with_interval(math.nan, None, None) == "-"


def test_predicted_masks_stand_beside_leakage() -> None:
    labels = LabelScores(
        measure="jaccard",
        training={
            "features": LabelScore.of(0.9, 0.6, 8),
            "feature_gradient": LabelScore.of(0.2, 0.6, 8),
        },
        held_out={"features": LabelScore.of(0.8, 0.5, 8)},
    )
    text = printed(make_record(labels=labels))
    assert "What the server knows of the masks" in text
    rows = {line.strip()[:13]: line.split() for line in text.splitlines()}
    assert rows["its own featu"][-6:] == ["0.90", "0.60", "0.75", "0.80", "0.50", "0.60"]
    assert rows["feature gradi"][-3:] == ["0.20", "0.60", "0.00"], "worse than a guess counts as 0"
    assert text.index("What the server knows") < text.index("For comparison")
    assert "What the server knows" not in printed(make_record())
