"""A record in words: what the server recovered, and what kind of server it was."""

from __future__ import annotations

import math

from splitsec.metrics.label_schema import LabelSource
from splitsec.metrics.schema import NOTHING_RECOVERED, VictimScores
from splitsec.plugins.grants import ThreatModel
from splitsec.records.members import MemberScores
from splitsec.records.record import FLAGS, LABELS_SHARED, Record, Utility

MISSING = "not available"


MARGINS = {"auc": 0.02, "jaccard": 0.01}
"""Differences of utility that do not matter, by measure."""

_TELLING = 5  # identification, in multiples of chance, that contradicts a leakage of 0
_NOT_BETTER_THAN_GUESSING = ("target-never-learned", "defense-broke-utility")


_ATTACKERS = {
    "mean-image": "the mean of the public images",
    "median-image": "the median of the public images",
    "random-image": "a random public image",
    "constant": "one grey value",
    "ssim-image": "the image most like all public ones by SSIM",
    "lpips-image": "the image most like all public ones by LPIPS",
    "class-mean-image": "the mean of the public images of the victim's class",
    "class-ssim-image": "the image most like the victim's class by SSIM",
    "class-lpips-image": "the image most like the victim's class by LPIPS",
    "mask-mean-image": "the mean public image inside and outside of the victim's mask",
}


def headline(record: Record) -> str:
    """Return in a few sentences what the server has, or why nothing is known.

    Labels that clients share come first: the server has them whatever an attack recovers.
    """
    says = _outcome(record)
    if not record.labels_shared() or record.status != "ok":
        return says
    masks = record.utility is not None and record.utility.jaccard is not None
    what, known = ("mask", "it") if masks else ("label", "each diagnosis")
    return (
        f"The clients sent the server the {what} of every training image in the clear: it needs no "
        f"attack to know {known}. {says}"
    )


def _outcome(record: Record) -> str:
    if record.status == "ok" and record.leakage is None:
        return "No attack was mounted: this run measures what the model is worth, no more."
    if record.leakage is None or record.victims is None:
        why = (record.reason or "no reason was given").rstrip(".")
        return f"This cell has no result ({record.status}): {why}."
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    return f"{_recovered(scores)} {_identified(scores)}{_by_whom(record)}"


def _by_whom(record: Record) -> str:
    """Continue with the member of an ensemble that recovered most."""
    member = None if record.leakage is None else record.leakage.member
    worked = sum(one.status == "ok" for one in record.members)
    if member is None:
        return ""
    return f" Of {worked} attacks {member} did best." if worked > 1 else f" Only {member} worked."


def members_in_words(record: Record) -> list[str]:
    """Return a sentence for each attack of an ensemble: its leakage, or why it has none."""
    return [
        f"{one.attack}: leakage {_of(one.training)} of training images, {_of(one.held_out)} of "
        f"held-out ones{'' if one.converged else '; not converged'}."
        if one.status == "ok"
        else f"{one.attack} {one.status}: {one.reason}"
        for one in record.members
    ]


def _of(scores: MemberScores | None) -> str:
    return short_number(scores.leakage if scores else None, 2)


def _recovered(scores: VictimScores) -> str:
    leakage = scores.leakage.mean
    if leakage is None:
        skill = scores.skill.mse
        known = f"; by MSE alone its skill is {skill:.2f}, 1 being a copy" if skill else ""
        return f"How much the server recovered is {MISSING}{known}."
    if leakage <= NOTHING_RECOVERED:
        return (
            "The server's images are no closer to the private ones than the best guess of "
            f"somebody who sees no traffic (leakage {leakage:.0%})."
        )
    return (
        f"The server recovered {leakage:.0%} of what there is to recover (0% is the best guess "
        f"of somebody who sees no traffic, 100% a copy){_components(scores)}."
    )


def _components(scores: VictimScores) -> str:
    """Continue the sentence with what as good a picture would cost in numbers per image."""
    count = scores.equivalent_components
    if count is None:
        return ""
    if count < 1:
        return ": pixel by pixel, as much as knowing less than one number about each image"
    more = "more than " if scores.equivalent_components_capped else "about "
    shown = f"{count:.1f}".removesuffix(".0") if count < 10 else f"{count:.0f}"
    return (
        f": pixel by pixel, as much as knowing {more}{shown} well-chosen numbers (principal "
        "components) about each image"
    )


