"""Scores the reconstructions of one set of victims with every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from splitsec.devices import CPU, Device
from splitsec.errors import DivergedError, PluginError
from splitsec.metrics import image_errors
from splitsec.metrics.blind_attackers import TrivialAttackers
from splitsec.metrics.identification import IdentificationRates, identification
from splitsec.metrics.leakage import ERRORS, leakage, leakage_per_image, share_above, skill
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.schema import (
    BaselineScores,
    Identification,
    PerImage,
    Privacy,
    Skill,
    StrongestTrivial,
    VictimLeakage,
    VictimScores,
)
from splitsec.metrics.yardsticks import Yardsticks, equivalent_components


class ClampedImages(NamedTuple):
    """Reconstructions (N, C, H, W) in [0, 1], and the share of values that were outside."""

    images: Tensor
    share: float


@dataclass(frozen=True)
class References:
    """The trivial attackers and yardsticks fitted to public images.

    Attributes:
        attackers: the trivial attackers.
        yardsticks: oracles that know a few numbers of each victim.
        strongest: per error (``mse``, ``ssim``, and ``lpips`` if it was measured), the name of
            the trivial attacker with the smallest mean error on validation images.
        lpips: the perceptual distance, or ``None`` if its weights are unavailable.
        device: where images are measured.
    """

    attackers: TrivialAttackers
    yardsticks: Yardsticks
    strongest: Mapping[str, str]
    lpips: Lpips | None
    device: Device = CPU

    @classmethod
    def fit(
        cls,
        public: Tensor,
        validation: Tensor,
        lpips: Lpips | None,
        generator: torch.Generator,
        device: Device = CPU,
    ) -> References:
        """Fit to public images and choose the strongest trivial attackers.

        Args:
            public: (N, C, H, W), in [0, 1], the attacker's own images.
            validation: (M, C, H, W), in [0, 1], images on which the attackers are compared.
            lpips: the perceptual distance, or ``None``.
            generator: draws the random-image attacker's images.
            device: where images are measured, and ``lpips`` is.
        """
        public, validation = device.put((public, validation))
        attackers = TrivialAttackers.fit(public)
        measure = _Measure.against(validation, lpips)
        errors = {
            name: measure(images)
            for name, images in attackers.reconstructions(len(validation), generator).items()
        }
        strongest = {
            error: min(errors, key=lambda name: errors[name][error].mean().item())
            for error in errors["mean-image"]
        }
        return cls(attackers, Yardsticks.fit(public), strongest, lpips, device)

    def on(self, victims: Tensor, generator: torch.Generator) -> Baselines:
        """Score the trivial attackers and yardsticks on victims, once for all attacks.

        Args:
            victims: (N, C, H, W), in [0, 1].
            generator: draws the random-image attacker's images.
        """
        victims = self.device.put(victims)
        trivial = self.attackers.reconstructions(len(victims), generator)
        measure = _Measure.against(victims, self.lpips)
        errors = {name: measure(images) for name, images in trivial.items()}
        bar = {error: errors[name][error].mean().item() for error, name in self.strongest.items()}

        def score(images: Tensor, measured: Mapping[str, Tensor]) -> BaselineScores:
            rates = identification(images, victims, self.attackers.mean)
            return _baseline(measured, bar, rates)

        oracles = self.yardsticks.reconstructions(victims)
        return Baselines(
            references=self,
            measure=measure,
            bar=bar,
            random_leakage=leakage_per_image(errors["random-image"], bar),
            trivial={name: score(trivial[name], errors[name]) for name in trivial},
            yardsticks={name: score(images, measure(images)) for name, images in oracles.items()},
        )


@dataclass(frozen=True)
class Baselines:
    """Scores of trivial attackers and yardsticks on one set of victims.

    Attributes:
        references: the fitted trivial attackers and yardsticks.
        measure: measures the errors of images against the victims.
        bar: per error, the strongest trivial attacker's mean error on these victims.
        random_leakage: (N,), leakage per image of the random-image attacker; ``None`` if an
            error is missing.
        trivial: name to scores.
        yardsticks: name to scores.
    """

    references: References
    measure: _Measure
    bar: Mapping[str, float]
    random_leakage: Tensor | None
    trivial: dict[str, BaselineScores]
    yardsticks: dict[str, BaselineScores]

    @property
    def victims(self) -> Tensor:
        """The victims, (N, C, H, W), in [0, 1]."""
        return self.measure.victims

    def score(self, reconstructions: Tensor) -> VictimScores:
        """Score reconstructions of the victims.

        Args:
            reconstructions: the victims' shape, float; row i reconstructs victim i.

        Raises:
            PluginError: the shape is not the victims', or the values are not real numbers.
            DivergedError: a value is not finite.
        """
        made = self.references.device.put(reconstructions)
        images, clamped_share = clamp(made, self.victims.shape)
        errors = self.measure(images)
        rates = identification(images, self.victims, self.references.attackers.mean)
        skills = _skills(errors, self.bar)
        mse = errors["mse"].mean().item()
        equivalent = equivalent_components(
            mse,
            self.trivial["mean-image"].mse,
            {
                k: self.yardsticks[f"components-{k}"].mse
                for k in self.references.yardsticks.components
            },
        )
        return VictimScores(
            privacy=Privacy(
                mse=_per_image(errors["mse"]),
                psnr=_per_image(image_errors.psnr_of_mse(errors["mse"])),
                ssim=_per_image(1 - errors["ssim"]),
                lpips=_per_image(errors["lpips"]) if "lpips" in errors else None,
                identification=Identification(**rates._asdict()),
            ),
            skill=Skill(**skills),
            leakage=self._leakage(errors, skills),
            reference=StrongestTrivial(**{"lpips": None, **self.references.strongest}),
            trivial=self.trivial,
            yardsticks=self.yardsticks,
            equivalent_components=equivalent.components,
            equivalent_components_capped=equivalent.capped,
            clamped_share=clamped_share,
        )

    def _leakage(
        self, errors: Mapping[str, Tensor], skills: Mapping[str, float | None]
    ) -> VictimLeakage:
        values = leakage_per_image(errors, self.bar)
        if values is None or self.random_leakage is None:
            return VictimLeakage(mean=None, per_image=None, share_above_random=None)
        return VictimLeakage(
            mean=leakage(list(skills.values())),
            per_image=tuple(values.tolist()),
            share_above_random=share_above(values, self.random_leakage),
        )


def clamp(reconstructions: Tensor, shape: torch.Size) -> ClampedImages:
    """Check an attack's reconstructions and clamp them to [0, 1].

    Args:
        reconstructions: the attack's return value.
        shape: the victims' shape (N, C, H, W).

    Returns:
        Float32 images in [0, 1], and the share of values that were clamped.

    Raises:
        PluginError: the value is not a tensor of real numbers of that shape.
        DivergedError: a value is not finite.
    """
    if not isinstance(reconstructions, Tensor) or not reconstructions.is_floating_point():
        kind = getattr(reconstructions, "dtype", type(reconstructions).__name__)
        raise PluginError(
            f"the attack's reconstructions must be a floating-point tensor, it returned {kind}"
        )
    if reconstructions.shape != shape:
        raise PluginError(
            f"the attack's reconstructions have shape {tuple(reconstructions.shape)}, "
            f"the victims have {tuple(shape)}"
        )
    images = reconstructions.detach().float()
    if not images.isfinite().all():
        rows = int((~images.isfinite()).flatten(1).any(dim=1).sum())
        raise DivergedError(
            f"{rows} of {len(images)} reconstructions hold values that are not finite; "
            "the attack diverged (try a smaller learning rate)"
        )
    outside = ((images < 0) | (images > 1)).double().mean().item()
    return ClampedImages(images.clamp(0, 1), outside)


@dataclass(frozen=True)
class _Measure:
    """Measures each error of ``ERRORS`` per image, ``ssim`` being 1 - SSIM, against victims."""

    victims: Tensor
    lpips: Callable[[Tensor], Tensor] | None

    @classmethod
    def against(cls, victims: Tensor, lpips: Lpips | None) -> _Measure:
        return cls(victims, lpips.against(victims) if lpips is not None else None)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        errors = {
            "mse": image_errors.mse(images, self.victims),
            "ssim": 1 - image_errors.ssim(images, self.victims),
        }
        if self.lpips is not None:
            errors["lpips"] = self.lpips(images)
        return errors


def _skills(errors: Mapping[str, Tensor], bar: Mapping[str, float]) -> dict[str, float | None]:
    return {
        name: skill(errors[name].mean().item(), bar[name]) if name in errors else None
        for name in ERRORS
    }


def _baseline(
    errors: Mapping[str, Tensor], bar: Mapping[str, float], rates: IdentificationRates
) -> BaselineScores:
    return BaselineScores(
        mse=errors["mse"].mean().item(),
        psnr=image_errors.psnr_of_mse(errors["mse"]).mean().item(),
        ssim=1 - errors["ssim"].mean().item(),
        lpips=errors["lpips"].mean().item() if "lpips" in errors else None,
        structure=rates.structure,
        pixel=rates.pixel,
        leakage=leakage(list(_skills(errors, bar).values())),
    )


def _per_image(values: Tensor) -> PerImage:
    return PerImage(mean=values.mean().item(), per_image=tuple(values.tolist()))
