"""Records made for tests of what reads, ranks and shows them."""

from __future__ import annotations

from typing import Any

from splitsec.metrics.schema import VictimScores
from splitsec.metrics.score_flags import score_flags
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.records.members import MemberResult, MemberScores
from splitsec.records.record import INCOMPLETE, PROTOCOL_VERSION, Leakage, Record, Victims

SEEDS = range(5)


def baseline(mse: float, leakage: float | None = 0.0) -> dict[str, Any]:
    return {
        "mse": mse,
        "psnr": 17.0,
        "ssim": 0.5,
        "lpips": 0.4,
        "structure": 0.01,
        "pixel": 0.01,
        "leakage": leakage,
    }


def each(value: float, spread: float = 0.0) -> dict[str, Any]:
    """Return a measure of two images."""
    return {"mean": value, "per_image": [value - spread, value + spread]}


def make_scores(leakage: float | None = 0.62, **changes: Any) -> VictimScores:
    """Return scores of two victims in a gallery of 100, which follow from each other.

    Args:
        leakage: the mean of four skills, of which all but that of identification are equal.
        changes: fields that are what they are given as.
    """
    mean = leakage or 0.0
    rate, shapes = (0.91, 0.83) if mean >= 0.5 else (0.01, 0.01)
    known = (rate - 0.01) / 0.99
    skill = (4 * mean - known) / 3
    values: dict[str, Any] = {
        "privacy": {
            "mse": each(0.4321 * (1 - skill), 0.02 * (1 - skill)),
            "psnr": each(20.0, 1.0),
            "ssim": each(1 - 0.5 * (1 - skill), 0.02 * (1 - skill)),
            "lpips": each(0.4 * (1 - skill), 0.02 * (1 - skill)),
            "identification": {
                "structure": shapes,
                "pixel": rate,
                "gallery": 100,
            },
        },
        "skill": dict.fromkeys(("mse", "ssim", "lpips"), skill) | {"identification": known},
        "leakage": {"mean": leakage, "per_image": [mean, mean], "share_above_random": 1.0},
        "reference": {"mse": "mean-image", "ssim": "median-image", "lpips": "median-image"},
        "trivial": {
            "mean-image": baseline(0.4321),
            "median-image": baseline(0.45),
        },
        "yardsticks": {
            "colour": baseline(0.3 * 0.4321, 0.7 / 4 + 0.0),
            "components-10": baseline(0.05, (1 - 0.05 / 0.4321) / 4),
        },
        "equivalent_components": 6.25,
        "equivalent_components_capped": False,
        "clamped_share": 0.0,
    }
    return VictimScores.model_validate(values | changes)


def scores_of(leakage: float) -> VictimScores:
    """Return scores whose every skill is the leakage, on each image, and so is identification."""
    error, rate = 1 - leakage, 0.01 + 0.99 * leakage
    return make_scores(
        leakage,
        privacy={
            "mse": each(0.4321 * error),
            "psnr": each(20.0),
            "ssim": each(1 - 0.5 * error),
            "lpips": each(0.4 * error),
            "identification": {"structure": rate, "pixel": rate, "gallery": 100},
        },
        skill=dict.fromkeys(("mse", "ssim", "lpips", "identification"), leakage),
    )


def without_lpips() -> VictimScores:
    """Return scores of a machine that has no LPIPS weights."""
    values = make_scores().model_dump()
    values["privacy"]["lpips"] = values["skill"]["lpips"] = values["reference"]["lpips"] = None
    values["skill"]["identification"] = make_scores().skill.identification
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
        "protocol": PROTOCOL_VERSION,
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
        "threat_model": {"active": True, "public_images": True, "pairs": held_out_only},
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


def cell(attack: str, defense: str, seed: int, leakage: float | None, **changes: Any) -> Record:
    base = make_record(seed=seed)
    parameters: dict[str, dict[str, Any]] = {"attack": {}, "target": {}, "data": {}}
    parameters["defense"] = changes.pop("parameters", {})
    spec = base.spec.model_copy(
        update={"attack": attack, "defense": defense, "seed": seed, "parameters": parameters}
        | changes.pop("spec", {})
    )
    assert base.utility is not None
    utility = base.utility.model_copy(
        update={"auc": changes.pop("auc", 0.9), "jaccard": None, "trivial": {"auc": 0.5}}
    )
    given = {
        "spec": spec,
        "utility": utility,
        "flags": ["in-process"],
        "threat_model": ThreatModel(active=attack == "active"),
        "access": Access(),
        "leakage": None if leakage is None else Leakage(value=leakage, victims="training"),
    }
    if leakage is None:
        given["victims"] = None
    elif 0 <= leakage <= 1:
        given["victims"] = Victims(training=scores_of(leakage), held_out=scores_of(leakage))
    return flagged(base.model_copy(update=given | changes))


def flagged(record: Record) -> Record:
    """Return a record with the flags that its scores raise, beside those that it has."""
    if record.victims is None:
        return record
    assert record.leakage is not None
    headline = getattr(record.victims, record.leakage.victims)
    raised = [name for name, raises in score_flags(headline).items() if raises]
    return record.model_copy(update={"flags": list(dict.fromkeys([*record.flags, *raised]))})


def make_ensemble() -> Record:
    """Return the record of three attacks, of which the second is the worst and the third failed."""
    scores = {name: MemberScores.of(scores_of(value)) for name, value in (("a", 0.3), ("b", 0.62))}
    done = [
        MemberResult(
            attack=name,
            parameters={},
            status="ok",
            training=scores[name],
            held_out=scores[name],
            convergence=(Convergence(measured_on="kept pairs", half=1.0, full=full),),
            seconds=7.0,
        )
        for name, full in (("a", 0.5), ("b", 1.0))
    ]
    failed = MemberResult(attack="c", parameters={}, status="failed", reason="it broke", seconds=0)
    leakage = Leakage(value=0.62, victims="training", member="b")
    return make_record(
        members=(*done, failed),
        leakage=leakage,
        flags=["in-process", "attack-not-converged", INCOMPLETE],
    )
