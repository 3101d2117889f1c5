"""Evaluation of one cell: train, attack, score, record. It never ranks.

The way of the data: a cell's images are partitioned; an honest session gives the utility; the
attack listens to it, or gets a session of its own; what was sent for the victims is handed to
the attack's ``reconstruct`` and scored beside attackers that saw nothing (:mod:`.judge`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitsec.cell import Cell
from splitsec.checkpoint import Checkpoints, Folder
from splitsec.data import Data, load_data
from splitsec.errors import (
    DivergedError,
    NotApplicable,
    SplitsecError,
    TimeLimitError,
    UsageError,
)
from splitsec.examples import examples
from splitsec.findings import Findings
from splitsec.judge import Judged, SessionBaselines, judge
from splitsec.models import HIJACKED, HONEST, client_weights, weights, write_weights
from splitsec.panel import draw_curves, draw_panel
from splitsec.progress import Progress, Silent
from splitsec.provenance import collect
from splitsec.randomness import seeded_global_generator
from splitsec.record import INVALIDATING, PROTOCOL_VERSION, Provenance, Record, Status
from splitsec.sessions import Attacker, PrivateSide, Trained, oracle
from splitsec.storage import keep_artifact, record_folder, write_record
from splitsec.utility import measure_utility, validation_scores


def run_session(
    cells: Sequence[Cell],
    store: Path,
    progress: Progress,
    data: Data | None = None,
    *,
    keep_models: bool = False,
) -> Iterator[Record]:
    """Run cells that share an honest session, and write each one's record when it is done.

    Args:
        cells: resolved cells that differ in their attack alone; their passive attacks listen to
            the one session side by side.
        store: folder in which each record's own folder is made.
        progress: told of every stage.
        data: their images, where they are loaded already.
        keep_models: whether trained models are kept beside the records.

    Yields:
        Records, in the order of the cells. What goes wrong inside a cell makes its record
        ``"failed"``, or ``"skipped"`` where the attack cannot work on the target, with the
        reason.

    Raises:
        DataError: the data cannot be loaded.
        OutputError: a record cannot be written.
    """
    data = data or load_data(cells[0].data_spec(), progress)
    key = cells[0].session_key()
    kept = Folder(store / ".checkpoints" / key[:24])
    checkpoints = Checkpoints(kept, [key, data.sha256, PROTOCOL_VERSION], progress.message)
    shared = SharedSession(cells, data, checkpoints)
    try:
        for cell in cells:
            progress.begin(cell.spec)
            yield _run_cell(cell, shared, store, progress, keep_models)
    finally:
        shared.close()
    kept.clear()


def _leave_if_forked(process: int) -> None:
    """End this process if it is a copy that a plug-in has forked: there is one record per cell."""
    if os.getpid() != process:
        os._exit(1)


def _run_cell(
    cell: Cell, shared: SharedSession, store: Path, progress: Progress, keep_models: bool
) -> Record:
    findings = Findings()
    status: Status = "ok"
    reason: str | None = None
    stop: BaseException | None = None
    threads, process = torch.get_num_threads(), os.getpid()
    torch.set_num_threads(cell.spec.threads)
    try:
        provenance = collect(cell)
        attacker = shared.attacker(cell)
        try:
            shared.run(progress)
        finally:
            findings = shared.findings.copy()
        _measure(attacker, shared, findings, progress)
    except SplitsecError as error:
        status = _status(error)
        reason = str(error)
        findings.flag("non-finite", isinstance(error, DivergedError))
    except KeyboardInterrupt as interruption:
        status, reason, stop = "cancelled", "interrupted", interruption
    except Exception as error:  # a defect: it is recorded, and raised once that is done
        status, reason, stop = "failed", f"defect: {type(error).__name__}: {error}", error
    finally:
        _leave_if_forked(process)
        shared.release(cell)
        torch.set_num_threads(threads)
    if not keep_models:
        findings.models.clear()
    record = _record(cell, shared.data, status, reason, provenance, findings)
    record = _write(record_folder(store, record), record, findings)
    if stop is not None:
        raise stop
    return record


def _status(error: SplitsecError) -> Status:
    if isinstance(error, NotApplicable):
        return "skipped"
    return "timeout" if isinstance(error, TimeLimitError) else "failed"


def record_without_result(cell: Cell, store: Path, status: Status, reason: str) -> Record:
    """Write and return the record of a cell whose process is gone.

    Args:
        cell: the cell.
        store: folder in which the record's own folder is made.
        status: ``"failed"`` or ``"timeout"``.
        reason: what happened, in words.
    """
    data, findings = load_data(cell.data_spec(), Silent()), Findings()
    record = _record(cell, data, status, reason, collect(cell), findings)
    return _write(record_folder(store, record), record, findings)


def _record(
    cell: Cell, data: Data, status: Status, reason: str | None, provenance: Provenance,
    findings: Findings,
) -> Record:  # fmt: skip
    return Record(
        protocol=PROTOCOL_VERSION,
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
        notes=findings.notes,
        timings={name: round(seconds, 3) for name, seconds in findings.timings.items()},
        peak_memory_bytes=_peak_memory_bytes(),
        **findings.fields,
    )


def _peak_memory_bytes() -> int | None:
    """Return this process's largest resident size so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _write(folder: Path, record: Record, findings: Findings) -> Record:
    """Write what a cell leaves behind, and the record last: one that is there has its artifacts."""
    made: dict[str, str] = {}

    def keep(name: str, suffix: str, write: Callable[[Path], None]) -> None:
        made[name] = keep_artifact(folder, suffix, write)

    pictures = {name: _bytes(images) for name, images in findings.pictures.items()}
    if pictures:
        keep("pictures", ".npz", lambda path: _save(path, pictures))
    if findings.panel:
        keep("panel", ".png", lambda path: draw_panel(path, **findings.panel))
    if record.history:
        keep("curves", ".png", lambda path: draw_curves(path, record))
    for name, named in findings.models.items():
        keep(name, ".safetensors", partial(write_weights, named=named))
    return write_record(folder, record.model_copy(update={"artifacts": made}))


