"""Evaluation of one cell: train, attack, score, record. It never ranks.

The way of the data: a cell's images are partitioned; an honest session gives the utility; the
attack listens to it, or gets a session of its own; what was sent for the victims is handed to
the attack's ``reconstruct``; the reconstructions are scored beside attackers that saw nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitsec.attack import Attack
from splitsec.cell import Cell, resolve, victims_of
from splitsec.data import Data, load_data
from splitsec.errors import (
    DivergedError,
    PluginError,
    SplitsecError,
    UsageError,
    WeightsUnavailableError,
    blaming,
)
from splitsec.metrics.dependence import corrected_squared_distance_correlation
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.scores import VictimScores
from splitsec.metrics.scoring import Baselines, References, clamp
from splitsec.metrics.utility import classification_utility
from splitsec.metrics.weights import FILE_VARIABLE, load_backbone
from splitsec.panel import draw_curves, draw_panel
from splitsec.progress import Progress, Silent
from splitsec.provenance import collect
from splitsec.randomness import numpy_generator, torch_generator
from splitsec.record import INVALIDATING, Leakage, Record, Utility, Victims
from splitsec.sessions import PrivateSide, Trained, victim_images
from splitsec.storage import record_folder, write_atomically, write_record
from splitsec.threat import ThreatModel

__all__ = ["evaluate", "prepare", "resolve", "run_cell"]

_TRIVIAL_LEAKAGE = 0.02
_CLAMPED_SHARE = 0.05
_PANEL_COLUMNS = 8
_RECONSTRUCT_AT_ONCE = 256


@dataclass
class _Findings:
    """What a cell has yielded so far; becomes the record, also when the cell fails halfway."""

    fields: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    panel: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a block to a stage's timing."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = self.timings.get(stage, 0.0) + time.perf_counter() - start

    def flag(self, name: str, raised: bool = True) -> None:
        """Raise a flag once."""
        if raised and name not in self.flags:
            self.flags.append(name)


def prepare(cells: Sequence[Cell], progress: Progress) -> None:
    """Load the data of all cells, so that what is wrong with them is said before any training.

    Raises:
        DataError: images are missing, unreadable or too few.
    """
    for spec in {cell.data_spec().model_dump_json(): cell.data_spec() for cell in cells}.values():
        load_data(spec, progress)


def evaluate(  # noqa: PLR0913 - the same options as on the command line
    attack: str,
    defense: str = "none",
    *,
    target: str | None = None,
    data: str | None = None,
    cut: int | None = None,
    size: int | None = None,
    channels: int = 3,
    clients: int = 1,
    profile: str = "quick",
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
    public_from: str = "same",
    output: str | Path = "results",
    progress: Progress | None = None,
) -> Record:
    """Evaluate one attack against one defense; the Python form of ``splitsec eval``.

    Args:
        attack: name or path of the attack, such as ``"fsha"`` or ``"./mine.py:Mine"``.
        defense: likewise.
        target: likewise; the profile's by default.
        data: name of the data set; the profile's by default.
        cut: index of the client's last layer; the target's default by default.
        size: height and width of the images, pixels; the profile's by default.
        channels: 1 or 3.
        clients: number of clients.
        profile: ``"quick"``, ``"standard"`` or ``"paper"``.
        seed: of everything but the data's partition.
        parameters: such as ``{"attack.fsha.iterations": 500, "training.epochs": 5}``.
        public_from: ``"same"`` or ``"shifted"``.
        output: folder in which the record's own folder is made.
        progress: told of every stage; silent by default.

    Returns:
        The record; its status is ``"failed"`` where the attack or training failed.

    Raises:
        SplitsecError: the request is wrong, or the data cannot be loaded.
    """
    cells = resolve(
        attack=attack, defense=defense, target=target, data=data, cut=cut, size=size,
        channels=channels, clients=clients, profile=profile, seeds=(seed,),
        settings=[f"{name}={value}" for name, value in (parameters or {}).items()],
        public_from=public_from,
    )  # fmt: skip
    if len(cells) != 1:
        raise UsageError(f"evaluate() runs one cell, but this asks for {len(cells)}")
    progress = progress or Silent()
    prepare(cells, progress)
    return run_cell(cells[0], Path(output), progress)


def run_cell(cell: Cell, output: Path, progress: Progress) -> Record:
    """Run one cell and write its record, panel and curves.

    Args:
        cell: a resolved cell.
        output: folder in which the record's own folder is made.
        progress: told of every stage.

    Returns:
        The record. What goes wrong inside the cell makes it ``"failed"`` with the reason.

    Raises:
        DataError: the data cannot be loaded; the cell has not begun.
        OutputError: the record cannot be written.
    """
    data = load_data(cell.data_spec(), progress)
    findings = _Findings()
    status, reason, defect = "ok", None, None
    threads = torch.get_num_threads()
    torch.set_num_threads(cell.spec.threads)
    try:
        provenance = collect(cell.chosen)
        _measure(cell, data, findings, progress)
    except SplitsecError as error:
        status, reason = "failed", str(error)
        findings.flag("non-finite", isinstance(error, DivergedError))
    except Exception as error:  # a defect: it is recorded, and raised once that is done
        status, reason, defect = "failed", f"defect: {type(error).__name__}: {error}", error
    finally:
        torch.set_num_threads(threads)
    record = Record(
        cell_id=cell.cell_id(data.sha256),
        status=status,
        reason=reason,
        spec=cell.spec,
        data={
            "sha256": data.sha256,
            "classes": list(data.classes),
            "balance": data.balance(),
            "disclosures": list(data.disclosures),
        },
        provenance=provenance,
        flags=sorted(findings.flags, key=lambda name: (name not in INVALIDATING, name)),
        timings={name: round(seconds, 3) for name, seconds in findings.timings.items()},
        peak_memory_bytes=_peak_memory_bytes(),
        **findings.fields,
    )
    folder = record_folder(output, record)
    record = _write(folder, record, findings)
    if defect is not None:
        raise defect
    return record


def _peak_memory_bytes() -> int | None:
    """Return this process's largest resident size so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _write(folder: Path, record: Record, findings: _Findings) -> Record:
    write_record(folder, record)
    artifacts: dict[str, str] = {}
    if findings.panel:
        write_atomically(folder / "panel.png", lambda path: draw_panel(path, **findings.panel))
        artifacts["panel"] = "panel.png"
    if record.history:
        write_atomically(folder / "curves.png", lambda path: draw_curves(path, record))
        artifacts["curves"] = "curves.png"
    record = record.model_copy(update={"artifacts": artifacts})
    write_record(folder, record)
    return record


