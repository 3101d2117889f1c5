"""Whether the scores of one set of victims follow from each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from splitsec.metrics.leakage import ERRORS, FLOORED, KINDS, PARTS, leakage, skill
from splitsec.metrics.schema import (
    BLIND,
    BaselineScores,
    VictimScores,
)
from splitsec.records.bounded import shown

_ROUNDING = 1e-6


def contradictions(scores: VictimScores, protocol: int) -> Iterator[str]:
    """Yield what contradicts itself in the scores of one set of victims.

    Args:
        scores: the scores.
        protocol: of the record, which decides how leakage is computed.
    """
    yield from _means(scores)
    named = scores.reference.model_dump()
    if not {one for one in named.values() if one is not None} | {"mean-image"} <= set(
        scores.trivial
    ):
        yield "a blind attacker that skill is measured against has no scores"
        return
    if "colour" not in scores.yardsticks:
        yield "the yardstick 'colour' has no scores"
        return
    missing = scores.privacy.lpips is None
    if missing != (scores.skill.lpips is None) or missing != (scores.reference.lpips is None):
        yield "it has LPIPS without its skill, or the skill without LPIPS"
        return
    skills = _skills(_errors(scores), scores)
    stated = {name: getattr(scores.skill, name) for name in PARTS}
    for name in ERRORS:
        if not _same(stated[name], skills[name]):
            yield (
                f"the skill by {name} is {_said(stated[name])}, and the errors give "
                f"{_said(skills[name])}"
            )
    if stated["identification"] is not None or protocol >= FLOORED:
        rates = scores.privacy.identification
        found = _identification(max(rates.structure, rates.pixel), _guess(scores))
        if not _same(stated["identification"], found):
            yield (
                f"the skill of identification is {_said(stated['identification'])}, and the rates "
                f"give {_said(found)}"
            )
    yield from _leakage(scores, stated, protocol)


def _means(scores: VictimScores) -> Iterator[str]:
    """Yield means that are not those of the values per image, in records that hold these."""
    counts = set()
    for name in ("mse", "psnr", "ssim", "lpips"):
        measure = getattr(scores.privacy, name)
        values = None if measure is None else measure.per_image
        if values is None:
            continue
        counts.add(len(values))
        if not values or not _same(measure.mean, math.fsum(values) / len(values)):
            yield f"the mean {name} is not that of its values per image"
    if scores.images is not None:
        counts.add(scores.images)
    if scores.leakage.per_image is not None:
        counts.add(len(scores.leakage.per_image))
    if len(counts) > 1:
        yield "its measures are of different numbers of images"


def _leakage(
    scores: VictimScores, skills: Mapping[str, float | None], protocol: int
) -> Iterator[str]:
    own = scores.leakage
    expected = _leakage_of(skills, protocol)
    if not _same(own.mean, expected):
        yield f"its leakage is {_said(own.mean)}, and its skills give {_said(expected)}"
    for low, high in ((own.mean, own.worst), (own.almost_worst, own.worst)):
        if low is not None and high is not None and low > high + _ROUNDING:
            yield "the image that leaks most leaks less than others"
    for name, one in (*scores.trivial.items(), *scores.yardsticks.items()):
        rate = _identification(max(one.structure, one.pixel), _guess(scores))
        known = _skills(_of_baseline(one), scores) | {"identification": rate}
        found = _leakage_of(known, protocol)
        if not _same(one.leakage, found):
            yield (
                f"the leakage of {shown(name)} is {_said(one.leakage)}, and its errors give "
                f"{_said(found)}"
            )
            return


def _leakage_of(skills: Mapping[str, float | None], protocol: int) -> float | None:
    if protocol >= FLOORED:
        return leakage(skills)
    known = [value for name in ERRORS if (value := skills[name]) is not None]
    if len(known) < len(ERRORS):
        return None
    return min(1.0, max(0.0, sum(known) / len(known)))


Errors = Mapping[str, float | None]


def _errors(scores: VictimScores) -> Errors:
    privacy = scores.privacy
    return {
        "mse": privacy.mse.mean,
        "ssim": 1 - privacy.ssim.mean,
        "lpips": None if privacy.lpips is None else privacy.lpips.mean,
    }


def _of_baseline(one: BaselineScores) -> Errors:
    return {"mse": one.mse, "ssim": 1 - one.ssim, "lpips": one.lpips}


def _skills(errors: Errors, scores: VictimScores) -> dict[str, float | None]:
    """Return the skill by each error, against the blind attacker that is strongest by it."""
    found: dict[str, float | None] = {}
    for name in ERRORS:
        strongest, error = getattr(scores.reference, name), errors[name]
        blind = None if strongest is None else _of_baseline(scores.trivial[strongest])[name]
        found[name] = None if error is None or blind is None else skill(error, blind)
    return found


def _guess(scores: VictimScores) -> float:
    """Return the share of victims that the best blind guess identifies."""
    told = [one for name, one in scores.trivial.items() if name not in BLIND]
    rates: Sequence[float] = [getattr(one, kind) for one in told for kind in KINDS]
    return max(1 / scores.privacy.identification.gallery, *rates, 0.0)


def _identification(rate: float, guess: float) -> float | None:
    return skill(1 - rate, 1 - guess)


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _ROUNDING * max(1.0, abs(other))


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
