"""Evaluation of one cell: train, attack, score, record. It never ranks.

The way of the data: a cell's images are partitioned; an honest session gives the utility; the
attack listens to it, or gets a session of its own; what was sent for the victims is handed to
the attack's ``reconstruct`` and scored beside attackers that saw nothing (:mod:`.judge`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.provenance import collect
from splitsec.cells.results import Findings
from splitsec.cells.score_attack import Judged, judge
from splitsec.cells.shared_session import SharedSession
from splitsec.cells.writing import make_record, write_cell
from splitsec.checkpoint import CheckpointFolder, Checkpoints
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.errors import (
    DivergedError,
    NotApplicable,
    SplitsecError,
    TimeLimitError,
)
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import PROTOCOL_VERSION, Record, Status
from splitsec.records.store import record_folder
from splitsec.records.trained_models import HIJACKED, client_weights
from splitsec.training.trained import TrainedSession, oracle


def run_session(
    cells: Sequence[Cell],
    store: Path,
    progress: CellProgress,
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
    kept = CheckpointFolder(store / ".checkpoints" / key[:24])
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
    cell: Cell, shared: SharedSession, store: Path, progress: CellProgress, keep_models: bool
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
    record = make_record(cell, shared.data, status, reason, provenance, findings)
    record = write_cell(record_folder(store, record), record, findings)
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
    record = make_record(cell, data, status, reason, collect(cell), findings)
    return write_cell(record_folder(store, record), record, findings)


def _measure(
    attacker: Attacker, shared: SharedSession, findings: Findings, progress: CellProgress
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


def _grant(attacker: Attacker, attacked: TrainedSession, data: Data) -> None:
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
