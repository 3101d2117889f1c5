"""Records as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from splitsec.errors import DataError
from splitsec.records.image_values import ImageSetValues
from splitsec.records.per_image import load_per_image
from splitsec.records.record import Record
from splitsec.records.wording import flags_of


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record and set of victims.

    Args:
        records: any records; a failed one gives one row with its reason.

    Returns:
        A frame with columns for the specification, the scores, the strongest blind attacker's
        MSE, the utility and the flags. ``linear_pixels`` and ``linear_colour`` are the AUC (or
        Jaccard) of linear models on the same images, for comparison. Where clients keep their
        labels, each ``label_skill_SOURCE`` is the skill of labels predicted from a source.
    """
    return pd.DataFrame([row for record in records for row in _rows(record)])


def _rows(record: Record) -> list[dict[str, Any]]:
    spec = record.spec
    shared: dict[str, Any] = {
        "cell_id": record.cell_id,
        "status": record.status,
        "reason": record.reason,
        "attack": spec.attack,
        "defense": spec.defense,
        "target": spec.target,
        "cut": spec.cut,
        "data": spec.data,
        "size": spec.size,
        "clients": spec.clients,
        "profile": spec.profile,
        "seed": spec.seed,
        "flags": ",".join(flags_of(record)),
    }
    for kind, parameters in spec.parameters.items():
        shared |= {f"{kind}.{name}": value for name, value in parameters.items()}
    if record.utility is not None:
        utility = record.utility
        shared |= {
            "accuracy": utility.accuracy,
            "auc": utility.auc,
            "jaccard": utility.jaccard,
            "dice": utility.dice,
            "linear_pixels": utility.linear_pixels,
            "linear_colour": utility.linear_colour,
        }
    if record.victims is None:
        return [shared]
    rows = []
    for name in ("training", "held_out"):
        scores = getattr(record.victims, name)
        if scores is None:
            continue
        privacy = scores.privacy
        rows.append(
            shared
            | {
                "victims": name,
                "leakage": scores.leakage.mean,
                "mse": privacy.mse.mean,
                "psnr": privacy.psnr.mean,
                "ssim": privacy.ssim.mean,
                "lpips": None if privacy.lpips is None else privacy.lpips.mean,
                "structure": privacy.identification.structure,
                "pixel": privacy.identification.pixel,
                "gallery": privacy.identification.gallery,
                "skill_mse": scores.skill.mse,
                "skill_ssim": scores.skill.ssim,
                "skill_lpips": scores.skill.lpips,
                "skill_identification": scores.skill.identification,
                "certain": privacy.identification.certain,
                "worst_leakage": scores.leakage.worst,
                "almost_worst_leakage": scores.leakage.almost_worst,
                "trivial_mse": scores.trivial[scores.reference.mse].mse,
                "equivalent_components": scores.equivalent_components,
                **_label_skills(record, name),
            }
        )
    return rows


def _label_skills(record: Record, victims: str) -> dict[str, float | None]:
    """Return the skill of predicted labels by source, for one set of victims."""
    scored = {} if record.labels is None else getattr(record.labels, victims)
    return {f"label_skill_{source}": one.skill for source, one in scored.items()}


def per_image_frame(record: Record, victims: str = "training") -> pd.DataFrame:
    """Return one row per victim of one record.

    Args:
        record: a record with scores, read from its folder or just made; its artifacts must be
            there.
        victims: ``"training"`` or ``"held_out"``.

    Returns:
        A frame with the columns ``mse``, ``psnr`` (decibels), ``ssim``, ``lpips`` where it was
        measured, and ``leakage``. Since protocol 5 also which image it is: ``row`` in the data set
        (not in published records of a secret partition), ``file`` where the data set has names of
        files (not in published records), ``client`` and ``patient``, a number that images of one
        patient share; and ``structure`` and ``pixel``, the chance to be picked out of a gallery.
        ``frame.nlargest(5, "leakage")`` are the images that leak most.

    Raises:
        DataError: the record has no scores for these victims, or the file of its values is
            missing, damaged or of another record.
    """
    if getattr(record.victims, victims, None) is None:
        raise DataError(f"the record has no scores for {victims!r} victims")
    values: ImageSetValues = getattr(load_per_image(record), victims)
    images, attack = values.images, values.attack
    assert attack is not None, "the record has scores"
    columns: dict[str, NDArray[Any] | None] = {}
    if images is not None:
        listed = {
            "row": images.rows,
            "file": images.names,
            "client": images.clients,
            "patient": images.patients,
        }
        rows = slice(None) if values.attacked is None else values.attacked
        columns = {name: None if one is None else one[rows] for name, one in listed.items()}
    columns |= {one.name: getattr(attack, one.name) for one in fields(attack)}
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None})