def _identified(scores: VictimScores) -> str:
    found = scores.privacy.identification
    leakage = scores.leakage.mean
    telling = max(found.structure, found.pixel) * found.gallery >= _TELLING
    yet = leakage is not None and leakage <= NOTHING_RECOVERED and telling
    return (
        f"{'Yet, asked' if yet else 'Asked'} which of {found.gallery} private images a recovered "
        "one shows, it is right for "
        f"{found.structure:.0%} by shapes alone and for {found.pixel:.0%} by pixels "
        f"(chance: {chance_in_words(scores)})."
    )


def flags_of(record: Record) -> list[str]:
    """Return a record's flags; shared labels are first, also of records older than their flag."""
    others = [flag for flag in record.flags if flag != LABELS_SHARED]
    return [LABELS_SHARED, *others] if record.labels_shared() else others


def flag_in_words(flag: str, record: Record) -> str:
    """Return the meaning of a flag, with the numbers of a model that learned nothing."""
    if flag in _NOT_BETTER_THAN_GUESSING and record.utility is not None:
        return _against_guessing(flag, record.utility)
    return FLAGS.get(flag, "unknown to this version")


def _against_guessing(flag: str, utility: Utility) -> str:
    undefended = flag == "target-never-learned"
    model = "the undefended model" if undefended else "with the defense the model"
    value, low, high = utility.estimate(utility.measure)
    guess = utility.trivial[utility.measure]
    name = "AUC" if utility.measure == "auc" else "Jaccard"
    shown = f"{name} {with_interval(value, low, high)} against {guess:.2f}"
    if low is None or high is None:
        return f"{model} cannot be compared with the trivial predictor: {shown}"
    if high < guess:
        return f"{model} is worse than the trivial predictor: {shown}"
    if low > guess:
        return f"too few held-out images of a class to tell {model} from chance: {shown}"
    return f"{model} cannot be told from the trivial predictor: {shown}"


def linear_in_words(record: Record) -> str | None:
    """Return in a sentence how well linear models do the task; None if the record does not say."""
    utility = record.utility
    if utility is None or utility.linear_pixels is None or utility.linear_colour is None:
        return None
    name = "AUC" if utility.measure == "auc" else "Jaccard"
    mean = "brightness" if record.spec.channels == 1 else "colour"
    says = (
        f"A linear model on the pixels reaches {name} {utility.linear_pixels:.2f}, on the mean "
        f"{mean} {utility.linear_colour:.2f}."
    )
    value = getattr(utility, utility.measure)
    if record.spec.defense != "none" or utility.linear_colour < value - MARGINS[utility.measure]:
        return says
    return (
        f"{says} The undefended model is no better than the mean {mean}, so this task cannot show "
        "what a defense costs."
    )


LABEL_SOURCES: dict[LabelSource, str] = {
    "smashed_data": "smashed data, queries",
    "features": "its own features",
    "feature_gradient": "feature gradients",
    "reconstructions": "reconstructions",
    "outputs": "the model's answers",
}
"""What labels are predicted from, in the words of a table."""


def labels_in_words(record: Record) -> str | None:
    """Return in a sentence how well the server predicts labels that clients keep, at best.

    Returns:
        The sentence; None if the record does not say.
    """
    best = None if record.labels is None else record.labels.best()
    if record.labels is None or best is None:
        return None
    source, found = best
    masks = record.labels.measure == "jaccard"
    what, name = ("masks", "Jaccard") if masks else ("labels", "AUC")
    if source == "outputs":
        return (
            f"The clients send no {what}, but the server computes the model's answers, and so "
            f"knows the {what} as well as the model does ({name} {found.score:.2f})."
        )
    if found.skill is None or found.skill <= NOTHING_RECOVERED:
        return (
            f"The clients keep their {what}. From what this attack has, these probes predict them "
            f"no better than somebody who sees no traffic ({name} {found.prior:.2f})."
        )
    return (
        f"The clients keep their {what}, yet the server predicts them with {name} "
        f"{found.score:.2f}, from {LABEL_SOURCES[source]}; somebody who sees no traffic reaches "
        f"{found.prior:.2f}."
    )


def chance_in_words(scores: VictimScores) -> str:
    """Return how often guessing would identify an image."""
    chance = 1 / scores.privacy.identification.gallery
    return f"{chance:.0%}" if chance >= 0.005 else f"{chance:.1%}"


