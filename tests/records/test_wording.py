"""What is said of a record: labels first, and nothing that was not there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from splitsec.metrics.label_schema import LabelScore, LabelScores
from splitsec.plugins.grants import ThreatModel
from splitsec.records.agreement import compare
from splitsec.records.frames import records_frame
from splitsec.records.record import FLAGS, LABELS_SHARED, Record
from splitsec.records.wording import (
    flag_in_words,
    flags_of,
    headline,
    labels_in_words,
    linear_in_words,
    threat_in_words,
)
from support.records import failed_record, make_record


def of_target(labels: str | None, **changes: Any) -> Record:
    """Return a record whose target has the parameter ``labels``, as records of protocol 4 do."""
    base = make_record()
    target = {} if labels is None else {"labels": labels}
    spec = base.spec.model_copy(update={"parameters": {**base.spec.parameters, "target": target}})
    return make_record(spec=spec, **changes)


def judged(auc: float | None, interval: tuple[float, float] | None, **changes: Any) -> Record:
    utility = make_record().utility
    assert utility is not None
    values = {"auc": auc, "auc_interval": interval, "jaccard": None, "trivial": {"auc": 0.5}}
    return make_record(utility=utility.model_copy(update=values | changes))


@pytest.mark.parametrize("record", [of_target("shared"), make_record(flags=[LABELS_SHARED])])
def test_shared_labels_are_said_first(record: Record) -> None:
    assert headline(record).startswith("The clients sent the server the label of every training")
    assert "The server recovered 62%" in headline(record)
    assert flags_of(record)[0] == LABELS_SHARED
    assert records_frame([record])["flags"].str.startswith(LABELS_SHARED).all()


@pytest.mark.parametrize("labels", ["private", None])
def test_labels_that_were_not_shared_are_not_said(labels: str | None) -> None:
    record = of_target(labels)
    assert headline(record).startswith("The server recovered")
    assert LABELS_SHARED not in flags_of(record)


def test_a_cell_without_a_result_says_that_first() -> None:
    failed = failed_record().model_copy(update={"flags": [LABELS_SHARED]})
    assert headline(failed).startswith("This cell has no result")


def test_the_session_of_a_record_says_who_had_the_labels() -> None:
    assert make_record(session={"labels": "private"}).labels_shared() is False
    assert make_record(session={"labels": "shared"}).labels_shared() is True
    assert make_record(session={}).labels_shared() is None


def test_an_attack_had_no_labels_that_were_not_sent() -> None:
    threat = ThreatModel(labels=True, server_model=True)
    private = threat_in_words(of_target("private"), threat)
    assert "labels that clients share" not in private
    assert "The clients kept their labels." in private
    assert "it had the honest server's network." in private
    for labels in ("shared", None):
        assert "the labels that clients share" in threat_in_words(of_target(labels), threat)


def test_an_attack_had_nothing_that_did_not_exist() -> None:
    threat = ThreatModel(public_images=True, public_labels=True, defense_spec=True)
    record = make_record(spec=make_record().spec.model_copy(update={"public": 0}))
    assert "images" not in threat_in_words(record, threat).partition("It used")[0]
    assert "the defense's name" in threat_in_words(record, threat)
    undefended = make_record(spec=make_record().spec.model_copy(update={"defense": "none"}))
    assert "the defense's name" not in threat_in_words(undefended, threat)
    assert "images of its own" in threat_in_words(undefended, threat)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            judged(0.53, (0.45, 0.61)),
            "cannot be told from the trivial predictor: AUC 0.53 (0.45 to 0.61) against 0.50",
        ),
        (judged(0.31, (0.25, 0.37)), "is worse than the trivial predictor: AUC 0.31"),
        (judged(1.0, (1.0, 1.0)), "too few held-out images of a class to tell"),
        (judged(0.5, None), "cannot be compared with the trivial predictor: AUC 0.50 against"),
        (
            judged(
                None,
                None,
                jaccard=0.62,
                jaccard_interval=(0.6, 0.64),
                trivial={"jaccard": 0.66},
            ),
            "is worse than the trivial predictor: Jaccard 0.62 (0.60 to 0.64) against 0.66",
        ),
    ],
)
def test_a_model_that_learned_nothing_is_worse_or_cannot_be_told(record: Record, says: str) -> None:
    for flag, model in (
        ("target-never-learned", "the undefended model"),
        ("defense-broke-utility", "with the defense the model"),
    ):
        words = flag_in_words(flag, record)
        assert says in words
        assert model in words
    assert flag_in_words("clamped", record) == FLAGS["clamped"]


def compared(value: float, pixels: float, colour: float, **changes: Any) -> Record:
    """Return the record of an undefended model beside linear models."""
    base = make_record()
    named = {"defense": changes.pop("defense", "none"), "channels": changes.pop("channels", 3)}
    linear = {"linear_pixels": pixels, "linear_colour": colour}
    record = judged(value, (value - 0.05, value + 0.05), **linear, **changes)
    return record.model_copy(update={"spec": base.spec.model_copy(update=named)})


def test_linear_models_stand_beside_the_utility() -> None:
    assert linear_in_words(compared(0.85, 0.804, 0.78)) == (
        "A linear model on the pixels reaches AUC 0.80, on the mean colour 0.78."
    )
    grey = linear_in_words(compared(0.85, 0.804, 0.78, channels=1))
    assert grey == "A linear model on the pixels reaches AUC 0.80, on the mean brightness 0.78."
    masks = linear_in_words(compared(0.5, 0.84, 0.66, jaccard=0.9))
    assert masks == "A linear model on the pixels reaches Jaccard 0.84, on the mean colour 0.66."
    assert linear_in_words(make_record()) is None, "protocol 4"
    assert linear_in_words(failed_record()) is None


@pytest.mark.parametrize(("value", "said"), [(0.799, True), (0.7, True), (0.801, False)])
def test_a_task_of_colour_is_called_one(value: float, said: bool) -> None:
    words = linear_in_words(compared(value, 0.80, 0.78))
    assert words is not None
    assert words.endswith("this task cannot show what a defense costs.") == said
    defended = linear_in_words(compared(value, 0.80, 0.78, defense="dcor"))
    assert defended is not None
    assert "cannot show" not in defended, "a defense may have cost even the colour"


def test_old_utility_is_written_as_it_was() -> None:
    utility = make_record().utility
    assert utility is not None
    assert "linear" not in utility.model_dump_json()
    frame = records_frame([make_record(), compared(0.85, 0.8, 0.78)])
    assert frame["linear_colour"].tolist()[-1] == 0.78
    assert frame["linear_pixels"].isna().tolist()[0]


def predicted(skill: float) -> Record:
    """Return a record whose masks are predicted with a skill, from smashed data."""
    score, low = LabelScore.of(0.6 + 0.4 * skill, 0.6, 8), LabelScore.of(0.3, 0.6, 8)
    training = {"smashed_data": score, "feature_gradient": low}
    return make_record(labels=LabelScores(measure="jaccard", training=training))


def test_predicted_masks_are_said_with_the_best_source() -> None:
    says = labels_in_words(predicted(0.75))
    assert says is not None
    assert "predicts them with Jaccard 0.90, from smashed data, queries;" in says
    assert "reaches 0.60" in says
    nothing = labels_in_words(predicted(0.01))
    assert nothing is not None
    assert "no better than somebody who sees no traffic (Jaccard 0.60)" in nothing
    assert labels_in_words(make_record()) is None
    assert "labels" not in json.loads(make_record().to_json()), "older records keep their seal"


def test_frames_have_the_skill_of_each_source() -> None:
    (training, held_out) = records_frame([predicted(0.75)]).to_dict("records")
    assert training["label_skill_smashed_data"] == pytest.approx(0.75)
    assert held_out["label_skill_smashed_data"] != held_out["label_skill_smashed_data"], "is NaN"


def test_verification_compares_predicted_labels() -> None:
    said = compare(predicted(0.75), predicted(0.5))
    (one,) = said.differences
    assert said.agreement == "differs"
    assert one.measure == "training labels from smashed_data jaccard"
