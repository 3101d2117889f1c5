"""Whether a record can be what splitsec writes: its figures, and what follows from them.

A record says many things twice: leakage follows from skills, skills from errors, flags from both.
Who edits one of them contradicts another. That a record is without contradiction does not make it
true: ``splitsec verify`` runs its cell again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from splitsec.metrics.figures import SHARE, UNLIMITED, Limits, limits_of
from splitsec.metrics.schema import VictimScores
from splitsec.metrics.score_flags import score_flags
from splitsec.plugins.names import KINDS
from splitsec.records.bounded import shown
from splitsec.records.checking_scores import contradictions
from splitsec.records.guarantees import BROKEN, is_broken
from splitsec.records.record import FLAGS, INCOMPLETE, LABELS_SHARED, Record
from splitsec.records.spec import RECORDED

_ROUNDING = 1e-6
_COUNT = Limits(low=0)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = 200  # characters of a name
_SAID = 3  # problems that a sentence lists


def check_record(record: Record) -> str:
    """Return why a record cannot be what splitsec writes, or an empty text if it can."""
    return "; ".join(islice(_problems(record), _SAID))


def _problems(record: Record) -> Iterator[str]:
    for name, value, limits in _figures(record):
        if value is not None and not _within(value, limits):
            yield f"{name} is {value:.6g}, and can be {_range(limits)} only"
            return
    yield from _names(record)
    yield from _texts(record)
    yield from _parts(record)
    for name, scores in _sets(record):
        yield from (f"{name} victims: {one}" for one in contradictions(scores, record.protocol))
    yield from _headline(record)
    yield from _utility(record)
    yield from _threat(record)
    yield from _flags(record)


def _within(value: float, limits: Limits) -> bool:
    return math.isfinite(value) and limits.low - _ROUNDING <= value <= limits.high + _ROUNDING


def _range(limits: Limits) -> str:
    if limits == UNLIMITED:
        return "a finite number"
    if math.isinf(limits.high):
        return f"{limits.low:g} or more"
    return (
        f"{limits.high:g} or less" if math.isinf(limits.low) else f"{limits.low} to {limits.high}"
    )


def _sets(record: Record) -> Iterator[tuple[str, VictimScores]]:
    """Yield the scores of each set of victims."""
    if record.victims is not None:
        if record.victims.training is not None:
            yield "training", record.victims.training
        yield "held_out", record.victims.held_out


Figure = tuple[str, float | None, Limits]


def _figures(record: Record) -> Iterator[Figure]:
    """Yield name, value and limits of every figure of a record."""
    leakage, utility = record.leakage, record.utility
    if leakage is not None:
        yield "leakage", leakage.value, SHARE
        yield from (("leakage per client", one, SHARE) for one in leakage.clients or ())
    for victims, scores in _sets(record):
        yield from _named(f"{victims} ", _numbers(scores.model_dump(exclude={"images"})))
    for member in record.members:
        for found in (member.training, member.held_out):
            if found is not None:
                yield from _named(f"{shown(member.attack)} ", _numbers(found.model_dump()))
    if record.labels is not None:
        for scored in (record.labels.training, record.labels.held_out):
            yield from (("skill of labels", one.skill, Limits(high=1)) for one in scored.values())
    if utility is not None:
        shares = {"accuracy", "auc", "jaccard", "dice", "linear_pixels", "linear_colour"}
        yield from ((name, getattr(utility, name), SHARE) for name in sorted(shares))
        for measures in (utility.trivial, *utility.clients):
            yield from ((f"utility {shown(name)}", one, SHARE) for name, one in measures.items())
        correlation = utility.distance_correlation  # corrected for bias, so it may be below 0
        yield "distance correlation", correlation, Limits(-1, 1)
        yield "number of held-out images", utility.n, _COUNT
        for interval in (utility.auc_interval, utility.jaccard_interval):
            yield from (("end of an interval of utility", one, UNLIMITED) for one in interval or ())
    if record.access is not None:
        yield from (("access", one, _COUNT) for one in record.access.model_dump().values())
    yield from (("seconds", one, _COUNT) for one in record.timings.values())
    yield "peak memory", record.peak_memory_bytes, _COUNT


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested values by the last name that says what they are."""
    for name, value in values.items():
        if isinstance(value, dict):
            means = "mean" in value and name != "leakage"
            prefix = "skill_" if name == "skill" else ""
            known = {name: value["mean"]} if means else value
            yield from ((f"{prefix}{own}", one) for own, one in _numbers(known))
            if means:
                yield from ((name, one) for one in value.get("per_image") or ())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def _named(prefix: str, numbers: Iterator[tuple[str, float]]) -> Iterator[Figure]:
    for name, value in numbers:
        yield f"{prefix}{name}", value, limits_of(name)


