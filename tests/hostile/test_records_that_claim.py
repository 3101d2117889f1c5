"""Records that say what splitsec never measured: each is left out with a sentence, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from splitsec.errors import DataError
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.names import Kind
from splitsec.records.agreement import compare
from splitsec.records.index import load_brief_records
from splitsec.records.per_image import per_image_bytes
from splitsec.records.record import Record, seal_of
from splitsec.records.store import find_records, write_record
from splitsec.running.verification import read_claims
from support.records import make_record
from support.scored_values import make_values, record_of, write_with_values

Content = dict[str, Any]


def at(content: Content, path: str) -> tuple[Any, str]:
    """Return what holds a value, and the value's name in it."""
    *above, name = path.split(".")
    for one in above:
        content = content[int(one) if isinstance(content, list) else one]
    return content, name


def setting(path: str, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        inside, name = at(content, path)
        inside[name] = value

    return change


def scaling(path: str, factor: float) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        inside, name = at(content, path)
        inside[name] *= factor

    return change


def without(path: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        inside, name = at(content, path)
        del inside[name]

    return change


def together(*changes: Callable[[Content], None]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for one in changes:
            one(content)

    return change


HELD_OUT = "victims.held_out"
CLAIMS: dict[str, tuple[Callable[[Content], None], str]] = {
    "leakage of -5": (setting("leakage.value", -5.0), "leakage is -5, and can be 0 to 1 only"),
    "leakage of -30 everywhere": (
        together(
            setting("leakage.value", -30.0),
            setting(f"{HELD_OUT}.leakage.mean", -30.0),
            setting("victims.training.leakage.mean", -30.0),
        ),
        "less than or equal|greater than or equal",
    ),
    "a file with an endless name": (
        setting("artifacts.per_image", f"../artifacts/{'a' * 300}.npz"),
        "is no file's name",
    ),
    "a better headline": (scaling("leakage.value", 0.5), "its headline is"),
    "the victims who leak less": (
        together(
            scaling("victims.training.leakage.mean", 0.5), setting("leakage.victims", "training")
        ),
        "its headline is|its leakage is",
    ),
    "a mean that is not of its values": (
        together(scaling(f"{HELD_OUT}.privacy.mse.mean", 1.1)),
        "the mean mse is not that of its values per image",
    ),
    "skills that no errors give": (
        scaling(f"{HELD_OUT}.skill.ssim", 0.5),
        "the skill by ssim is",
    ),
    "leakage that no skills give": (
        together(
            *(scaling(f"victims.{name}.leakage.mean", 0.5) for name in ("training", "held_out")),
            scaling("leakage.value", 0.5),
        ),
        "its leakage is 0.3100, and its skills give 0.6200",
    ),
    "a harder blind guess": (
        scaling(f"{HELD_OUT}.trivial.mean-image.mse", 0.4),
        "the skill by mse is",
    ),
    "a trivial score of its own": (
        setting(f"{HELD_OUT}.trivial.mean-image.leakage", 0.9),
        "the leakage of 'mean-image' is 0.9000, and its errors give 0.0000",
    ),
    "a yardstick that leaks more": (
        setting(f"{HELD_OUT}.yardsticks.colour.leakage", 0.99),
        "the leakage of 'colour' is",
    ),
    "no yardstick to compare with": (without(f"{HELD_OUT}.yardsticks.colour"), "'colour' has no"),
    "a flag taken away": (setting("flags", []), "raise the flag 'in-process'"),
    "a flag that nothing raises": (
        setting("flags", ["in-process", "small-gallery"]),
        "do not raise the flag 'small-gallery'",
    ),
    "a gallery of two without its flag": (
        setting(f"{HELD_OUT}.privacy.identification.gallery", 2),
        "skill of identification",
    ),
    "a flag that nobody knows": (setting("flags", ["in-process", "best"]), "unknown flag 'best'"),
    "access that was not declared": (
        setting("access.queries", 500),
        "used queries, which its threat model does not declare",
    ),
    "an oracle without its flag": (
        together(setting("threat_model.queries", True)),
        "raise the flag 'oracle-access'",
    ),
    "the victims who leak more taken away": (
        setting("victims.training", None),
        "training victims",
    ),
    "a model that learned nothing": (
        setting("utility.auc_interval", [0.3, 0.6]),
        "raise the flag 'defense-broke-utility'",
    ),
    "an AUC of 7": (setting("utility.auc", 7.0), "auc is 7, and can be 0 to 1 only"),
    "an accuracy that is not a number": (setting("utility.accuracy", "NaN"), "accuracy is nan"),
    "no seal": (without("seal"), "no seal"),
    "an id that is a path": (setting("cell_id", "../../etc"), "'../../etc' is no SHA-256"),
    "a time that is none": (setting("provenance.created", "9999"), "'9999', which is no time"),
    "an attack's name of two lines": (setting("spec.attack", "a\nidentical: b"), "is no name"),
    "more victims than there are": (setting("spec.victims", 1), "scores 2 training victims of 1"),
    "more seconds than none": (setting("timings", {"attack": -1.0}), "seconds is -1"),
}


def changed(record: Record, change: Callable[[Content], None]) -> str:
    """Return a record's JSON with a change, sealed anew unless the change took the seal away."""
    content: Content = json.loads(record.sealed().to_json())
    change(content)
    if "seal" in content:
        content["seal"] = seal_of(content)
    return json.dumps(content)


def placed(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(text)
    return folder


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_record_that_contradicts_itself_is_left_out(claim: str, tmp_path: Path) -> None:
    change, says = CLAIMS[claim]
    placed(tmp_path / "honest", make_record(seed=1).sealed().to_json())
    file = placed(tmp_path / "claim", changed(make_record(seed=2), change)) / "record.json"
    told: list[str] = []
    (kept,) = find_records([tmp_path], told.append)
    assert kept.record.spec.seed == 1
    (sentence,) = told
    assert sentence.startswith(str(file))
    assert "\n" not in sentence
    assert re.search(says, sentence), sentence
    (brief,) = load_brief_records([tmp_path], told.append)
    assert brief.spec.seed == 1
    assert told[1] == f"left out: {sentence}"
    by_place = {Path(one.where).parent.name: one for one in read_claims([tmp_path])}
    assert by_place["claim"].record is None
    assert by_place["claim"].problems == [sentence]
    assert by_place["honest"].problems == []


def values_with(name: str, factor: float) -> Any:
    values = make_values()
    assert values.held_out is not None
    assert values.held_out.attack is not None
    own = getattr(values.held_out.attack, name)
    attack = replace(values.held_out.attack, **{name: own * factor})
    return replace(values, held_out=replace(values.held_out, attack=attack))


@pytest.mark.parametrize("name", ["mse", "structure", "leakage"])
def test_means_that_are_not_of_the_values_beside_the_record_are_left_out(
    name: str, tmp_path: Path
) -> None:
    honest = record_of(make_values(), make_record(seed=1))
    write_with_values(tmp_path, honest, per_image_bytes(make_values()))
    claim = record_of(make_values(), make_record(seed=2))
    write_with_values(tmp_path, claim, per_image_bytes(values_with(name, 0.5)))
    told: list[str] = []
    (kept,) = find_records([tmp_path], told.append)
    assert kept.record.spec.seed == 1
    (sentence,) = told
    assert "does not fit its record: the" in sentence
    assert name in sentence


def test_a_model_that_answers_worse_than_claimed_is_left_out(tmp_path: Path) -> None:
    record = record_of(make_values())
    assert record.utility is not None
    utility = record.utility.model_copy(update={"accuracy": 1.0})
    claim = record.model_copy(update={"utility": utility})
    write_with_values(tmp_path, claim, per_image_bytes(make_values()))
    with pytest.raises(DataError, match="the accuracy of its answers is 0"):
        find_records([tmp_path], print)


def of_built_in(kind: str, name: str, **changes: Any) -> Record:
    """Return a record of a method that is built in here, with the hash of its source."""
    base = make_record(seed=3)
    plugins = {kind: {"code": load_plugin(cast(Kind, kind), name).code}}
    provenance = base.provenance.model_copy(update={"plugins": plugins})
    spec = base.spec.model_copy(update={kind: name, "parameters": {}})
    return base.model_copy(update={"provenance": provenance, "spec": spec} | changes)


def test_a_threat_model_that_is_not_the_sources_is_left_out(tmp_path: Path) -> None:
    declared = ThreatModel(public_images=True, queries=True)
    flags = ["in-process", "oracle-access"]
    honest = of_built_in("attack", "adra", threat_model=declared, flags=flags)
    forged = of_built_in("attack", "adra", flags=["in-process"])
    write_record(tmp_path / "honest" / "cell", honest)
    write_record(tmp_path / "forged" / "cell", forged)
    assert len(find_records([tmp_path / "honest"], print)) == 1
    with pytest.raises(DataError, match=r"its threat model is not that of adra, .*queries"):
        find_records([tmp_path / "forged"], print)
    other = {"attack": {"code": "0" * 64}}
    provenance = forged.provenance.model_copy(update={"plugins": other})
    write_record(tmp_path / "other" / "cell", forged.model_copy(update={"provenance": provenance}))
    assert len(find_records([tmp_path / "other"], print)) == 1, "it is of another source"


def test_a_flag_that_the_source_of_a_defense_raises_is_not_taken_away(tmp_path: Path) -> None:
    write_record(tmp_path / "cell", of_built_in("defense", "gaussian-noise"))
    with pytest.raises(DataError, match="gaussian-noise here draws random numbers, and the flag"):
        find_records([tmp_path], print)


def blind(record: Record, change: float) -> Record:
    assert record.victims is not None
    scores = record.victims.held_out
    guess = scores.trivial["mean-image"]
    trivial = {**scores.trivial, "mean-image": guess.model_copy(update={"mse": guess.mse + change})}
    held_out = scores.model_copy(update={"trivial": trivial})
    victims = record.victims.model_copy(update={"held_out": held_out})
    return record.model_copy(update={"victims": victims})


def test_a_verdict_sees_threat_models_flags_and_trivial_scores() -> None:
    honest = make_record()
    assert compare(honest, honest).agreement == "identical"
    weaker = honest.model_copy(update={"threat_model": ThreatModel(public_images=True)})
    assert compare(weaker, honest).sentence == "its threat model is not that of the run here"
    drawn = honest.model_copy(update={"flags": ["in-process", "randomised-defense"]})
    assert compare(honest, drawn).sentence == "the run here has the flag 'randomised-defense'"
    assert compare(drawn, honest).agreement == "differs"
    found = compare(blind(honest, 0.1), honest)
    assert found.agreement == "differs"
    assert [one.measure for one in found.differences] == ["held_out blind guess mse"]
    assert compare(blind(honest, 0.001), honest).agreement == "within tolerance"
