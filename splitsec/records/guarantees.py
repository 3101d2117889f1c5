"""What a record's defense proves, and whether an attack shows that it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splitsec.metrics.schema import VictimScores
from splitsec.plugins.guarantee import Guarantee
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec

if TYPE_CHECKING:  # importing it takes torch
    from splitsec.plugins.defense import Defense

BROKEN = "guarantee-broken"
"""The flag of a cell in which an attack does better than the guarantee permits."""

_CHANCE = 1e-4  # of a false alarm


def guarantee_of(spec: CellSpec, defense: Defense[Any], *, u_shaped: bool) -> Guarantee | None:
    """Return what a built-in defense proves in a cell; None for no bound.

    A client that keeps the end of the model and trains it also sends the gradient of the server's
    features, which depends on its images and which no defense bounds.

    Args:
        spec: the cell's specification.
        defense: an object with the cell's parameters, which need not have begun.
        u_shaped: whether clients keep the end of the model.
    """
    defense.epochs, defense.trains = spec.training.epochs, spec.training.trains
    return None if u_shaped and defense.trains else defense.guarantee()


def is_broken(record: Record) -> bool:
    """Return whether more victims were identified than the record's guarantee permits."""
    if record.guarantee is None or record.victims is None:
        return False
    known = (record.victims.training, record.victims.held_out)
    return any(scores is not None and _beats(record.guarantee, scores) for scores in known)


def _beats(guarantee: Guarantee, scores: VictimScores) -> bool:
    """Return whether a server that knows no more than permitted would seldom do as well."""
    from scipy.stats import binom  # takes long to import, and is seldom needed

    rates = scores.privacy.identification
    found = round(max(rates.structure, rates.pixel) * scores.count)
    permitted = guarantee.most_identified(rates.gallery)
    return bool(binom.sf(found - 1, scores.count, permitted) < _CHANCE)
