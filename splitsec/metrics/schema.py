"""The scores of one set of victims, in the form of a record.

These are plain data: reading a record needs neither torch nor an attack. Every number is finite; a
missing measure is ``None`` (``null``), and the field's description says when.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, FiniteFloat

from splitsec.versioned import VersionedModel

NOTHING_RECOVERED = 0.02
"""Leakage at or below which an attacker who sees nothing does as well."""

GALLERY = 100
"""Images in a gallery for identification; chance is 1 %."""

BLIND = (
    "mean-image",
    "median-image",
    "random-image",
    "constant",
    "ssim-image",
    "lpips-image",
)
"""Names of the blind attackers; any other is told labels, too."""

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class _Scores(VersionedModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PerImage(_Scores):
    """The mean of a measure over the images.

    The mean of PSNRs is a mean of decibels, not the PSNR of the mean MSE.
    """

    later: ClassVar[tuple[str, ...]] = ("per_image",)

    mean: FiniteFloat
    per_image: tuple[FiniteFloat, ...] | None = Field(
        None,
        description="the values, in records up to protocol 4; later ones have them in a file, "
        "which splitsec.per_image_frame reads",
    )


class Identification(_Scores):
    """How often a reconstruction is strictly nearer to its own victim than to any other."""

    later: ClassVar[tuple[str, ...]] = ("certain",)

    structure: Share = Field(
        description="after removing colour, contrast and the public mean image"
    )
    pixel: Share = Field(description="by mean squared error of the images as they are")
    gallery: int = Field(ge=1, description="images to tell apart; chance is 1 / gallery")
    certain: Share | None = Field(
        None,
        description="share of victims that are nearer than every other image, not only than those "
        "of a gallery, by structure or by pixel; from protocol 5",
    )


class Privacy(_Scores):
    """Errors of the reconstructions against the victims, images in [0, 1]."""

    mse: PerImage
    psnr: PerImage = Field(description="decibels, at most 100")
    ssim: PerImage
    lpips: PerImage | None = Field(description="null where LPIPS has no backbone weights")
    identification: Identification


class Skill(_Scores):
    """1 - mean(error) / mean(error of the best blind image); at most 1, may be negative.

    Null if the measure is missing or the blind image makes no error at all.
    """

    later: ClassVar[tuple[str, ...]] = ("identification",)

    mse: FiniteFloat | None
    ssim: FiniteFloat | None = Field(description="of the error 1 - SSIM")
    lpips: FiniteFloat | None
    identification: FiniteFloat | None = Field(
        None,
        description="(rate - guess) / (1 - guess) of the kind that identifies more victims, where "
        "guess is the rate of the best blind guess, usually 1 / gallery; from protocol 5",
    )


class VictimLeakage(_Scores):
    """Leakage of one set of victims; all null if one of the skills is."""

    later: ClassVar[tuple[str, ...]] = ("worst", "almost_worst")

    mean: Share | None = Field(
        description="mean of the four skills, each below 0 counted as 0; up to protocol 4 of three "
        "skills, without identification, clipped to [0, 1] once"
    )
    per_image: tuple[FiniteFloat, ...] | None = Field(
        description="mean skill of each image, not clipped, in records up to protocol 4; later "
        "ones have it in a file, which splitsec.per_image_frame reads"
    )
    share_above_random: Share | None = Field(
        description="share of victims whose leakage is above the 95th percentile of what a random "
        "public image reaches on these victims"
    )
    worst: Share | None = Field(
        None, description="leakage of the image that leaks most; from protocol 5"
    )
    almost_worst: Share | None = Field(
        None, description="95th percentile of the images' leakage; from protocol 5"
    )


class BaselineScores(_Scores):
    """Mean scores of a trivial attacker or of a yardstick on the same victims."""

    mse: FiniteFloat
    psnr: FiniteFloat
    ssim: FiniteFloat
    lpips: FiniteFloat | None
    structure: Share
    pixel: Share
    leakage: Share | None


class StrongestTrivial(_Scores):
    """Names of the trivial attackers that skill is measured against, per error."""

    mse: str
    ssim: str
    lpips: str | None


class VictimScores(_Scores):
    """All scores of one set of victims."""

    later: ClassVar[tuple[str, ...]] = ("images",)

    privacy: Privacy
    skill: Skill
    leakage: VictimLeakage
    reference: StrongestTrivial = Field(description="chosen on validation images")
    trivial: dict[str, BaselineScores]
    yardsticks: dict[str, BaselineScores]
    equivalent_components: FiniteFloat | None = Field(
        ge=0,
        description="principal components that would do as well by MSE; between 0 (the public "
        "mean image) and 1 linear in MSE, above 1 linear in log k",
    )
    equivalent_components_capped: bool = Field(
        description="better than the largest yardstick, at whose k the number stops"
    )
    clamped_share: Share = Field(description="share of values that lay outside [0, 1]")
    images: int | None = Field(None, ge=1, description="number of victims; from protocol 5")

    @property
    def count(self) -> int:
        """Number of victims."""
        return self.images or len(self.privacy.mse.per_image or ())