def _names(record: Record) -> Iterator[str]:
    """Yield what is wrong with names: they are printed, and are parts of names of folders."""
    spec = record.spec
    if not _SHA256.fullmatch(record.cell_id):
        yield f"its cell_id {shown(record.cell_id)} is no SHA-256"
    names = [*(getattr(spec, kind) for kind in KINDS), spec.profile]
    names += [name for given in spec.parameters.values() for name in given]
    names += [member.attack for member in record.members]
    for name in names:
        if not (name and name.isprintable() and len(name) <= _NAME):
            yield f"{shown(name)} is no name"
    for name, file in record.artifacts.items():
        if not (file.isprintable() and len(file) <= _NAME):
            yield f"{shown(name)} is no file's name: {shown(file)}"
    for kind in record.provenance.plugins.keys() - KINDS:
        yield f"{shown(kind)} is no kind of plug-in"
    for flag in record.flags:
        if flag not in FLAGS:
            yield f"it has an unknown flag {shown(flag)}"
    if len(set(record.flags)) < len(record.flags):
        yield "it has a flag twice"


def _texts(record: Record) -> Iterator[str]:
    """Yield what is wrong with values that have no schema of their own."""
    try:
        if datetime.fromisoformat(record.provenance.created).tzinfo is None:
            raise ValueError
    except ValueError:
        yield f"it was created at {shown(record.provenance.created)}, which is no time"
    data = record.data
    classes, balance = data.get("classes", []), data.get("balance", {})
    if not _SHA256.fullmatch(str(data.get("sha256", "0" * 64))):
        yield "the hash of its images is no SHA-256"
    for name, value in (("classes", classes), ("disclosures", data.get("disclosures", []))):
        if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            yield f"its data's {name} are no list of texts"
    if not (isinstance(balance, dict) and all(isinstance(one, dict) for one in balance.values())):
        yield "its data's balance is no table of classes by part"
    elif not all(isinstance(n, int | float) for part in balance.values() for n in part.values()):
        yield "its data's balance holds something other than numbers"
    for name, value in record.session.items():
        if name.endswith("_exchanges"):
            if not isinstance(value, int) or value < 0:
                yield f"its session's {shown(name)} is no count"
        elif not isinstance(value, str | None):
            yield f"its session's {shown(name)} is no text"


def _parts(record: Record) -> Iterator[str]:
    """Yield what is missing, or there without what it follows from."""
    scored = record.victims is not None
    if scored != (record.leakage is not None):
        yield "it has leakage without scores of victims, or scores without leakage"
    if scored and record.threat_model is None:
        yield "it has scores of an attack, and no threat model"
    recorded = record.spec.target == RECORDED and not record.spec.training.trains
    if record.status == "ok" and record.utility is None and not recorded:
        yield "it is ok, and has no utility"
    for victims, scores in _sets(record):
        most = record.spec.victims if victims == "training" else record.spec.held_out
        if scores.count > most:
            yield f"it scores {scores.count} {victims} victims of {most}"


