"""The record of one cell: everything that was asked, measured and used, as one JSON.

The schema is versioned and published (``Record.model_json_schema()``). Reading a record needs
neither torch nor the plug-ins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PrivateAttr

from splitsec.metrics.figures import Estimate, limits_of
from splitsec.metrics.label_schema import LabelScores
from splitsec.metrics.schema import VictimScores
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.plugins.guarantee import Guarantee
from splitsec.records.members import MemberResult
from splitsec.records.spec import CellSpec
from splitsec.versioned import VersionedModel

SCHEMA_VERSION = 1

PROTOCOL_VERSION = 5
"""Raised whenever the same cell would give other numbers than before."""

Status = Literal["ok", "failed", "skipped", "timeout", "cancelled"]

Agreement = Literal["identical", "within tolerance", "within prediction", "differs"]
"""How the numbers of two runs of one cell compare, see :mod:`splitsec.records.agreement`."""

INVALIDATING = frozenset(
    {"non-finite", "lpips-unavailable", "target-never-learned", "small-gallery"}
)
"""Flags that keep a cell out of a ranking; all others inform."""

LABELS_SHARED = "labels-shared"
"""The flag of a cell in which labels need no attack: it is always said first."""

INCOMPLETE = "ensemble-incomplete"
"""The flag of an ensemble that ran without one of its attacks."""

FLAGS = {
    LABELS_SHARED: "the clients send the server the label of every training image, such as the "
    "patient's diagnosis, in the clear; a defense of the images does not hide it",
    "non-finite": "a value was not finite; the numbers cannot be trusted",
    "lpips-unavailable": "LPIPS could not be computed, so leakage is missing",
    "target-never-learned": "the undefended model is not shown to be better than the trivial "
    "predictor",
    "training-images-unknown": "the model came with trained weights, and nobody said which images "
    "trained it: held-out images may be among them, which flatters the model, and perhaps the "
    "attack",
    "classes-swapped": "the model ranks the classes the wrong way round: its outputs are probably "
    "in another order than the classes of the images, so what it is worth is not known",
    "defense-broke-utility": "with the defense the model is not shown to be better than the "
    "trivial predictor",
    "no-better-than-trivial": "the attack recovers no more than an attacker who sees nothing",
    "no-better-than-colour": "the attack tells no more than each image's average colours would",
    "small-gallery": "there are fewer than 100 different images to tell a victim from, which makes "
    "identification easier, so leakage cannot be compared",
    "oracle-access": "the attack had access that a real server does not have",
    "in-process": "attack and private data shared one process; isolation was by interface only",
    "randomised-defense": "the defense draws random numbers; other draws give other results",
    "honest-session-ended": "the defense ended a session with an honest server: a false alarm; "
    "the utility is that of a model trained so far",
    "session-ended": "the defense ended the session early",
    "victims-not-sent": "some victims had not been sent when the session ended; "
    "they count as recovered no better than by the mean of the public images",
    "attack-not-converged": "the attack's own error still fell by over 5 % in the second half of "
    "its training; a longer one would recover more",
    INCOMPLETE: "an attack of the ensemble did not apply or failed, so the worst of all "
    "is not known; the record says which, and why",
    "clamped": "over 5 % of the reconstructed values were outside [0, 1] and were clamped",
    "guarantee-broken": "more victims were identified than the defense's epsilon permits",
    "dictated-client-settings": "the server dictated the client's batch size or learning rate",
}
"""Every flag and what it means, in words."""


class _Model(VersionedModel):
    # JSON has no NaN; a diverged curve keeps its NaN as a string constant and reads back.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Victims(_Model):
    """Scores of both sets of victims.

    Attributes:
        training: private images, from the smashed data that were last sent in training; None for
            an attack that was given private pairs.
        held_out: held-out images, which the trained client encodes after the session.
    """

    training: VictimScores | None
    held_out: VictimScores


class Leakage(_Model):
    """The headline: the leakage of the victims that leak more.

    Attributes:
        value: in [0, 1]; None where LPIPS is missing.
        victims: which victims leak more.
        clients: the leakage of each client's victims, where there are several clients.
        member: the attack that recovers most of them, of an ensemble.
    """

    later: ClassVar[tuple[str, ...]] = ("member",)

    value: float | None
    victims: Literal["training", "held_out"]
    clients: list[float] | None = None
    member: str | None = None


class Utility(_Model):
    """What the model of an honest session with the defense is worth to its clients.

    Attributes:
        accuracy: share of held-out images that are classified correctly, or of their pixels.
        auc: area under the ROC curve; macro average over classes where there are more than two.
            0.5 if all held-out images are of one class.
        auc_interval: 95 % bootstrap interval over held-out images, resampled class by class; null
            if all are of one class. Up to protocol 4 the classes were resampled together.
        jaccard: mean over images of intersection over union (segmentation).
        jaccard_interval: 95 % t-interval over held-out images; up to protocol 4 it may
            leave [0, 1].
        dice: mean over images of the Dice coefficient (segmentation).
        trivial: the same measures for a predictor that always answers with the private images'
            majority class or mean mask.
        n: number of held-out images.
        clients: the measures on each client's share of the held-out images, where there are
            several clients.
        distance_correlation: of held-out images and their released smashed data, bias-corrected
            and squared; 0 where they are independent.
        source: the session that was measured.
        linear_pixels: the measure that the model is judged by (AUC or Jaccard), of a linear model
            on the pixels, see :mod:`splitsec.metrics.linear_models`; None up to protocol 4.
        linear_colour: the same of a linear model on the mean of each colour channel.
    """

    later: ClassVar[tuple[str, ...]] = ("linear_pixels", "linear_colour")

    accuracy: float
    auc: float | None = None
    auc_interval: tuple[float, float] | None = None
    jaccard: float | None = None
    jaccard_interval: tuple[float, float] | None = None
    dice: float | None = None
    trivial: dict[str, float]
    n: int
    clients: list[dict[str, float]] = Field(default_factory=list)
    distance_correlation: float | None = None
    source: Literal["honest session"] = "honest session"
    linear_pixels: float | None = None
    linear_colour: float | None = None

    @property
    def measure(self) -> Literal["auc", "jaccard"]:
        """Name of the measure that the model is judged by."""
        return "auc" if self.jaccard is None else "jaccard"

    def estimate(self, measure: Literal["auc", "jaccard"]) -> Estimate:
        """Return a measure with its interval over held-out images, cut to [0, 1]."""
        interval = getattr(self, f"{measure}_interval")
        ends = () if interval is None else limits_of(measure).cut(*interval)
        return Estimate(getattr(self, measure), *ends)


class Provenance(_Model):
    """What ran where.

    Attributes:
        plugins: from a kind to the plug-in's name or path, its source, and the SHA-256 of the
            source and of its code.
        packages: from each package that may change a number to its version.
        python: version of Python.
        platform: operating system and architecture.
        processor: model of the processor, and which of its instructions torch uses.
        device: device that the cell ran on.
        threads: number of torch's threads.
        core: SHA-256 of splitsec's own source.
        commit: commit of the checkout that splitsec ran from, if any.
        dirty: whether that checkout had uncommitted changes.
        created: time, UTC.
        command: the command line.
        isolation: what kept the attack from the private data.
    """

    later: ClassVar[tuple[str, ...]] = ("processor", "core", "isolation")

    plugins: dict[str, dict[str, str]]
    packages: dict[str, str]
    python: str
    platform: str
    processor: str | None = None
    device: str
    threads: int
    core: str | None = None
    commit: str | None
    dirty: bool | None
    created: str
    command: list[str]
    isolation: Literal["none", "process", "sandbox"] = "none"


class Evidence(_Model):
    """Who vouches for a record's numbers.

    Attributes:
        origin: ``"here"`` if the record's owner ran the cell, ``"claimed"`` if somebody else ran
            it and sent the record.
        agreement: for a cell that was run again here, how its numbers compare with the claim.
        claimant: name of the submission that a published claim is from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[tuple[str, ...]] = ("claimant",)

    origin: Literal["here", "claimed"] = "here"
    agreement: Agreement | None = None
    claimant: str | None = None