def _measure(cell: Cell, data: Data, findings: _Findings, progress: Progress) -> None:
    """Run the sessions and score; results go into ``findings`` as they come."""
    with blaming(cell.attack.label, "threat_model()"):
        threat = cell.attack.plugin.cls.threat_model(cell.attack.parameters)
    if not isinstance(threat, ThreatModel):
        raise PluginError(f"{cell.attack.label} returned no ThreatModel from threat_model()")
    findings.fields["threat_model"] = threat
    victims = victims_of(data.private, cell.spec.victims)
    side = PrivateSide(cell, data, victims)
    attack = side.attack(threat)
    with findings.timed("honest training"):
        honest = side.honest(progress, None if threat.active else attack, threat)
    history = {"training": {"loss": honest.losses}}
    findings.fields["history"] = history
    with findings.timed("utility"):
        findings.fields["utility"] = _utility(honest, data, cell, findings)
    attacked = honest
    if threat.active:
        with findings.timed("attack"):
            attacked = side.hijacked(attack, threat, progress)
    if threat.client_weights:
        side.seen.grant("client_weights", _weights(attacked))
    side.seen.grant("queries", attacked.oracle())
    if threat.pairs:
        private = torch.cat([part.all() for part in data.private])
        side.seen.grant("pairs", (private, attacked.release(private)))
    with findings.timed("attack"), blaming(cell.attack.label, "fit()"):
        attack.fit(progress)
    findings.fields["session"] = {
        "honest_exchanges": honest.session.exchanges,
        "attacked_exchanges": attacked.session.exchanges,
        "ended": attacked.session.ended,
    }
    findings.flag("session-ended", attacked.session.ended is not None)
    with findings.timed("scoring"):
        _score(data, side, _Attacked(cell, attack, attacked), threat, findings, progress)
    with blaming(cell.attack.label, "curves()"):
        history["attack"] = {name: list(map(float, c)) for name, c in attack.curves().items()}
    findings.fields["access"] = side.seen.access
    findings.flag("oracle-access", threat.oracle)
    findings.flag("dictated-client-settings", threat.client_settings)
    findings.flag("in-process")
    findings.flag("randomised-defense", cell.defense.plugin.cls.randomised)


