"""The gallery's cells: the content of each card and of its details."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from splitsec.cells.panel import Curve, curves_of
from splitsec.errors import DataError
from splitsec.leaderboard.settings import plugin_name
from splitsec.leaderboard.web.content import rounded
from splitsec.leaderboard.web.pictures import RANKED_PICTURE, Picture
from splitsec.leaderboard.web.publication import command, file_stem
from splitsec.metrics.schema import VictimScores
from splitsec.records.image_values import RANKED, Floats, ranked_places
from splitsec.records.official import claimant_of
from splitsec.records.per_image import PER_IMAGE, load_per_image
from splitsec.records.record import FLAGS, INVALIDATING, Record
from splitsec.records.wording import (
    flag_in_words,
    flags_of,
    headline,
    labels_in_words,
    linear_in_words,
    measures,
    members_in_words,
    threat_in_words,
)

_DRAWN = 300  # values of a curve; longer ones are averaged
_VICTIMS = {"training": "private training images", "held_out": "private held-out images"}


def card(
    record: Record,
    names: Callable[[Record], dict[str, str]],
    picture: Picture | None,
    *,
    unusable: bool = False,
) -> dict[str, Any]:
    """Return the values of a cell that the gallery shows, sorts and filters.

    Args:
        record: any record.
        names: function of :func:`splitsec.leaderboard.settings.plugin_names`.
        picture: its picture, if it has one.
        unusable: whether a picture came with it that cannot be shown.
    """
    spec, named = record.spec, names(record)
    return {
        "id": file_stem(record),
        "title": f"{named['attack']} against {named['defense']}"
        if spec.attack != "none"
        else f"no attack, {'no defense' if spec.defense == 'none' else named['defense']}",
        "setting": ", ".join(
            [
                f"{named['target']}, {plugin_name(record, 'data')} at {spec.size} px",
                f"profile {spec.profile}, seed {spec.seed}",
                *spec.settings(),
            ]
        ),
        "attack": spec.attack,
        "defense": spec.defense,
        "target": spec.target,
        "cut": str(spec.cut),
        "data": spec.data,
        "profile": spec.profile,
        "seed": str(spec.seed),
        "status": record.status,
        "leakage": rounded(record.leakage.value) if record.leakage else None,
        "says": headline(record),
        "evidence": _evidence(record),
        "flags": flags_of(record),
        "marks": {
            flag: words
            for flag in flags_of(record)
            if (words := flag_in_words(flag, record)) != FLAGS.get(flag)
        },
        "picture": _picture(record, picture) if picture else None,
        "missing": None if picture else _missing(record, unusable=unusable),
    }


def _picture(record: Record, picture: Picture) -> dict[str, Any]:
    ranked = picture.artifact == RANKED_PICTURE
    return {
        "file": picture.file,
        "width": picture.width,
        "height": picture.height,
        "alt": alternative(record, ranked=ranked),
        "columns": _ranked_leakage(record) if ranked else [],
    }


def _ranked_leakage(record: Record) -> list[tuple[str, float | None]]:
    """Return what the columns of a picture of ranked victims are called, and their leakage."""
    found = _leakage_per_victim(record)
    if found is None:
        return [(name, None) for name in RANKED]
    ranked = np.sort(found)[ranked_places(len(found))].tolist()
    return [(name, rounded(value)) for name, value in zip(RANKED, ranked, strict=True)]


def _leakage_per_victim(record: Record) -> Floats | None:
    if record.leakage is None or PER_IMAGE not in record.artifacts:
        return None
    try:
        values = getattr(load_per_image(record), record.leakage.victims)
    except DataError:
        return None  # the board says which cells have none
    return None if values is None or values.attack is None else values.attack.leakage


def alternative(record: Record, *, ranked: bool = True) -> str:
    """Return the picture's content in words and numbers, for a reader who cannot see it.

    Args:
        record: a record with a picture.
        ranked: whether it shows ranked victims.
    """
    spec = record.spec
    behind = "" if spec.defense == "none" else f" behind {plugin_name(record, 'defense')}"
    recovered = f"what {plugin_name(record, 'attack')} recovered of them{behind}"
    text = f"Rows of private images, {recovered}, the difference, and the best blind guess."
    if ranked:
        text = f"Rows of four private images, {recovered}, and the best blind guess."
    if record.leakage is None or record.victims is None:
        return text
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    privacy, guess = scores.privacy, scores.trivial
    told = [
        f"MSE {privacy.mse.mean:.4f} (the guess {guess[scores.reference.mse].mse:.4f})",
        f"SSIM {privacy.ssim.mean:.2f} (the guess {guess[scores.reference.ssim].ssim:.2f})",
        f"identified by shapes {privacy.identification.structure:.0%}",
    ]
    if record.leakage.value is not None:
        told.insert(0, f"leakage {record.leakage.value:.2f}")
    return f"{text} Over all {scores.count} images: {', '.join(told)}."


def _evidence(record: Record) -> str | None:
    """Return whether the numbers are claimed or re-run, or None if they were run here."""
    claimant = claimant_of(record)
    if claimant is not None:
        return f"Claimed by {claimant or 'somebody'}; not re-run here."
    agreement = record.evidence.agreement
    if agreement is None:
        return None
    if agreement == "within prediction":
        return "Run again here on another machine: the claim lies where another seed would."
    words = "unlike" if agreement == "differs" else f"{agreement} with"
    return f"Run again here: the numbers are {words} those that were claimed."


def _missing(record: Record, *, unusable: bool) -> str:
    if unusable:
        return "The picture that came with this record is no PNG among the records' files."
    if record.spec.attack == "none":
        return "No picture: this cell mounts no attack and measures utility alone."
    if record.status != "ok":
        return "No picture: this cell has no result."
    return "No picture came with this record."


def details(record: Record) -> dict[str, Any]:
    """Return the details of a cell: measures, threat model, curves, and its command."""
    about = record.provenance
    versions = ", ".join(f"{name} {version}" for name, version in about.packages.items())
    threat = record.threat_model
    again = command(record)
    return {
        "threat": threat_in_words(record, threat) if threat else None,
        "victims": _scored(record),
        "utility": _utility(record),
        "notes": [
            *members_in_words(record),
            *(said for said in (linear_in_words(record), labels_in_words(record)) if said),
            *record.notes,
            *record.data.get("disclosures", []),
        ],
        "command": shlex.join(again) if again else None,
        "ran": f"{about.created[:10]}, {sum(record.timings.values()):.0f} s on {about.device} with "
        f"{about.threads} thread{'s' if about.threads > 1 else ''}; {about.platform}, "
        f"{f'{about.processor}, ' if about.processor else ''}Python {about.python}; {versions}"
        f"{f'; commit {about.commit[:10]}' if about.commit else ''}",
        "curves": [_curve(curve) for curve in curves_of(record)],
    }


def _scored(record: Record) -> list[dict[str, Any]]:
    if record.victims is None:
        return []
    return [
        {"name": words, "rows": measures(scores)}
        for name, words in _VICTIMS.items()
        if (scores := getattr(record.victims, name)) is not None
    ]


def _utility(record: Record) -> list[tuple[str, str, str]]:
    """Return measure, this model's value, and the trivial predictor's."""
    utility = record.utility
    if utility is None:
        return []
    segments = utility.jaccard is not None
    labels = {
        "auc": "AUC",
        "jaccard": "Jaccard",
        "dice": "Dice",
        "accuracy": "share of pixels right" if segments else "accuracy",
    }
    rows = []
    for name, label in labels.items():
        value, guess = getattr(utility, name), utility.trivial.get(name)
        if value is not None:
            rows.append((label, f"{value:.3f}", "n/a" if guess is None else f"{guess:.3f}"))
    return rows


def _curve(curve: Curve) -> dict[str, Any]:
    values = np.array(curve.values, np.float64)
    window = -(-len(values) // _DRAWN)
    if window > 1:
        whole = len(values) - len(values) % window
        values = values[:whole].reshape(-1, window).mean(1)
    return {
        "title": curve.title + (f" (means of {window})" if window > 1 else ""),
        "axis": curve.axis,
        "step": rounded(curve.steps / len(curve.values) * window, 6),
        "values": [rounded(float(value)) for value in values],
    }


def flag_words(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return every flag that occurs, in words, with its count and whether it prevents a rank."""
    counts: dict[str, int] = {}
    for record in records:
        for flag in flags_of(record):
            counts[flag] = counts.get(flag, 0) + 1
    known = [*FLAGS, *sorted(set(counts) - set(FLAGS))]
    return {
        flag: {
            "words": FLAGS.get(flag, "unknown to this version"),
            "invalid": flag in INVALIDATING,
            "count": counts[flag],
        }
        for flag in known
        if flag in counts
    }
