"""Scores the reconstructions of one set of victims with every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from splitsec.devices import CPU, Device, on_cpu
from splitsec.errors import DivergedError, PluginError
from splitsec.metrics import image_errors
from splitsec.metrics.blind_attackers import BlindAttackers
from splitsec.metrics.identification import Gallery, Identified
from splitsec.metrics.label_guesses import LabelGuesses
from splitsec.metrics.leakage import (
    ERRORS,
    KINDS,
    VictimErrors,
    leakage,
    share_above,
)
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.schema import (
    BLIND,
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

_RANDOM = "random-image"  # a draw per victim: no reference, since a single image is better
_ALMOST_WORST = 0.95  # quantile of the images' leakage that is reported beside the worst


class ClampedImages(NamedTuple):
    """Reconstructions (N, C, H, W) in [0, 1], and the share of values that were outside."""

    images: Tensor
    share: float


class ScoredVictims(NamedTuple):
    """The scores of one set of victims, and what was measured of each victim."""

    scores: VictimScores
    errors: VictimErrors


@dataclass(frozen=True)
class References:
    """The blind attackers and yardsticks fitted to public images.

    Attributes:
        attackers: the blind attackers.
        yardsticks: oracles that know a few numbers of each victim.
        strongest: per error (``mse``, ``ssim``, and ``lpips`` if it was measured), the name of
            the blind image with the smallest mean error on validation images.
        lpips: the perceptual distance, or ``None`` if its weights are unavailable.
        validation: (M, C, H, W), in [0, 1], images on which blind attackers are compared; they
            also fill galleries of fewer than a hundred victims.
        guesses: guesses of an attacker who is told the victims' labels, or ``None``.
        device: where images are measured.
    """

    attackers: BlindAttackers
    yardsticks: Yardsticks
    strongest: Mapping[str, str]
    lpips: Lpips | None
    validation: Tensor
    guesses: LabelGuesses | None = None
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
        """Fit to public images and choose the strongest blind images.

        Args:
            public: (N, C, H, W), in [0, 1], the attacker's own images.
            validation: (M, C, H, W), in [0, 1], images on which the attackers are compared.
            lpips: the perceptual distance, or ``None``.
            generator: draws the images that a search for the best blind image compares with.
            device: where images are measured, and ``lpips`` is.
        """
        public, validation = device.put((public, validation))
        fitted = cls(
            attackers=BlindAttackers.fit(public, lpips, generator),
            yardsticks=Yardsticks.fit(public),
            strongest={},
            lpips=lpips,
            validation=validation,
            device=device,
        )
        return fitted._chosen(None)

    def told(self, guesses: LabelGuesses, labels: Tensor) -> References:
        """Return the same for an attacker who is told labels.

        Args:
            guesses: what such an attacker guesses.
            labels: of the validation images, on which these guesses and the others are compared.
        """
        return replace(self, guesses=guesses)._chosen(labels)

    def on(
        self, victims: Tensor, generator: torch.Generator, labels: Tensor | None = None
    ) -> Baselines:
        """Score the blind attackers and yardsticks on victims, once for all attacks.

        Args:
            victims: (N, C, H, W), in [0, 1].
            generator: draws the random-image attacker's images.
            labels: the victims' labels, if the attacker is told them.
        """
        victims = self.device.put(victims)
        measure = _Measure.against(victims, self.lpips)
        gallery = Gallery.of(victims, self.attackers.mean, self.validation)
        blind = self._guesses(len(victims), generator, labels)
        errors = {name: measure(images) for name, images in blind.items()}
        bar = {error: errors[name][error] for error, name in self.strongest.items()}

        identified = {name: gallery.identify(images) for name, images in blind.items()}
        rates = [
            getattr(identified[name], kind).mean().item()
            for name in blind.keys() - BLIND  # guesses made from labels
            for kind in KINDS
        ]
        guessed = max(1 / gallery.size, *rates, 0.0)
        measured = {
            name: _victim_errors(errors[name], bar, identified[name], guessed) for name in blind
        }
        oracles = self.yardsticks.reconstructions(victims)
        return Baselines(
            references=self,
            measure=measure,
            gallery=gallery,
            bar=bar,
            guessed=guessed,
            best_guess=blind[self.strongest["mse"]],
            random_leakage=measured[_RANDOM].per_image(),
            trivial={name: _baseline(one) for name, one in measured.items()},
            yardsticks={
                name: _baseline(
                    _victim_errors(measure(images), bar, gallery.identify(images), guessed)
                )
                for name, images in oracles.items()
            },
        )

    def _guesses(
        self, count: int, generator: torch.Generator, labels: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the images (N, C, H, W) of every blind attacker, by name."""
        blind = self.attackers.reconstructions(count, generator)
        if self.guesses is None or labels is None:
            return blind
        return blind | self.guesses(labels)

    def _chosen(self, labels: Tensor | None) -> References:
        """Return the same with the strongest image per error, chosen on validation images."""
        measure = _Measure.against(self.validation, self.lpips)
        blind = self._guesses(len(self.validation), torch.Generator(), labels)
        errors = {name: measure(images) for name, images in blind.items() if name != _RANDOM}
        strongest = {
            error: min(errors, key=lambda name: errors[name][error].mean().item())
            for error in errors["mean-image"]
        }
        return replace(self, strongest=strongest)