def _weights(trained: Trained) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trained.client.state_dict().items()}


@torch.no_grad()
def _utility(honest: Trained, data: Data, cell: Cell, findings: _Findings) -> Utility:
    """Score the honestly trained model on the held-out images, as their release gives it."""
    assert honest.server is not None
    images = data.held_out.all()
    released = honest.release(images)
    honest.server.eval()
    logits = torch.cat([honest.server(batch) for batch in torch.split(released, 256)])
    honest.server.train()
    if not torch.isfinite(logits).all():
        raise DivergedError("honest training diverged: the model's outputs are not finite")
    scores = classification_utility(
        logits.numpy(),
        data.held_out.labels,
        np.concatenate([part.labels for part in data.private]),
        numpy_generator("utility interval", data=data.sha256),
    )
    learned = scores.auc_interval[0] > scores.trivial_auc
    undefended = cell.spec.defense == "none"
    findings.flag("target-never-learned", undefended and not learned)
    findings.flag("defense-broke-utility", not undefended and not learned)
    return Utility(
        accuracy=scores.accuracy,
        auc=scores.auc,
        auc_interval=scores.auc_interval,
        trivial={"accuracy": scores.trivial_accuracy, "auc": scores.trivial_auc},
        n=scores.n,
        distance_correlation=corrected_squared_distance_correlation(
            images.flatten(1), released.flatten(1)
        ).item(),
    )


