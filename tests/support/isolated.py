"""An attack with a view such as its session would give it, but without a session."""

from __future__ import annotations

from typing import Any

import torch

from splitsec.cells.attacker import roles_of
from splitsec.cells.cell import Cell, build_model
from splitsec.isolation.copies import DefenseCopy
from splitsec.isolation.proxy import IsolatedAttack
from splitsec.plugins.attack import Attack
from splitsec.plugins.defense import DefenseStart
from splitsec.plugins.target import smashed_shape
from splitsec.plugins.view import ServerKnowledge, View


def build_attack(cell: Cell, public: int = 8) -> tuple[Attack[Any], View]:
    """Build a cell's attack, in a process of its own where the cell says so.

    Args:
        cell: the cell.
        public: how many public images it is granted, if it declares them.

    Returns:
        The attack, and the view that counts what is used of it.
    """
    target = cell.target.plugin.cls(cell.target.parameters)
    model = build_model(cell, target, outputs=2)
    images = torch.rand(public, *cell.image, generator=torch.Generator().manual_seed(1))
    known = ServerKnowledge(
        image_shape=cell.image,
        smashed_shape=smashed_shape(model.client, cell.image),
        outputs=2,
        clients=1,
        exchanges_per_epoch=4,
        task="classification",
        loss=target.loss,
        u_shaped=False,
        server_architecture=model.server,
    )
    granted = {
        "public_images": images,
        "client_architecture": model,
        "defense_spec": {"name": "none", "parameters": {}},
        "defense": cell.defense.plugin.cls(cell.defense.parameters)
        if cell.isolation is None
        else DefenseCopy(DefenseStart(0, 1)),
    }
    threat = cell.attack.plugin.cls.threat_model(cell.attack.parameters)
    view = View(cell.spec.attack, threat, known, granted, cell.device)
    if cell.isolation is not None:
        return IsolatedAttack(roles_of(cell, threat), view, seed=7), view
    attack: Attack[Any] = cell.attack.plugin.cls(
        cell.attack.parameters, view, torch.Generator().manual_seed(7)
    )
    return attack, view
