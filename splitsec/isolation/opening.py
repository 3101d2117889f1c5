"""What the guest of an isolated attack is told before any session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from splitsec.devices import CPU, Device
from splitsec.isolation import Isolation
from splitsec.isolation.grant_codec import encode_grant, encode_network
from splitsec.isolation.host import Answer
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import Plugin, absolute_spec
from splitsec.plugins.view import View


@dataclass(frozen=True)
class Roles:
    """The plug-ins that a guest loads, and its isolation.

    Attributes:
        attack: the attack, loaded or described.
        target: the target, of which the guest builds its own copies.
        defense: the defense, of which the guest builds a copy if the attack is granted one.
        attack_parameters: resolved parameters, as JSON values.
        target_parameters: resolved parameters, as JSON values.
        defense_parameters: resolved parameters, as JSON values.
        cut: index of the client's last layer.
        batch_size: images per exchange that clients choose.
        isolation: how the guest is isolated.
        inputs: files and folders that the parameters name.
        device: where its models and tensors live.
    """

    attack: Plugin
    target: Plugin
    defense: Plugin
    attack_parameters: Mapping[str, Any]
    target_parameters: Mapping[str, Any]
    defense_parameters: Mapping[str, Any]
    cut: int
    batch_size: int
    isolation: Isolation
    inputs: Sequence[Path] = ()
    device: Device = CPU

    def loaded(self, threat: ThreatModel) -> list[Plugin]:
        """Return the plug-ins that the guest of such an attack loads."""
        return [self.attack, self.target, *([self.defense] if threat.defense else [])]


def opening(roles: Roles, view: View, seed: int) -> Answer:
    """Return everything that a guest receives before the session: only declared grants."""
    threat = view.threat
    content: dict[str, Any] = {
        "label": roles.attack.label,
        "attack": roles.attack.name,
        "plugin": absolute_spec("attack", roles.attack.spec),
        "sha256": {plugin.kind: plugin.sha256 for plugin in roles.loaded(threat)},
        "parameters": dict(roles.attack_parameters),
        "threat": threat.model_dump(),
        "target": absolute_spec("target", roles.target.spec),
        "target_parameters": dict(roles.target_parameters),
        "defense": absolute_spec("defense", roles.defense.spec) if threat.defense else None,
        "defense_parameters": dict(roles.defense_parameters) if threat.defense else None,
        "check_copy": threat.defense and view.take("defense").expected is not None,
        "cut": roles.cut,
        "image": list(view.image_shape),
        "smashed": list(view.smashed_shape),
        "outputs": view.outputs,
        "clients": view.clients,
        "exchanges_per_epoch": view.exchanges_per_epoch,
        "u_shaped": view.u_shaped,
        "trains": view.trains,
        "labels_shared": view.labels_shared,
        "generator": seed,
        "threads": torch.get_num_threads(),
    }
    server = encode_network("server", view.server_architecture)
    granted = {
        name: encode_grant(name, grant.form, view.take(name))
        for name, grant in threat.grants()
        if grant.time == "start" and grant.form is not None
    }
    content["server"] = server.content
    content["granted"] = {name: answer.content for name, answer in granted.items()}
    tensors = dict(server.tensors)
    for answer in granted.values():
        tensors |= answer.tensors
    return Answer(content, tensors)