@dataclass(frozen=True)
class _Attacked:
    """An attack and the session it saw, ready to be scored."""

    cell: Cell
    attack: Attack[Any]
    trained: Trained

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Hand smashed data of shape (N, c, h, w) to the attack, in batches."""
        label, images = self.cell.attack.label, []
        for batch in torch.split(smashed, _RECONSTRUCT_AT_ONCE):
            with torch.no_grad(), blaming(label, "reconstruct()"):
                made = self.attack.reconstruct(batch.clone())
            due = (len(batch), *self.cell.image)
            if not isinstance(made, Tensor) or tuple(made.shape) != due:
                got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
                raise PluginError(f"{label} returned {got} from reconstruct(); {due} is due")
            images.append(made.detach())
        return torch.cat(images)


def _score(
    data: Data,
    side: PrivateSide,
    attacked: _Attacked,
    threat: ThreatModel,
    findings: _Findings,
    progress: Progress,
) -> None:
    """Score both sets of victims beside the attackers that see nothing."""
    seeded = {"data": data.sha256}
    with progress.stage("scoring", 4) as stage:
        references = References.fit(
            data.public.all() if len(data.public) else data.validation.all(),
            data.validation.all(),
            _lpips(findings, progress),
            torch_generator("references", **seeded),
        )
        stage.advance(note="reference attackers")
        images = data.held_out.all()
        held_out = references.on(images, torch_generator("held-out", **seeded)).score(
            attacked.reconstruct(attacked.trained.release(images))
        )
        stage.advance(note="held-out victims")
        training = None
        if not threat.pairs:
            baselines = references.on(
                victim_images(data.private, side.victims),
                torch_generator("training victims", **seeded),
            )
            training, reconstructions = _score_traffic(baselines, side, attacked, findings)
            findings.panel = _panel(attacked.cell, baselines, training, reconstructions)
        stage.advance(note="training victims")
        findings.fields["victims"] = Victims(training=training, held_out=held_out)
        headline = held_out if training is None else training
        findings.fields["leakage"] = Leakage(
            value=headline.leakage.mean, victims="held_out" if training is None else "training"
        )
        _flag_scores(headline, findings)
        stage.advance(note="panel")


def _score_traffic(
    baselines: Baselines, side: PrivateSide, attacked: _Attacked, findings: _Findings
) -> tuple[VictimScores, Tensor]:
    """Score the training victims from what was last sent for each.

    A victim that had not been sent when the session ended counts as the public mean image:
    nothing was recovered.
    """
    sent = attacked.trained.traffic.sent
    reached = [row for row, victim in enumerate(side.victims) if victim in sent]
    findings.flag("victims-not-sent", len(reached) < len(side.victims))
    mean = baselines.references.attackers.mean
    reconstructions = mean.expand(len(side.victims), *mean.shape).clone()
    if reached:
        smashed = torch.stack([sent[side.victims[row]] for row in reached])
        reconstructions[reached] = attacked.reconstruct(smashed).to(mean.dtype)
    return baselines.score(reconstructions), reconstructions


def _lpips(findings: _Findings, progress: Progress) -> Lpips | None:
    outcome = _load_lpips(progress.message, os.environ.get(FILE_VARIABLE))
    if isinstance(outcome, Lpips):
        return outcome
    findings.flag("lpips-unavailable")
    findings.fields.setdefault("notes", []).append(outcome)
    return None


@cache
def _load_lpips(announce: Callable[[str], None], file: str | None) -> Lpips | str:
    """Load LPIPS once per run, or say why not: a network that hangs is waited for once.

    Args:
        announce: told before a download begins.
        file: the weights file that the person named, if any; decides the result.
    """
    try:
        return Lpips("alex", load_backbone("alex", Path(file) if file else None, None, announce))
    except WeightsUnavailableError as error:
        announce(str(error))
        return str(error)


def _flag_scores(scores: VictimScores, findings: _Findings) -> None:
    leakage = scores.leakage.mean
    if leakage is not None:
        findings.flag("no-better-than-trivial", leakage <= _TRIVIAL_LEAKAGE)
        colour = scores.yardsticks["colour"].leakage
        findings.flag("no-better-than-colour", colour is not None and leakage <= colour)
    findings.flag("clamped", scores.clamped_share > _CLAMPED_SHARE)


def _panel(
    cell: Cell, baselines: Baselines, scores: VictimScores, reconstructions: Tensor
) -> dict[str, Any]:
    """Choose what the panel shows: the first victims, which are a random sample."""
    privacy, shown = scores.privacy, slice(0, _PANEL_COLUMNS)
    reference = baselines.references.strongest["mse"]
    guess = baselines.references.attackers.reconstructions(
        len(reconstructions), torch_generator("panel")
    )[reference]
    measures = {"MSE": privacy.mse, "PSNR": privacy.psnr, "SSIM": privacy.ssim}
    if privacy.lpips is not None:
        measures["LPIPS"] = privacy.lpips
    return {
        "title": cell.spec.title(),
        "originals": baselines.victims[shown].numpy(),
        "reconstructions": clamp(reconstructions, baselines.victims.shape).images[shown].numpy(),
        "trivial": guess[shown].numpy(),
        "scores": [
            {name: measure.per_image[column] for name, measure in measures.items()}
            for column in range(min(_PANEL_COLUMNS, len(reconstructions)))
        ],
    }