def short_number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, or ``n/a`` where there is none."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def with_interval(
    value: float | None, low: float | None, high: float | None, form: str = "z.2f"
) -> str:
    """Return a number with its interval, such as ``0.89 (0.88 to 0.90)``.

    Args:
        value: the number; a dash stands for None and NaN.
        low: lower end of the interval; None or NaN where there is none.
        high: upper end.
        form: of each number, as ``format`` takes it.
    """
    if value is None or math.isnan(value):
        return "-"
    if low is None or math.isnan(low):
        return f"{value:{form}}"
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def best_guess(scores: VictimScores) -> str:
    """Name the blind guesses that were the best."""
    chosen = scores.reference
    by_attacker: dict[str, list[str]] = {}
    for measure, attacker in (("MSE", chosen.mse), ("SSIM", chosen.ssim), ("LPIPS", chosen.lpips)):
        if attacker is not None:
            by_attacker.setdefault(attacker, []).append(measure)
    named = [
        f"{_ATTACKERS.get(attacker, attacker)} ({', '.join(measures)})"
        for attacker, measures in by_attacker.items()
    ]
    return f"The best guess is {'; '.join(named)}."


def measures(scores: VictimScores) -> list[tuple[str, str, str, str]]:
    """Return measure, the server's value, that of the best blind guess, and skill."""
    privacy, reference, trivial = scores.privacy, scores.reference, scores.trivial
    lpips = None if reference.lpips is None else trivial[reference.lpips].lpips
    identified, chance = privacy.identification, chance_in_words(scores)
    recovered = None if privacy.lpips is None else privacy.lpips.mean
    skill = scores.skill
    by_shape = identified.structure > identified.pixel
    known = "" if skill.identification is None else short_number(skill.identification, 2)
    return [
        (
            "MSE (0: identical)",
            short_number(privacy.mse.mean, 4),
            short_number(trivial[reference.mse].mse, 4),
            short_number(skill.mse, 2),
        ),
        (
            "PSNR, dB (best: 100)",
            short_number(privacy.psnr.mean, 1),
            short_number(trivial[reference.mse].psnr, 1),
            "",
        ),
        (
            "SSIM (1: identical)",
            short_number(privacy.ssim.mean),
            short_number(trivial[reference.ssim].ssim),
            short_number(skill.ssim, 2),
        ),
        (
            "LPIPS (0: identical)",
            short_number(recovered),
            short_number(lpips),
            short_number(skill.lpips, 2),
        ),
        (
            "identified by shapes",
            f"{identified.structure:.0%}",
            chance,
            known if by_shape else "",
        ),
        ("identified by pixels", f"{identified.pixel:.0%}", chance, "" if by_shape else known),
        ("leakage", short_number(scores.leakage.mean, 2), "0.00", ""),
        *_tail(scores),
    ]


def _tail(scores: VictimScores) -> list[tuple[str, str, str, str]]:
    """Return the rows of the images that leak most, where the record has them."""
    worst, almost = scores.leakage.worst, scores.leakage.almost_worst
    if worst is None or almost is None:
        return []
    return [
        ("  of the worst image", short_number(worst, 2), "", ""),
        ("  95th percentile", short_number(almost, 2), "", ""),
    ]


def threat_in_words(record: Record, threat: ThreatModel) -> str:
    """Return in a few sentences what the server did, had and used."""
    kind = "Honest but curious: it followed the protocol and kept what it saw."
    if threat.active:
        kind = (
            "Malicious: it took the honest server's place and answered with gradients of its own."
        )
        if threat.listens:
            kind += " In another session it behaved, and listened."
    has = [grant.words for name, grant in threat.grants() if _existed(name, record)]
    knows = f" Besides the traffic it had {'; '.join(has)}." if has else " It had only the traffic."
    if record.labels_shared() is False:
        knows += " The clients kept their labels."
    access = record.access
    if access is None:
        return kind + knows
    used = f" It used {access.public_images} public images"
    used += f", {access.queries} queries and {access.pairs} private pairs."
    return kind + knows + used


def _existed(grant: str, record: Record) -> bool:
    """Return whether there was anything that a declared grant could give."""
    if grant == "labels":
        return record.labels_shared() is not False
    if grant in ("public_images", "public_labels"):
        return record.spec.public > 0
    return grant != "defense_spec" or record.spec.defense != "none"
