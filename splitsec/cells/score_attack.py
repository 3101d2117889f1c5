"""Scores an attack on both sets of victims, and compares it with blind attackers.

An attack never scores itself: it receives smashed data, and its reconstructions are measured here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.image_lists import (
    held_out_clients,
    held_out_images,
    image_measures,
    training_victims,
)
from splitsec.cells.label_leakage import label_leakage
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.results import AttackScores, Panel, Pictures, raised
from splitsec.data.parts import Data
from splitsec.devices import CPU, Device, beside, on_cpu
from splitsec.errors import WeightsUnavailableError
from splitsec.metrics.label_guesses import ClassImages, LabelGuesses, MaskImages
from splitsec.metrics.leakage import KINDS, leakage
from splitsec.metrics.lpips_weights import FILE_VARIABLE, load_backbone
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.score_flags import score_flags
from splitsec.metrics.victims import Baselines, References, clamp
from splitsec.progress import Progress
from splitsec.randomness import torch_generator
from splitsec.records.image_values import ImageMeasures, ImageSetValues, Integers, ranked_places
from splitsec.records.record import Leakage, Victims
from splitsec.training.trained import TrainedSession, victim_images

_PANEL_COLUMNS = 8


@dataclass(frozen=True)
class AttackedSession:
    """A session that an attack saw, and the smashed data of held-out victims.

    Attributes:
        trained: the session.
        released: smashed data of the held-out victims.
    """

    trained: TrainedSession
    released: Tensor


class SessionBaselines:
    """Scores of blind attackers on both sets of victims of a session.

    They depend only on the images, so they are measured once for all attacks of a session, and
    the blind attackers are fitted once for all sessions on the same images.

    Args:
        data: the session's images.
        victims: (client, row) of its training victims.
        held_out_victims: rows of the held-out images that are attacked.
        device: where images are measured.

    Attributes:
        references: guesses made from public images alone; set by :meth:`fit`.
    """

    references: References

    def __init__(
        self,
        data: Data,
        victims: Sequence[tuple[int, int]],
        held_out_victims: Sequence[int],
        device: Device = CPU,
    ) -> None:
        self._data = data
        self._device = device
        self._victims = victims
        self._held_out_victims = held_out_victims
        self._fitted = False
        self._told: dict[bytes, Baselines] = {}

    def fit(self, lpips: Lpips | None) -> None:
        """Fit the blind attackers once; later calls do nothing."""
        if not self._fitted:
            self.references = self._kept("references", lpips, self._fit)
            self._fitted = True

    @cached_property
    def held_out(self) -> Baselines:
        """Scores on the held-out victims."""
        images = self._data.held_out.batch(self._held_out_victims)
        return self.references.on(images, self._generator("held-out"))

    @cached_property
    def training(self) -> Baselines:
        """Scores on the training victims."""
        return self._on_training(self.references, None)

    def training_told(self, labels: Tensor) -> Baselines:
        """Return scores on the training victims for an attacker who is told their labels.

        Args:
            labels: as clients sent them: (N,), or masks (N, 1, H, W).
        """
        key = on_cpu(labels).numpy().tobytes()
        if key not in self._told:
            told = self._kept("told references", self.references.lpips, self._fit_told)
            self._told[key] = self._on_training(told, labels)
        return self._told[key]

    def _on_training(self, references: References, labels: Tensor | None) -> Baselines:
        images = victim_images(self._data.private, self._victims)
        return references.on(images, self._generator("training victims"), labels)

    def _fit(self, lpips: Lpips | None) -> References:
        public, validation = self._data.public.all(), self._data.validation.all()
        return References.fit(
            public, validation, lpips, self._generator("references"), self._device
        )

    def _fit_told(self, lpips: Lpips | None) -> References:
        data, blind = self._data, self.references.attackers
        labels = data.public.targets(range(len(data.public)))
        guesses: LabelGuesses
        if data.task == "classification":
            generator = self._generator("told references")
            guesses = ClassImages.fit(blind, labels, len(data.classes), lpips, generator)
        else:
            guesses = MaskImages.fit(blind, labels)
        return self.references.told(guesses, data.validation.targets(range(len(data.validation))))

    def _kept(
        self, name: str, lpips: Lpips | None, fit: Callable[[Lpips | None], References]
    ) -> References:
        """Return references that an earlier session on the same images fitted, or fit them."""
        key = (name, self._data.images_sha256, id(lpips), self._device.name)
        if key not in _REFERENCES:
            if len(_REFERENCES) >= _REFERENCES_KEPT:
                _REFERENCES.clear()
            _REFERENCES[key] = fit(lpips)
        return _REFERENCES[key]

    def _generator(self, stage: str) -> torch.Generator:
        return torch_generator(stage, data=self._data.images_sha256)


_REFERENCES_KEPT = 4
_REFERENCES: dict[tuple[str, str, int, str], References] = {}
"""Blind attackers by their images. They hold the public images, so only a few are kept."""


def score_attack(
    attacker: Attacker,
    side: PrivateSide,
    sessions: Sequence[AttackedSession],
    baselines: SessionBaselines,
    progress: Progress,
) -> AttackScores:
    """Score both sets of victims, but no training victims that were granted to the attack.

    Args:
        attacker: the attack.
        side: the private side of its sessions.
        sessions: the sessions that the attack saw.
        baselines: scores of blind attackers.
        progress: receives progress reports.
    """
    with progress.stage("scoring", 4) as stage:
        lpips = _lpips(progress, attacker.cell.device)
        baselines.fit(lpips if isinstance(lpips, Lpips) else None)
        stage.advance(note="reference attackers")
        made = attacker.reconstruct([session.released for session in sessions])
        held_out = _VictimSet("held_out", baselines.held_out, made)
        stage.advance(note="held-out victims")
        training, all_sent = None, True
        if not attacker.threat.pairs:
            bar = _training_bar(attacker, side, sessions, baselines)
            made, all_sent = _recovered_traffic(attacker, side, sessions, bar)
            training = _VictimSet("training", bar, made)
        stage.advance(note="training victims")
        recovered = {"held_out": held_out.reconstructions}
        if training is not None:
            recovered["training"] = training.reconstructions
        first = sessions[0]
        labels = label_leakage(attacker, side, first.trained, first.released, recovered)
        ended = all(session.trained.session.ended is not None for session in sessions)
        headline = _headline(training, held_out, ended)
        scores = AttackScores(
            victims=Victims(
                training=training.scores if training else None, held_out=held_out.scores
            ),
            leakage=Leakage(
                value=headline.scores.leakage.mean,
                victims=headline.victims,
                clients=_per_client(headline, side),
            ),
            panel=_panel(attacker.cell.title, headline),
            ranked=_ranked(headline),
            training=None
            if training is None
            else ImageSetValues(training_victims(side.data, side.victims), *training.measures()),
            held_out=ImageSetValues(
                held_out_images(side.data),
                *held_out.measures(),
                attacked=_unless_all(side.held_out_victims, len(side.data.held_out)),
            ),
            flags=(
                *raised(victims_not_sent=not all_sent),
                *(name for name, raises in score_flags(headline.scores).items() if raises),
            ),
            labels=labels.scores,
            notes=(*(() if isinstance(lpips, Lpips) else (lpips,)), *labels.notes),
        )
        stage.advance(note="panel")
    return scores


class _VictimSet:
    """One set of victims and the attack's reconstructions of them."""

    def __init__(
        self, victims: Literal["training", "held_out"], baselines: Baselines, made: Tensor
    ) -> None:
        self.victims = victims
        self.baselines = baselines
        self.reconstructions = made
        self.scores, self.errors = baselines.score(made)

    def measures(self) -> tuple[ImageMeasures, ImageMeasures]:
        """Return the measures of each image, of the attack and of the best blind guess.

        The guess identifies every image with the same chance.
        """
        errors, guessed = self.errors, np.full(len(self.reconstructions), self.errors.guessed)
        leakage = None if self.scores.leakage.mean is None else errors.per_image()
        return (
            image_measures(errors.errors, errors.identified, leakage),
            image_measures(errors.references, dict.fromkeys(KINDS, guessed), None),
        )