def _headline(record: Record) -> Iterator[str]:
    """Yield how the headline contradicts the scores of the victims."""
    leakage, victims = record.leakage, record.victims
    if leakage is None or victims is None:
        return
    known = {name: scores.leakage.mean for name, scores in _sets(record)}
    if leakage.victims not in known:
        yield "its headline is of training victims, who have no scores"
        return
    own = known[leakage.victims]
    if not _same(leakage.value, own):
        yield f"its headline is {_said(leakage.value)}, and those victims' leakage {_said(own)}"
    most = max(one or 0.0 for one in known.values())
    # Where a defense ended the sessions nothing is sent later, so training victims count alone.
    ended = record.session.get("ended") is not None and leakage.victims == "training"
    if not ended and (own or 0.0) < most - _ROUNDING:
        yield f"its headline is {_said(own)}, and the other victims' leakage {most:.4f}"
    for name, value in known.items():
        found = [getattr(one, name) for one in record.members]
        worst = max((one.leakage or 0.0 for one in found if one is not None), default=None)
        if worst is not None and not _same(worst, value or 0.0):
            yield f"its {name} leakage is {_said(value)}, and that of its worst member {worst:.4f}"


def _utility(record: Record) -> Iterator[str]:
    """Yield what is wrong with the utility."""
    utility = record.utility
    if utility is None:
        return
    if (utility.auc is None) == (utility.jaccard is None):
        yield "its utility is neither an AUC nor a Jaccard index, or both"
    elif not {"accuracy", utility.measure} <= utility.trivial.keys() | {"accuracy"}:
        yield f"it lacks the {utility.measure} of the trivial predictor"
    for interval in (utility.auc_interval, utility.jaccard_interval):
        if interval is not None and interval[0] > interval[1]:
            yield "an interval of its utility ends before it begins"
    if utility.n > record.spec.held_out:
        yield f"its utility is of {utility.n} held-out images of {record.spec.held_out}"


def _threat(record: Record) -> Iterator[str]:
    """Yield how what was used contradicts what the attack declared."""
    threat, access = record.threat_model, record.access
    if threat is None:
        return
    used = {} if access is None else access.model_dump()
    for name, count in used.items():
        if count and not getattr(threat, name):
            yield f"it used {name.replace('_', ' ')}, which its threat model does not declare"
    if record.victims is not None and not record.members:
        if threat.pairs and record.victims.training is not None:
            yield "its attack was given private pairs, and training victims are scored"
        if not threat.pairs and record.victims.training is None:
            yield "training victims are not scored, and its attack was given no private pairs"


def _flags(record: Record) -> Iterator[str]:
    """Yield flags that are missing, or raised without a reason."""
    for flag, raised in _expected(record).items():
        if raised != (flag in record.flags):
            yield f"its figures {'raise' if raised else 'do not raise'} the flag {flag!r}"


def _expected(record: Record) -> dict[str, bool]:
    """Return every flag that can be told from the rest of a record, and whether it is raised."""
    found: dict[str, bool] = {}
    utility, threat, said = record.utility, record.threat_model, record.session.get("labels")
    if said is not None:
        found[LABELS_SHARED] = said == "shared"
    if utility is not None:
        flags = ["target-never-learned", "defense-broke-utility"]
        undefended = record.spec.defense == "none"
        found[flags[undefended]] = False
        interval = utility.auc_interval or utility.jaccard_interval
        trivial = utility.trivial.get(utility.measure)
        if interval is not None and trivial is not None and interval[0] <= trivial:
            found[flags[not undefended]] = True
    found[BROKEN] = is_broken(record)
    if record.leakage is None or threat is None:
        return found
    headline = dict(_sets(record)).get(record.leakage.victims)
    if headline is not None:
        found |= score_flags(headline)
    done = [one for one in record.members if one.status == "ok"]
    reached = [one.reached for one in record.convergence] + [one.converged for one in done]
    found["attack-not-converged"] = not all(reached)
    found[INCOMPLETE] = len(done) < len(record.members)
    if record.provenance.isolation == "none":
        found["in-process"] = True
    # An ensemble declares what all its attacks may have; a flag is of those that ran.
    declared = {
        "oracle-access": threat.oracle,
        "dictated-client-settings": threat.client_settings,
    }
    found |= {name: raised for name, raised in declared.items() if not (record.members and raised)}
    return found


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _ROUNDING


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
