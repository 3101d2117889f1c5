"""The report: its figures are the records', limits are judged by intervals, and text is data."""

from __future__ import annotations

import html
import re
import socket
from pathlib import Path

import pytest

from splitsec.errors import UsageError
from splitsec.leaderboard.report import report
from splitsec.leaderboard.report_rows import Limits, report_rows, verdict_of
from splitsec.metrics.figures import Estimate
from splitsec.records.per_image import load_per_image
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord
from splitsec.running.runs import evaluate
from support.cells import FEW
from support.hostile import HOSTILE
from support.records import cell, failed_record


def stored(*records: Record) -> list[StoredRecord]:
    return [StoredRecord(one, None) for one in records]


def text_of(page: str) -> str:
    """Return what a reader sees, on one line."""
    shown = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def test_its_figures_are_those_of_the_records() -> None:
    records = [cell("fsha", "none", 0, 0.8), cell("adra", "none", 0, 0.6)]
    (row,) = report_rows(stored(*records))
    assert row.attack == "fsha"
    assert row.leakage.value == pytest.approx(0.8)
    assert row.identified.value == pytest.approx(0.01 + 0.99 * 0.8)
    assert row.utility.value == pytest.approx(0.9)
    said = text_of(report(stored(*records)))
    assert "the server recovered 80% of what there is to recover of an image" in said
    assert "in 80 of 100 cases" in said


def test_a_mean_over_seeds_has_an_interval_over_them() -> None:
    records = [cell("fsha", "none", seed, 0.5 + seed / 10) for seed in range(3)]
    (row,) = report_rows(stored(*records))
    assert row.leakage.value == pytest.approx(0.6)
    assert row.leakage.low is not None
    assert row.leakage.high is not None
    assert row.leakage.low < 0.5
    assert row.leakage.high > 0.7
    assert "3 runs of each: intervals are over runs and images." in text_of(
        report(stored(*records))
    )


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(0.2, 0.1, 0.3), "within"),
        (Estimate(0.2, 0.1, 0.31), "unclear"),
        (Estimate(0.4, 0.3, 0.5), "unclear"),
        (Estimate(0.4, 0.301, 0.5), "over"),
        (Estimate(0.2), "within"),
        (Estimate(0.4), "over"),
    ],
)
def test_a_limit_is_kept_if_the_whole_interval_keeps_it(estimate: Estimate, verdict: str) -> None:
    (row,) = report_rows(stored(cell("fsha", "none", 0, 0.8)))
    assert row._replace(leakage=estimate).verdicts(Limits(leakage=0.3)) == {"leakage": verdict}


def test_all_limits_must_be_kept() -> None:
    assert verdict_of({}) is None
    assert verdict_of({"leakage": "within", "loss": "within"}) == "within"
    assert verdict_of({"leakage": "within", "loss": "unclear"}) == "unclear"
    assert verdict_of({"leakage": "unclear", "loss": "over"}) == "over"


def several() -> list[StoredRecord]:
    return stored(
        *(cell("fsha", "none", seed, 0.8, auc=0.9) for seed in range(3)),
        *(cell("fsha", "dcor", seed, 0.2, auc=0.89) for seed in range(3)),
        *(cell("fsha", "noise", seed, 0.1, auc=0.6) for seed in range(3)),
    )


def test_what_a_protection_costs_is_beside_the_same_model_without_one() -> None:
    rows = {row.defense: row for row in report_rows(several())}
    assert list(rows) == ["none", "dcor", "noise"]
    assert rows["none"].loss is None
    assert rows["noise"].loss is not None
    assert rows["noise"].loss.value == pytest.approx(0.3)


def test_the_verdict_names_the_best_way_that_keeps_the_limits() -> None:
    said = text_of(report(several(), Limits(leakage=0.3)))
    assert "That is more than you allow" in said
    assert "the model is worth most behind dcor at the cut 3: it leaks 20%" in said
    assert "20%, and costs 0.010 (0.010 to 0.010) of AUC" in said
    none = text_of(report(several(), Limits(leakage=0.05)))
    assert "None of the 3 ways that were tried is shown to keep all of your limits" in none
    assert "it leaks least behind noise at the cut 3: 10%" in none
    assert "No limit was stated" in text_of(report(several()))


