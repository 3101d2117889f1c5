"""Mounts the attack of one cell on its sessions and scores it, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.results import CellResult, MountedAttack, Stopwatch, raised
from splitsec.cells.score_attack import AttackedSession, score_attack
from splitsec.cells.shared_session import SharedSession
from splitsec.devices import beside
from splitsec.plugins.grants import given
from splitsec.progress import Progress
from splitsec.randomness import seeded_global_generator
from splitsec.records.trained_models import HIJACKED, client_weights


def mount(
    cell: Cell,
    shared: SharedSession,
    result: CellResult,
    clock: Stopwatch,
    progress: Progress,
) -> Iterator[CellResult]:
    """Mount one cell's attack and score it.

    Args:
        cell: the cell.
        shared: its honest session, which has run.
        result: what the cell has so far.
        clock: collects the seconds of the stages.
        progress: receives progress reports.

    Yields:
        The cell's result after each stage.

    Raises:
        SplitsecError: the attack could not be built, or failed.
    """
    attacker = shared.attacker(cell)
    if attacker.failure is not None:
        raise attacker.failure
    threat = attacker.threat
    flags = raised(randomised_defense=cell.defense.plugin.cls.randomised)
    result = replace(result, threat=threat, flags=flags)
    yield result
    if not attacker.attack.reconstructs:
        return
    clock.add("attack", attacker.heard.seconds)
    sessions = _attacked(attacker, shared, clock, progress)
    result = replace(result, mounted=_mounted(sessions, active=threat.active))
    yield result
    shared.side.check_copies(attacker, sessions[-1].trained)
    holdings = shared.side.holdings(clients=sessions[-1].trained)
    attacker.seen.add(given(threat, "end", holdings))
    with (
        clock.timed("attack"),
        seeded_global_generator("fit", attacker.draw()),
        attacker.blamed("fit()"),
    ):
        attacker.attack.fit(progress)
    ended = any(session.trained.session.ended is not None for session in sessions)
    result = replace(result, flags=result.flags + raised(session_ended=ended))
    yield result
    with clock.timed("scoring"):
        scores = score_attack(attacker, shared.side, sessions, shared.baselines, progress)
    result = replace(result, scores=scores)
    yield result
    with attacker.blamed("curves()"):
        curves = {name: list(map(float, c)) for name, c in attacker.attack.curves().items()}
    convergence = attacker.convergence()
    yield replace(
        result,
        curves=curves,
        convergence=convergence,
        access=attacker.seen.access,
        flags=result.flags
        + raised(
            attack_not_converged=not all(one.reached for one in convergence),
            oracle_access=threat.oracle,
            dictated_client_settings=threat.client_settings,
            in_process=cell.isolation is None,
        ),
    )


def _attacked(
    attacker: Attacker, shared: SharedSession, clock: Stopwatch, progress: Progress
) -> list[AttackedSession]:
    """Return the sessions that an attack sees: the honest one, the hijacked ones, or both.

    The honest one comes first. All start with the same client weights.
    """
    rows = torch.tensor(shared.side.held_out_victims)
    honest = AttackedSession(shared.trained, shared.released[beside(rows, shared.released)])
    if not attacker.threat.active:
        return [honest]
    sessions = [honest] if attacker.listens else []
    for number, plan in enumerate(attacker.plans()):
        with clock.timed("attack"):
            trained = shared.side.hijacked(attacker, plan, progress, number)
        clock.add("attack", trained.session.seconds_before)
        # All of them, as after an honest session: a client cannot tell who is a victim.
        released = trained.release(shared.data.held_out.all(), "held-out")
        sessions.append(AttackedSession(trained, released[beside(rows, released)]))
    return sessions


def _mounted(sessions: Sequence[AttackedSession], *, active: bool) -> MountedAttack:
    """Return the summary of an attack's sessions."""
    ended = [one.trained.session.ended for one in sessions]
    named = {}
    if active:
        hijacked = [one for one in sessions if not one.trained.honest]
        for number, one in enumerate(hijacked, 1):
            name = HIJACKED if number == 1 else f"{HIJACKED}_{number}"
            named[name] = client_weights(one.trained.model)
    return MountedAttack(
        exchanges=sum(one.trained.session.exchanges for one in sessions),
        ended=next((reason for reason in ended if reason is not None), None),
        weights=named,
    )
