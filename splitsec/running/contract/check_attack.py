"""The checks of an attack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.subject import (
    NO_CELL,
    Check,
    Subject,
    documented,
    left_alone,
    repeats,
)

WATCHED = (
    "__init__",
    "threat_model",
    "hijacking",
    "features",
    "answer",
    "observe",
    "fit",
    "reconstruct",
    "curves",
    "convergence",
)
FREE = ("__init__", "features", "answer", "observe", "fit", "reconstruct")

TARGETS: dict[str, dict[str, Any]] = {
    "resnet, cuts 1 and 3": {"target": "resnet:depth=18", "cut": "1,3"},
    "resnet, private labels": {"target": "resnet:depth=18,labels=private", "cut": "3"},
    "fsha-client, cut 2": {"target": "fsha-client", "cut": "2"},
    "unet, cut 1, grey images": {"target": "unet:width=4", "cut": "1", "channels": 1},
    "vit, cut 1: tokens, not maps": {"target": "vit:width=16,depth=1", "cut": "1"},
}
"""Targets and cuts on which an attack must work or say that it does not apply."""

_TRIED = "the first cell that worked"
_REAL = "an undefended cell"
_REAL_SETTINGS = {
    "training.epochs": 4,
    "training.batch_size": 16,
    "counts.private": 64,
    "counts.public": 160,
    "counts.validation": 12,
    "counts.held_out": 12,
    "counts.victims": 12,
}
_ALWAYS_USED = frozenset(
    {"active", "labels", "sample_ids", "client_settings"}
)  # used without a call


def works(subject: Subject, setting: str) -> Outcome:
    """Check that the attack gives images on one target, at one or more cuts."""
    cells = subject.resolve(**TARGETS[setting])
    records = subject.run(cells)
    for cell, record in zip(cells, records, strict=True):
        where = f"at cut {record.spec.cut}" if len(cells) > 1 else "here"
        if record.status == "skipped":
            return Outcome("skipped", f"it does not apply {where}: {record.reason}")
        if record.status != "ok":
            return Outcome("failed", f"{where}: {record.reason}")
        subject.tried.setdefault(setting, (cell, record))
        subject.tried.setdefault(_TRIED, (cell, record))
    if any("clamped" in record.flags for record in records):
        return Outcome(
            "warning",
            "over 5 % of its values lie outside [0, 1] and are clamped; end reconstruct() with a "
            "sigmoid or a clamp",
        )
    if not subject.cls.reconstructs:
        return Outcome("ok", "it runs and reconstructs nothing, as declared")
    return Outcome("ok", "images of the right shape, finite and in [0, 1]")


def keeps_to_its_threat_model(subject: Subject) -> Outcome:
    """Check that the attack uses everything that it declares; the view refuses everything else."""
    views = subject.watch.views
    if not views or _TRIED not in subject.tried:
        return NO_CELL
    threats = [view.threat.model_dump() for view in views]  # of an ensemble, its members'
    declared = {name for threat in threats for name, given in threat.items() if given}
    used = {name for view in views for name in view.used}
    idle = sorted(declared - used - _ALWAYS_USED)
    if idle:
        return Outcome(
            "warning",
            f"it declares {', '.join(idle)} and never uses it; declare less, because records and "
            "tables rank an attack by the access that it declares",
        )
    said = ", ".join(sorted(declared)) or "nothing but the smashed data"
    labels = "; view.labels is None for held-out victims" if "labels" in declared else ""
    return Outcome("ok", f"it declares {said} and uses no more{labels}")


def beats_a_blind_guess(subject: Subject) -> Outcome:
    """Check that the attack beats the blind attackers on at least one undefended target."""
    if not subject.cls.reconstructs:
        return Outcome("skipped", "it reconstructs nothing, as declared")
    worked = [name for name in TARGETS if name in subject.tried]
    if not worked:
        return NO_CELL
    seen = []
    for name in worked:
        setting = TARGETS[name] | {"cut": str(subject.tried[name][1].spec.cut)}
        (cell,) = subject.resolve(_REAL_SETTINGS, **setting)
        (record,) = subject.run([cell])
        if record.status != "ok":
            return Outcome("failed", f"on an undefended {record.spec.target}: {record.reason}")
        subject.tried[_REAL] = cell, record
        leakage = record.leakage.value if record.leakage is not None else None
        if leakage is None:
            return Outcome(
                "warning",
                "the LPIPS weights are missing, so leakage is unknown: splitsec doctor --fetch",
            )
        seen.append(f"{leakage:.2f} on {record.spec.target}, cut {record.spec.cut}")
        if leakage > NOTHING_RECOVERED:
            return Outcome(
                "ok", f"leakage {seen[-1]}, undefended; an attacker who sees nothing has 0"
            )
    return Outcome(
        "failed",
        f"leakage {', '.join(seen)}, undefended; an attacker who sees nothing has up to "
        f"{NOTHING_RECOVERED}: "
        "does it train long enough, and does it return values in [0, 1], not in [-1, 1]?",
    )


def cost(subject: Subject) -> Outcome:
    """Report how long the attack takes, in total and per exchange."""
    if _REAL not in subject.tried:
        return NO_CELL
    record = subject.tried[_REAL][1]
    watch = subject.watch
    seconds = record.timings["attack"]
    said = f"{seconds:.1f} s on {record.spec.public} public images of {record.spec.size} px"
    for method in ("answer", "observe"):
        if watch.seconds.get(method, 0) > 0.01 * sum(watch.seconds.values()):
            each = 1000 * watch.seconds[method] / watch.calls[method]
            said += f"; {each:.1f} ms per exchange in {method}()"
    return Outcome("ok", said)


CHECKS: Sequence[Check] = (
    Check("documented", documented),
    *(Check(name, partial(works, setting=name), 15.0) for name in TARGETS),
    Check("threat model", keeps_to_its_threat_model),
    Check("repeats itself", partial(repeats, purpose=_TRIED), 15.0),
    Check("beats a blind guess", beats_a_blind_guess, 20.0),
    Check("leaves no trace", left_alone),
    Check("cost", cost),
)