def test_one_way_alone_says_that_no_other_was_tried() -> None:
    said = text_of(report(stored(cell("fsha", "none", 0, 0.8))))
    assert "No other cut and no protection was tried." in said
    assert "1 run of each: intervals are over images alone" in said
    assert "Protections: none was tried" in said


def test_what_failed_is_said_and_nothing_to_report_is_an_error() -> None:
    said = text_of(report(stored(cell("fsha", "none", 0, 0.8), failed_record(1))))
    assert "No result (failed)" in said
    with pytest.raises(UsageError, match="there is nothing to report; run splitsec audit"):
        report(stored(failed_record(0)))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_text_is_data(name: str) -> None:
    record = cell("fsha", "none", 0, 0.8, notes=[name], spec={"data": name})
    try:
        page = report(stored(record))
    except UnicodeEncodeError:  # a surrogate, which no record that is read can have
        return
    assert "<script" not in page
    assert "onerror" not in re.sub(r"&lt;[^<]*", "", page)
    assert "\x1b" not in page


def test_no_path_and_no_machine_is_on_the_page() -> None:
    record = cell(
        "fsha", "none", 0, 0.8, notes=["read /home/jane/scans/1.png"], spec={"data": "folder"}
    )
    record.spec.parameters["data"] = {"path": "/home/jane/scans", "trained_on": "C:\\x\\names.txt"}
    record.provenance.command[:] = ["splitsec", "eval", "--output", "/home/jane/out"]
    page = report(stored(record))
    assert "/home" not in page
    assert "jane" not in page
    assert "C:" not in page
    assert socket.gethostname() not in page or len(socket.gethostname()) < 4
    assert "folder scans" in page


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A record of a tiny cell, with its pictures."""
    return evaluate(
        "transport",
        "none",
        target="fsha-client",
        cut=1,
        size=16,
        threads=1,
        isolate=False,
        parameters={"training.mode": "inference", **FEW},
        output=tmp_path_factory.mktemp("report"),
    )


def test_it_shows_the_patients_that_leak_most_and_loads_nothing(measured: Record) -> None:
    page = report([StoredRecord(measured, measured.folder)])
    assert page.count("data:image/png;base64,") == 12
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "url(" not in page
    said = text_of(page)
    assert "the worst 95th percentile typical lower quarter" in " ".join(
        re.findall(r"<strong>([^<]*)</strong>", page)
    )
    assert "Nothing is known of how well" not in said


def test_its_own_interval_is_over_the_images(measured: Record) -> None:
    (row,) = report_rows([StoredRecord(measured, measured.folder)])
    assert measured.leakage is not None
    assert row.leakage.value == pytest.approx(measured.leakage.value)
    assert row.leakage.low is not None
    values = getattr(load_per_image(measured), measured.leakage.victims)
    assert row.worst == pytest.approx(min(max(values.attack.leakage.max(), 0), 1), abs=1e-6)


def test_pictures_of_patients_are_announced_and_can_be_left_out(measured: Record) -> None:
    found = [StoredRecord(measured, measured.folder)]
    assert "These are images of real patients" in text_of(report(found))
    without = report(found, pictures=False)
    assert "data:image/png" not in without
    assert "images of real patients" not in without


def test_several_sets_of_images_are_refused() -> None:
    one, other = cell("fsha", "none", 0, 0.8), cell("fsha", "none", 1, 0.7)
    other.data["sha256"] = "another"
    with pytest.raises(UsageError, match=r"are of 2 sets of images .* name the folders of one"):
        report(stored(one, other))


def test_swapped_classes_are_on_page_one() -> None:
    record = cell("fsha", "none", 0, 0.8, flags=["classes-swapped"])
    said = text_of(report(stored(record)))
    assert "What the model is worth is not known: the model ranks the classes the wrong" in said


def test_each_limit_has_its_mark() -> None:
    page = report(several(), Limits(leakage=0.3, loss=0.02))
    assert "✗&nbsp;leakage" in page
    assert "✓&nbsp;leakage" in page
    assert "✗&nbsp;loss" in page
    assert "✓&nbsp;loss" in page


def test_damaged_pictures_are_left_out(measured: Record, tmp_path: Path) -> None:
    lost = measured.model_copy(update={"artifacts": {"pictures": "../artifacts/none.npz"}})
    page = report([StoredRecord(lost, tmp_path / "cell")])
    assert "is without the pictures of single patients" in page