@dataclass(frozen=True)
class Baselines:
    """Scores of blind attackers and yardsticks on one set of victims.

    Attributes:
        references: the fitted blind attackers and yardsticks.
        measure: measures the errors of images against the victims.
        gallery: the images that reconstructions must tell apart.
        bar: per error, the best blind image's errors on these victims, (N,).
        guessed: share of victims that the best guess identifies.
        best_guess: (N, C, H, W), the blind images with the smallest MSE.
        random_leakage: (N,), leakage per image of the random-image attacker; ``None`` if an
            error is missing.
        trivial: name to scores of the blind attackers.
        yardsticks: name to scores.
    """

    references: References
    measure: _Measure
    gallery: Gallery
    bar: Mapping[str, Tensor]
    guessed: float
    best_guess: Tensor
    random_leakage: np.ndarray[tuple[int], np.dtype[np.float64]] | None
    trivial: dict[str, BaselineScores]
    yardsticks: dict[str, BaselineScores]

    @property
    def victims(self) -> Tensor:
        """The victims, (N, C, H, W), in [0, 1]."""
        return self.measure.victims

    def score(self, reconstructions: Tensor) -> ScoredVictims:
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
        identified = self.gallery.identify(images)
        measured = _victim_errors(errors, self.bar, identified, self.guessed)
        skills = measured.skills()
        equivalent = equivalent_components(
            errors["mse"].mean().item(),
            self.trivial["mean-image"].mse,
            {
                k: self.yardsticks[f"components-{k}"].mse
                for k in self.references.yardsticks.components
            },
        )
        scores = VictimScores(
            privacy=Privacy(
                mse=_mean(errors["mse"]),
                psnr=_mean(image_errors.psnr_of_mse(errors["mse"])),
                ssim=_mean(1 - errors["ssim"]),
                lpips=_mean(errors["lpips"]) if "lpips" in errors else None,
                identification=Identification(
                    structure=identified.structure.mean().item(),
                    pixel=identified.pixel.mean().item(),
                    gallery=identified.gallery,
                    certain=identified.certain.double().mean().item(),
                ),
            ),
            skill=Skill(**skills),
            leakage=self._leakage(measured, leakage(skills)),
            reference=StrongestTrivial(**{"lpips": None, **self.references.strongest}),
            trivial=self.trivial,
            yardsticks=self.yardsticks,
            equivalent_components=equivalent.components,
            equivalent_components_capped=equivalent.capped,
            clamped_share=clamped_share,
            images=len(images),
        )
        return ScoredVictims(scores, measured)

    def _leakage(self, measured: VictimErrors, mean: float | None) -> VictimLeakage:
        values = measured.per_image()
        if values is None or self.random_leakage is None or mean is None:
            return VictimLeakage(mean=None, per_image=None, share_above_random=None)
        return VictimLeakage(
            mean=mean,
            per_image=None,
            share_above_random=share_above(values, self.random_leakage),
            worst=values.max().item(),
            almost_worst=np.quantile(values, _ALMOST_WORST).item(),
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


def _victim_errors(
    errors: Mapping[str, Tensor],
    bar: Mapping[str, Tensor],
    identified: Identified,
    guessed: float,
) -> VictimErrors:
    def arrays(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return {name: on_cpu(values[name]).numpy() for name in ERRORS if name in values}

    return VictimErrors(
        errors=arrays(errors),
        references=arrays(bar),
        identified={kind: on_cpu(getattr(identified, kind)).numpy() for kind in KINDS},
        gallery=identified.gallery,
        guessed=guessed,
    )


def _baseline(measured: VictimErrors) -> BaselineScores:
    errors = {name: values.mean().item() for name, values in measured.errors.items()}
    psnr = image_errors.psnr_of_mse(torch.from_numpy(measured.errors["mse"]))
    return BaselineScores(
        mse=errors["mse"],
        psnr=psnr.mean().item(),
        ssim=1 - errors["ssim"],
        lpips=errors.get("lpips"),
        structure=measured.identified["structure"].mean().item(),
        pixel=measured.identified["pixel"].mean().item(),
        leakage=leakage(measured.skills()),
    )


def _mean(values: Tensor) -> PerImage:
    return PerImage(mean=values.mean().item())