def _bytes(images: NDArray[Any]) -> NDArray[Any]:
    """Return images in [0, 1] as bytes; other arrays as they are."""
    if images.dtype != np.float32:
        return images
    scaled: NDArray[Any] = np.rint(255 * images).clip(0, 255).astype(np.uint8)
    return scaled


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


class SharedSession:
    """The honest session of cells that differ in their attack alone; run once, when needed.

    Args:
        cells: the cells.
        data: their images.
        checkpoints: where the session and its attacks are saved.

    Attributes:
        data: their images.
        side: the private side.
        trained: what the session left behind.
        released: smashed data of the held-out images.
        baselines: what attackers that see nothing reach.
        findings: utility, history and timings, for every cell.
    """

    side: PrivateSide
    trained: Trained
    released: Tensor
    baselines: SessionBaselines

    def __init__(self, cells: Sequence[Cell], data: Data, checkpoints: Checkpoints) -> None:
        self.data = data
        self._checkpoints = checkpoints
        self.findings = Findings()
        self._cells = cells
        self._outcome: SplitsecError | None = None
        self._has_run = False
        self._attackers: dict[int, Attacker | SplitsecError] = {}

    def run(self, progress: Progress) -> None:
        """Run the session, with all passive attacks listening, unless that was done.

        Raises:
            SplitsecError: it failed, now or before.
        """
        if not self._has_run:
            self._has_run = True
            try:
                self._run(progress)
            except SplitsecError as error:
                self._outcome = error
        if self._outcome is not None:
            raise self._outcome

    def attacker(self, cell: Cell) -> Attacker:
        """Return a cell's attack, built with all others of the session when first asked for.

        Raises:
            SplitsecError: it could not be built.
        """
        if not self._attackers:
            self.side = PrivateSide(self._cells[0], self.data, self._checkpoints)
            self.baselines = SessionBaselines(self.data, self.side.victims)
            for one in self._cells:
                self._attackers[id(one)] = self._build(one)
        built = self._attackers[id(cell)]
        if isinstance(built, SplitsecError):
            raise built
        return built

    def release(self, cell: Cell) -> None:
        """End the process of a cell's attack, if it has one."""
        built = self._attackers.get(id(cell))
        if isinstance(built, Attacker):
            built.close()

    def close(self) -> None:
        """End the processes of all attacks."""
        for cell in self._cells:
            self.release(cell)

    def _run(self, progress: Progress) -> None:
        built = [one for one in self._attackers.values() if isinstance(one, Attacker)]
        with self.findings.timed("honest training"):
            self.trained = self.side.honest(
                progress,
                [one for one in built if not one.threat.active],
                self._validate,
                self.findings.timings,
            )
        self.findings.models[HONEST] = weights(self.trained.model)
        # What listeners and validation took is not training.
        elsewhere = sum(one.heard.seconds for one in built)
        elsewhere += self.findings.timings.get("validation", 0)
        before = self.trained.session.seconds_before
        self.findings.timings["honest training"] += before - elsewhere
        self.findings.fields["history"] = {
            "training": {"loss": self.trained.losses, **self.trained.epochs}
        }
        ended = self.trained.session.ended
        self.findings.flag("honest-session-ended", ended is not None)
        self.released = measure_utility(self._cells[0], self.trained, self.data, self.findings)
        self.findings.pictures |= examples(self.trained, self.data)

    def _validate(self, trained: Trained) -> dict[str, float]:
        with self.findings.timed("validation"):
            return validation_scores(trained, self.data)

    def _build(self, cell: Cell) -> Attacker | SplitsecError:
        try:
            attacker = Attacker(cell)
            if cell.attack.plugin.cls.reconstructs and not len(self.data.public):
                raise UsageError(
                    f"{attacker.label} needs public images, and this data set leaves none: what "
                    "a server that sees nothing would guess is made of them"
                )
            attacker.build(self.side.view(attacker), self._checkpoints)
        except SplitsecError as error:
            return error
        return attacker


