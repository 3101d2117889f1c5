"""Scoring an attack on both sets of victims, beside attackers that see nothing.

An attack never scores itself: it is handed smashed data, and what it returns is measured here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.results import Findings
from splitsec.data.parts import Data
from splitsec.errors import PluginError, WeightsUnavailableError
from splitsec.metrics.lpips_weights import FILE_VARIABLE, load_backbone
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.schema import NOTHING_RECOVERED, VictimScores
from splitsec.metrics.victims import Baselines, References, clamp
from splitsec.progress import Progress
from splitsec.randomness import seeded_global_generator, torch_generator
from splitsec.records.record import Leakage, Victims
from splitsec.training.trained import TrainedSession, victim_images

_CLAMPED_SHARE = 0.05
_PANEL_COLUMNS = 8
_RECONSTRUCT_AT_ONCE = 256


@dataclass(frozen=True)
class Judged:
    """An attack, and what it is scored on.

    Attributes:
        attacker: the attack.
        trained: the session that it saw.
        released: smashed data of the held-out images.
    """

    attacker: Attacker
    trained: TrainedSession
    released: Tensor

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Hand smashed data, batch axis first, to the attack, in batches.

        Raises:
            PluginError: it raises, or returns no images of the victims' shape.
        """
        label, images = self.attacker.label, []
        for index, batch in enumerate(torch.split(smashed, _RECONSTRUCT_AT_ONCE)):
            with (
                torch.no_grad(),
                seeded_global_generator("reconstruct", self.attacker.draw(batch=index)),
                self.attacker.blamed("reconstruct()"),
            ):
                made = self.attacker.attack.reconstruct(batch.clone())
            due = (len(batch), *self.attacker.cell.image)
            if not isinstance(made, Tensor) or tuple(made.shape) != due:
                got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
                raise PluginError(f"{label} returned {got} from reconstruct(); {due} is due")
            images.append(made.detach())
        return torch.cat(images)


class SessionBaselines:
    """What attackers that see nothing reach on both sets of victims of a session.

    It depends on the images alone, so it is measured once for all attacks of a session.

    Args:
        data: the session's images.
        victims: (client, row) of its training victims.

    Attributes:
        references: what public images alone give; fitted by :meth:`fit`.
    """

    references: References

    def __init__(self, data: Data, victims: Sequence[tuple[int, int]]) -> None:
        self._data = data
        self._victims = victims
        self._fitted = False

    def fit(self, lpips: Lpips | None) -> None:
        """Fit the attackers that see nothing, unless that was done."""
        if not self._fitted:
            public, validation = self._data.public.all(), self._data.validation.all()
            self.references = References.fit(
                public, validation, lpips, self._generator("references")
            )
            self._fitted = True

    @cached_property
    def held_out(self) -> Baselines:
        """On the held-out images."""
        return self.references.on(self._data.held_out.all(), self._generator("held-out"))

    @cached_property
    def training(self) -> Baselines:
        """On the training victims."""
        images = victim_images(self._data.private, self._victims)
        return self.references.on(images, self._generator("training victims"))

    def _generator(self, stage: str) -> torch.Generator:
        return torch_generator(stage, data=self._data.sha256)


def judge(
    side: PrivateSide,
    judged: Judged,
    baselines: SessionBaselines,
    findings: Findings,
    progress: Progress,
) -> None:
    """Score both sets of victims; training victims not where the attack was given them.

    Args:
        side: the session's private side.
        judged: the attack.
        baselines: the session's.
        findings: gets the scores, flags and what the panel shows.
        progress: told of each part.
    """
    with progress.stage("scoring", 4) as stage:
        baselines.fit(_lpips(findings, progress))
        stage.advance(note="reference attackers")
        reconstructions = judged.reconstruct(judged.released)
        held_out = _VictimSet("held_out", baselines.held_out, reconstructions)
        stage.advance(note="held-out victims")
        training = None
        if not judged.attacker.threat.pairs:
            training = _score_traffic(baselines.training, side, judged, findings)
        stage.advance(note="training victims")
        ended = judged.trained.session.ended is not None
        headline = _headline(training, held_out, ended)
        findings.panel = _panel(judged, headline)
        findings.pictures |= {
            name: findings.panel[name] for name in ("originals", "reconstructions", "trivial")
        }
        findings.fields["victims"] = Victims(
            training=training.scores if training else None, held_out=held_out.scores
        )
        findings.fields["leakage"] = Leakage(
            value=headline.scores.leakage.mean,
            victims=headline.victims,
            clients=_per_client(headline, side),
        )
        _flag(headline.scores, findings)
        stage.advance(note="panel")


