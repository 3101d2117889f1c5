"""The flags that follow from the scores of victims alone."""

from __future__ import annotations

from splitsec.metrics.schema import GALLERY, NOTHING_RECOVERED, VictimScores

_CLAMPED = 0.05  # share of values


def score_flags(scores: VictimScores) -> dict[str, bool]:
    """Return the flags that scores may raise, and whether they do.

    Args:
        scores: of the victims that the headline is of.
    """
    leakage = scores.leakage.mean
    found = {
        "clamped": scores.clamped_share > _CLAMPED,
        "lpips-unavailable": scores.privacy.lpips is None,
    }
    if leakage is None:
        return found
    colour = None if (known := scores.yardsticks.get("colour")) is None else known.leakage
    return found | {
        "no-better-than-trivial": leakage <= NOTHING_RECOVERED,
        "no-better-than-colour": colour is not None and leakage <= colour,
        "small-gallery": scores.privacy.identification.gallery < GALLERY,
    }