def _headline(training: _VictimSet | None, held_out: _VictimSet, ended: bool) -> _VictimSet:
    """Return the set with the higher leakage, since a defense has to protect both.

    Smashed data in training and in use can differ much: batch normalisation is in another mode,
    and the encoder no longer changes. A client whose defense ended the session is never used, so
    its held-out images are never sent.
    """
    if training is None:
        return held_out
    if ended:
        return training
    return max(training, held_out, key=lambda scored: scored.scores.leakage.mean or 0.0)


def _training_bar(
    attacker: Attacker,
    side: PrivateSide,
    sessions: Sequence[AttackedSession],
    baselines: SessionBaselines,
) -> Baselines:
    """Return the blind scores that training victims are judged by.

    If the attack was told the victims' labels, so is the attacker who sees no smashed data.
    """
    labels = _labels_of(side.victims, sessions) if attacker.threat.labels else None
    return baselines.training if labels is None else baselines.training_told(labels)


def _recovered_traffic(
    attacker: Attacker,
    side: PrivateSide,
    sessions: Sequence[AttackedSession],
    baselines: Baselines,
) -> tuple[Tensor, bool]:
    """Return reconstructions of the training victims, and whether all of them had been sent.

    The attack receives the last smashed data of each victim. A victim that was not sent in some
    session is scored with the public mean image, because nothing was recovered.
    """
    sent = [session.trained.traffic.sent for session in sessions]
    reached = [row for row, victim in enumerate(side.victims) if all(victim in one for one in sent)]
    mean = baselines.references.attackers.mean
    reconstructions = mean.expand(len(side.victims), *mean.shape).clone()
    if reached:
        smashed = [torch.stack([one[side.victims[row]] for row in reached]) for one in sent]
        rows = beside(torch.tensor(reached), mean)
        labels = _labels_of([side.victims[row] for row in reached], sessions)
        made = attacker.reconstruct(smashed, labels, in_training=side.trains).to(mean.dtype)
        reconstructions[rows] = beside(made, mean)
    return reconstructions, len(reached) == len(side.victims)