class _VictimSet:
    """One set of victims and what the attack made of it."""

    def __init__(
        self, victims: Literal["training", "held_out"], baselines: Baselines, made: Tensor
    ) -> None:
        self.victims = victims
        self.baselines = baselines
        self.reconstructions = made
        self.scores = baselines.score(made)


def _headline(training: _VictimSet | None, held_out: _VictimSet, ended: bool) -> _VictimSet:
    """Return the set of which more leaks: a defense has to protect both.

    What a client sends while it is trained and what it sends once it is in use can differ much:
    batch normalisation is in another mode, and the encoder no longer moves. A client whose
    defense ended the session is not used, so nothing is sent afterwards.
    """
    if training is None:
        return held_out
    if ended:
        return training
    return max(training, held_out, key=lambda scored: scored.scores.leakage.mean or 0.0)


def _score_traffic(
    baselines: Baselines, side: PrivateSide, judged: Judged, findings: Findings
) -> _VictimSet:
    """Score the training victims from what was last sent for each.

    A victim that had not been sent when the session ended counts as the public mean image:
    nothing was recovered.
    """
    sent = judged.trained.traffic.sent
    reached = [row for row, victim in enumerate(side.victims) if victim in sent]
    findings.flag("victims-not-sent", len(reached) < len(side.victims))
    mean = baselines.references.attackers.mean
    reconstructions = mean.expand(len(side.victims), *mean.shape).clone()
    if reached:
        smashed = torch.stack([sent[side.victims[row]] for row in reached])
        reconstructions[reached] = judged.reconstruct(smashed).to(mean.dtype)
    return _VictimSet("training", baselines, reconstructions)


def _per_client(scored: _VictimSet, side: PrivateSide) -> list[float] | None:
    """Return the leakage of each client's victims, clipped to [0, 1] once per client."""
    values = scored.scores.leakage.per_image
    if values is None:
        return None
    count = len(side.data.private)
    if scored.victims == "training":
        owners = torch.tensor([client for client, _ in side.victims])
    else:
        owners = torch.cat(
            [
                torch.full_like(block, client)
                for client, block in enumerate(torch.tensor_split(torch.arange(len(values)), count))
            ]
        )
    per_image = torch.tensor(values, dtype=torch.float64)
    if count == 1:
        return None
    return [per_image[owners == client].mean().clamp(0, 1).item() for client in range(count)]


def _lpips(findings: Findings, progress: Progress) -> Lpips | None:
    file = os.environ.get(FILE_VARIABLE)
    if file not in _LPIPS:
        _LPIPS[file] = _load_lpips(progress.message)
    outcome = _LPIPS[file]
    if isinstance(outcome, Lpips):
        return outcome
    findings.flag("lpips-unavailable")
    findings.notes.append(outcome)
    return None


_LPIPS: dict[str | None, Lpips | str] = {}
"""LPIPS, or why it is unavailable, by the file that the person named: a network that hangs is
waited for once per run."""


def _load_lpips(announce: Callable[[str], None]) -> Lpips | str:
    try:
        return Lpips(load_backbone(announce=announce))
    except WeightsUnavailableError as error:
        announce(str(error))
        return str(error)


def _flag(scores: VictimScores, findings: Findings) -> None:
    leakage = scores.leakage.mean
    if leakage is not None:
        findings.flag("no-better-than-trivial", leakage <= NOTHING_RECOVERED)
        colour = scores.yardsticks["colour"].leakage
        findings.flag("no-better-than-colour", colour is not None and leakage <= colour)
    findings.flag("clamped", scores.clamped_share > _CLAMPED_SHARE)


def _panel(judged: Judged, scored: _VictimSet) -> dict[str, Any]:
    """Choose what the panel shows: the first victims, which are a random sample."""
    baselines, reconstructions = scored.baselines, scored.reconstructions
    privacy, shown = scored.scores.privacy, slice(0, _PANEL_COLUMNS)
    reference = baselines.references.strongest["mse"]
    guess = baselines.references.attackers.reconstructions(
        len(reconstructions), torch_generator("panel")
    )[reference]
    measures = {"MSE": privacy.mse, "PSNR": privacy.psnr, "SSIM": privacy.ssim}
    if privacy.lpips is not None:
        measures["LPIPS"] = privacy.lpips
    return {
        "title": judged.attacker.cell.spec.title(),
        "originals": baselines.victims[shown].numpy(),
        "reconstructions": clamp(reconstructions, baselines.victims.shape).images[shown].numpy(),
        "trivial": guess[shown].numpy(),
        "scores": [
            {name: measure.per_image[column] for name, measure in measures.items()}
            for column in range(min(_PANEL_COLUMNS, len(reconstructions)))
        ],
    }
