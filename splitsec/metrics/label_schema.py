"""How well a server predicts the labels or masks that clients keep, in the form of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat

from splitsec.metrics.schema import Share
from splitsec.versioned import VersionedModel

LabelSource = Literal["smashed_data", "features", "feature_gradient", "reconstructions", "outputs"]
"""What a server predicts labels from; its own outputs are the model's predictions."""


class LabelScore(VersionedModel):
    """How well labels were predicted from one source, beside a guess that uses no traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Share = Field(description="AUC or mean Jaccard index of the predictions")
    prior: Share = Field(description="the same of the best guess from public labels alone")
    skill: FiniteFloat | None = Field(
        description="(score - prior) / (1 - prior); at most 1, below 0 for predictions that are "
        "worse than the guess; null if the guess is perfect"
    )
    images: int = Field(ge=1, description="number of victims")

    @classmethod
    def of(cls, score: float, prior: float, images: int) -> LabelScore:
        """Return the score with its skill."""
        skill = (score - prior) / (1 - prior) if prior < 1 else None
        return cls(score=score, prior=prior, skill=skill, images=images)


class LabelScores(VersionedModel):
    """Predictions of labels or masks that clients do not send, by their source.

    Attributes:
        measure: ``"auc"`` for labels, ``"jaccard"`` for masks.
        training: of training victims.
        held_out: of held-out images, which have no ``feature_gradient``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["auc", "jaccard"]
    training: dict[LabelSource, LabelScore] = Field(default_factory=dict)
    held_out: dict[LabelSource, LabelScore] = Field(default_factory=dict)

    def best(self) -> tuple[LabelSource, LabelScore] | None:
        """Return the source with the highest skill over both sets of victims, and its score."""
        scored = [*self.training.items(), *self.held_out.items()]
        known = [(one.skill, source, one) for source, one in scored if one.skill is not None]
        if not known:
            return None
        _, source, score = max(known, key=lambda entry: entry[0])
        return source, score

    @classmethod
    def worst_of(cls, several: Sequence[LabelScores]) -> LabelScores | None:
        """Return the highest score of each source and set of victims; None of an empty sequence.

        Args:
            several: of attacks on the same victims.
        """
        if not several:
            return None
        found: dict[str, dict[LabelSource, LabelScore]] = {"training": {}, "held_out": {}}
        for one in several:
            for name, worst in found.items():
                for source, score in getattr(one, name).items():
                    if source not in worst or score.score > worst[source].score:
                        worst[source] = score
        return cls(measure=several[0].measure, **found)