def _labels_of(
    victims: Sequence[tuple[int, int]], sessions: Sequence[AttackedSession]
) -> Tensor | None:
    """Return the labels that clients sent with victims, or None unless they sent all of them."""
    known: dict[tuple[int, int], Tensor] = {}
    for session in sessions:
        known |= session.trained.traffic.labels
    return torch.stack([known[one] for one in victims]) if known.keys() >= {*victims} else None


def _per_client(scored: _VictimSet, side: PrivateSide) -> list[float] | None:
    """Return the leakage of each client's victims; None for a single client."""
    count = len(side.data.private)
    if count == 1:
        return None
    if scored.victims == "training":
        owners = np.array([client for client, _ in side.victims])
    else:
        owners = held_out_clients(len(side.data.held_out), count)[side.held_out_victims]
    values = [
        leakage(scored.errors.take(np.flatnonzero(owners == client)).skills())
        for client in range(count)
    ]
    known = [value for value in values if value is not None]
    return known if len(known) == count else None


def _unless_all(rows: Sequence[int], count: int) -> Integers | None:
    return None if len(rows) == count else np.array(rows, np.int64)


def _lpips(progress: Progress, device: Device) -> Lpips | str:
    """Return LPIPS, or why it is unavailable."""
    file = os.environ.get(FILE_VARIABLE)
    if (file, device.name) not in _LPIPS:
        _LPIPS[file, device.name] = _load_lpips(progress.message, device)
    return _LPIPS[file, device.name]


_LPIPS: dict[tuple[str | None, str], Lpips | str] = {}
"""LPIPS, or why it is unavailable, by the file that the person named and by device. Kept so that a
run waits for a download that hangs only once."""


def _load_lpips(announce: Callable[[str], None], device: Device) -> Lpips | str:
    try:
        return Lpips(load_backbone(announce=announce), device)
    except WeightsUnavailableError as error:
        announce(str(error))
        return str(error)


def _ranked(scored: _VictimSet) -> Pictures:
    """Return pictures of the victims that leak most, least and in between."""
    measures, _ = scored.measures()
    leakage = -measures.mse if measures.leakage is None else measures.leakage
    order = np.argsort(leakage, kind="stable")
    rows = order[ranked_places(len(order))]
    baselines, chosen = scored.baselines, torch.from_numpy(rows)
    recovered = clamp(scored.reconstructions, baselines.victims.shape).images
    pictures = {
        "originals": baselines.victims,
        "reconstructions": recovered,
        "trivial": baselines.best_guess,
    }
    return {"ranked_rows": rows} | {
        f"ranked_{name}": on_cpu(images)[chosen].numpy() for name, images in pictures.items()
    }


def _panel(title: str, scored: _VictimSet) -> Panel:
    """Return the panel of the first victims, which are a random sample."""
    baselines, reconstructions = scored.baselines, scored.reconstructions
    shown = slice(0, _PANEL_COLUMNS)
    clamped = clamp(reconstructions, baselines.victims.shape)
    attack, _ = scored.measures()
    measures = {"MSE": attack.mse, "PSNR": attack.psnr, "SSIM": attack.ssim}
    if attack.lpips is not None:
        measures["LPIPS"] = attack.lpips
    return Panel(
        title=title,
        originals=on_cpu(baselines.victims[shown]).numpy(),
        reconstructions=on_cpu(clamped.images[shown]).numpy(),
        trivial=on_cpu(baselines.best_guess[shown]).numpy(),
        scores=[
            {name: float(values[column]) for name, values in measures.items()}
            for column in range(min(_PANEL_COLUMNS, len(reconstructions)))
        ],
    )