def _measure(
    attacker: Attacker, shared: SharedSession, findings: Findings, progress: Progress
) -> None:
    """Mount one cell's attack and score it; results go into ``findings`` as they come."""
    if attacker.failure is not None:
        raise attacker.failure
    cell, threat = attacker.cell, attacker.threat
    findings.fields["threat_model"] = threat
    findings.fields["session"] = {
        "honest_exchanges": shared.trained.session.exchanges,
        "honest_ended": shared.trained.session.ended,
    }
    findings.flag("randomised-defense", cell.defense.plugin.cls.randomised)
    if not attacker.attack.reconstructs:
        return
    findings.timings["attack"] = attacker.heard.seconds
    attacked, released = shared.trained, shared.released
    if threat.active:
        with findings.timed("attack"):
            attacked = shared.side.hijacked(attacker, progress)
        findings.timings["attack"] += attacked.session.seconds_before
        findings.models[HIJACKED] = client_weights(attacked.model)
        released = attacked.release(shared.data.held_out.all(), "held-out")
    findings.fields["session"] |= {
        "attacked_exchanges": attacked.session.exchanges,
        "ended": attacked.session.ended,
    }
    _grant(attacker, attacked, shared.data)
    with (
        findings.timed("attack"),
        seeded_global_generator("fit", attacker.draw()),
        attacker.blamed("fit()"),
    ):
        attacker.attack.fit(progress)
    findings.flag("session-ended", attacked.session.ended is not None)
    with findings.timed("scoring"):
        judged = Judged(attacker, attacked, released)
        judge(shared.side, judged, shared.baselines, findings, progress)
    with attacker.blamed("curves()"):
        curves = {name: list(map(float, c)) for name, c in attacker.attack.curves().items()}
    findings.fields["history"] = findings.fields["history"] | {"attack": curves}
    findings.fields["access"] = attacker.seen.access
    findings.flag("oracle-access", threat.oracle)
    findings.flag("dictated-client-settings", threat.client_settings)
    findings.flag("in-process", cell.isolation is None)


def _grant(attacker: Attacker, attacked: Trained, data: Data) -> None:
    """Grant what exists only once the client is trained, where it is declared."""
    seen, threat = attacker.seen, attacker.threat
    if threat.client_weights:
        weights = attacked.model.client.state_dict()
        copies = {name: value.detach().clone() for name, value in weights.items()}
        seen.grant("client_weights", copies)
    if threat.queries:
        seen.grant("queries", oracle(attacked))
    if threat.pairs:
        images = [part.all() for part in data.private]
        released = [
            client.sender.send_in_evaluation(given, "pairs").smashed
            for client, given in zip(attacked.clients, images, strict=True)
        ]
        seen.grant("pairs", (torch.cat(images), torch.cat(released)))