class Signature(_Model):
    """A signature of a record's seal, see :mod:`splitsec.records.signatures`.

    Attributes:
        key: the public key, 64 hexadecimal digits.
        value: the signature, 128 hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern="^[0-9a-f]{64}$")
    value: str = Field(pattern="^[0-9a-f]{128}$")


class Record(_Model):
    """The result of one cell of a grid.

    A record without ``protocol`` is of protocol 3, the last one that did not state it.

    Attributes:
        schema_version: version of this schema.
        protocol: version of the rules that the numbers follow; boards do not mix them.
        cell_id: SHA-256 of everything that decides the numbers.
        status: ``"ok"``, or why there are no numbers.
        reason: one sentence, where the status is not ``"ok"``.
        spec: what was asked, with every parameter.
        threat_model: what the attack declared.
        data: the data set: its images' hash, its classes and what readers must know of it.
        victims: scores of the victims of training and of held-out ones.
        leakage: the headline.
        labels: how well the server predicts labels or masks that clients keep; None where clients
            share them, and in records up to protocol 4.
        utility: what the model is worth to its clients.
        access: how much of its grants the attack used.
        session: how many exchanges the sessions had, why they ended, and whether clients shared
            their ``labels`` or kept them ``private``.
        history: curves of training and attack, by stage and by name. Where they would have over
            2,000 values together, long ones are means over equal stretches.
        convergence: the attack's own errors at half and at full length of its training; empty if
            it reports none, and of an ensemble.
        members: the attacks of an ensemble, each by itself; empty for any other attack. Each set of
            victims is scored by the member that recovers most of it.
        guarantee: what the defense proves of what is sent; None for no bound, as of most defenses.
        flags: names of :data:`FLAGS` that apply; read them before you believe the numbers.
        notes: sentences for readers.
        provenance: what ran where; may differ between two runs of the cell.
        timings: seconds by stage.
        peak_memory_bytes: largest memory of the process.
        artifacts: from a name to the file that belongs to the record.
        evidence: who vouches for the numbers.
        seal: SHA-256 of everything else, by which a damaged or incomplete record is found. Anybody
            can seal a record anew.
        signature: of the seal, with a key that a board may trust; None if nobody signed.
    """

    later: ClassVar[tuple[str, ...]] = (
        "evidence",
        "convergence",
        "members",
        "labels",
        "guarantee",
        "signature",
    )

    schema_version: int = SCHEMA_VERSION
    protocol: int = 3
    cell_id: str
    status: Status
    reason: str | None = None
    spec: CellSpec
    threat_model: ThreatModel | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    victims: Victims | None = None
    leakage: Leakage | None = None
    labels: LabelScores | None = None
    utility: Utility | None = None
    access: Access | None = None
    session: dict[str, Any] = Field(default_factory=dict)
    history: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    convergence: tuple[Convergence, ...] = ()
    members: tuple[MemberResult, ...] = ()
    guarantee: Guarantee | None = None
    flags: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    provenance: Provenance
    timings: dict[str, float] = Field(default_factory=dict)
    peak_memory_bytes: int | None = None
    artifacts: dict[str, str] = Field(default_factory=dict)
    evidence: Evidence = Evidence()
    seal: str | None = None
    signature: Signature | None = None

    _folder: Path | None = PrivateAttr(default=None)

    __hash__ = None  # type: ignore[assignment]  # as of all models that can change

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.__dict__ == other.__dict__  # wherever they are

    @property
    def folder(self) -> Path | None:
        """The folder that its artifacts are named from; None if it was not read from one."""
        return self._folder

    def found_in(self, folder: Path) -> Record:
        """Return the record, which was read from or written to a folder."""
        found = self.model_copy()
        found._folder = folder.absolute()
        return found

    def sealed(self) -> Record:
        """Return the record with its seal: the SHA-256 of everything else in it.

        A signature is kept if it is of this seal.
        """
        seal = seal_of(json.loads(self.model_dump_json()))
        signature = self.signature if seal == self.seal else None
        return self.model_copy(update={"seal": seal, "signature": signature})

    def labels_shared(self) -> bool | None:
        """Return whether clients sent the server their labels; None if the record does not say."""
        if LABELS_SHARED in self.flags:
            return True
        said = self.session.get("labels") or self.spec.parameters.get("target", {}).get("labels")
        return {"shared": True, "private": False}.get(str(said))

    def numbers(self) -> dict[str, Any]:
        """Return the fields that two runs of the same cell must agree on."""
        return self.model_dump(
            mode="json",
            exclude={
                "provenance": True,
                "timings": True,
                "peak_memory_bytes": True,
                "artifacts": True,
                "evidence": True,
                "seal": True,
                "signature": True,
                "members": {"__all__": {"seconds"}},
            },
        )

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return self.model_dump_json()


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's JSON values, however they are laid out.

    The seal itself and the signature of it do not count.
    """
    sealed = {name: value for name, value in content.items() if name not in ("seal", "signature")}
    text = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
