"""Runs the attack of one cell and checks everything that it returns.

:mod:`.private_side` runs the sessions that it sees; :mod:`.score_attack` scores what it recovers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitsec.cells.cell import Cell
from splitsec.checkpoint import Checkpoints
from splitsec.errors import PluginError, SessionEnded, SplitsecError, blaming
from splitsec.isolation.opening import Roles
from splitsec.isolation.proxy import IsolatedAttack
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.view import View
from splitsec.randomness import derive_seed, seeded_global_generator

_RECONSTRUCT_AT_ONCE = 256


@dataclass
class Listening:
    """How a passive attack listened to the honest session.

    Attributes:
        exchanges: how many it heard.
        seconds: time it spent on them.
        failure: why it failed, or None.
    """

    exchanges: int = 0
    seconds: float = 0.0
    failure: SplitsecError | None = None


class Attacker:
    """The attack of one cell and its view.

    Attributes:
        cell: its cell.
        threat: what it declares.
        attack: the plug-in's object, once built.
        seen: its view. Later grants and the record use this object, even if the attack
            replaces its own reference.
        heard: how it listened.
    """

    attack: Attack[Any]
    seen: View

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.heard = Listening()
        with self.blamed("threat_model()"):
            threat = cell.attack.plugin.cls.threat_model(cell.attack.parameters)
        if not isinstance(threat, ThreatModel):
            raise PluginError(f"{self.label} returned no ThreatModel from threat_model()")
        self.threat = threat

    @property
    def label(self) -> str:
        """Its name in errors."""
        return self.cell.attack.label

    def blamed(self, where: str) -> Any:
        """Return a context that names the attack in every exception it raises."""
        return blaming(self.label, where)

    def draw(self, **more: Any) -> dict[str, Any]:
        """Return the values that the attack's random numbers depend on.

        They exclude its parameters, so variants of one attack start from the same weights.
        """
        return {"client": self.cell.client_key(), "attack": self.cell.spec.attack, **more}

    @property
    def listens(self) -> bool:
        """Whether it sees the honest session; every passive attack does."""
        return self.threat.listens or not self.threat.active

    @property
    def failure(self) -> SplitsecError | None:
        """Why it failed while it listened, or None."""
        return self.heard.failure

    def build(self, view: View, checkpoints: Checkpoints) -> None:
        """Build the attack with its view, its own generator and its checkpoint."""
        cell, draw = self.cell, self.draw()
        self.seen, seed = view, derive_seed("attack", **draw)
        with self.blamed("__init__()"), seeded_global_generator("attack's networks", draw):
            if cell.isolation is not None:
                self.attack = IsolatedAttack(roles_of(cell, self.threat), view, seed)
            else:
                self.attack = cell.attack.plugin.cls(
                    cell.attack.parameters, view, torch.Generator().manual_seed(seed)
                )
        self.attack.checkpoints = checkpoints.within(self.key())

    def close(self) -> None:
        """End the attack's process, if it has one."""
        if isinstance(self.attack, IsolatedAttack):
            self.attack.close()

    def key(self) -> str:
        """Return a key that changes with the attack's code, parameters and threat model.

        It also has the ensemble that the attack is a member of, so that two copies of an attack
        in one session are saved side by side. The threat model is part of it, so a checkpoint saved
        under one is never used for another.
        """
        plugin, whole = self.cell.attack.plugin, self.cell.member_of
        code = [plugin.sha256, plugin.cls.__qualname__]
        specs = [one.model_dump_json() for one in (self.cell.spec, whole) if one is not None]
        return json.dumps([*specs, code, self.threat.model_dump()])

    def observe(self, exchange: Exchange) -> None:
        """Let a passive attack hear an exchange, unless it has failed before."""
        if self.heard.failure is not None:
            return
        self.heard.exchanges += 1
        start = time.perf_counter()
        try:
            with (
                self.blamed("observe()"),
                seeded_global_generator("observe", self.draw(exchange=self.heard.exchanges)),
            ):
                self.attack.observe(exchange)
        except SplitsecError as error:
            self.heard.failure = error
        finally:
            self.heard.seconds += time.perf_counter() - start

    def plans(self) -> list[Hijacking]:
        """Return the checked plans of an active attack, one per session.

        Raises:
            PluginError: a plan is not valid.
            ThreatModelViolation: a plan sets values that the threat model does not declare.
        """
        with self.blamed("hijacking()"):
            given = self.attack.hijacking()
        plans = [given] if isinstance(given, Hijacking) else given
        if not isinstance(plans, list | tuple) or not plans:
            raise PluginError(
                f"{self.label} returned {given!r} from hijacking(); expected a Hijacking, or a "
                "list of them"
            )
        for plan in plans:
            self._check(plan)
        return list(plans)

    def _check(self, plan: object) -> None:
        if not isinstance(plan, Hijacking):
            raise PluginError(
                f"{self.label} returned {plan!r} from hijacking(); expected Hijacking"
            )
        exchanges, batch_size, rate = plan
        if not isinstance(exchanges, int) or exchanges < 1:
            raise PluginError(f"{self.label} asks for {exchanges!r} exchanges; expected 1 or more")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 2):
            raise PluginError(
                f"{self.label} dictates batches of {batch_size!r}; expected 2 or more"
            )
        if rate is not None and not (isinstance(rate, float | int) and 0 < rate < math.inf):
            raise PluginError(f"{self.label} dictates the learning rate {rate!r}; it must be > 0")
        if (batch_size, rate) != (None, None) and not self.threat.client_settings:
            self.seen.deny("client_settings")

    def reconstruct(
        self,
        sessions: Sequence[Tensor],
        labels: Tensor | None = None,
        *,
        in_training: bool = False,
    ) -> Tensor:
        """Pass smashed data to the attack in batches and check its reconstructions.

        Args:
            sessions: smashed data of the same N victims, once per session.
            labels: their N labels as clients sent them, or None; the attack gets them only if its
                threat model declares labels.
            in_training: whether the smashed data were sent in training.

        Returns:
            Reconstructions, shape (N, C, H, W).

        Raises:
            PluginError: the attack raised, or did not return images of the victims' shape.
        """
        images = []
        batches = zip(*(torch.split(one, _RECONSTRUCT_AT_ONCE) for one in sessions), strict=True)
        for index, batch in enumerate(batches):
            start = index * _RECONSTRUCT_AT_ONCE
            told = None if labels is None else labels[start : start + _RECONSTRUCT_AT_ONCE].clone()
            self.seen.show_victims(told, in_training)
            with (
                torch.no_grad(),
                seeded_global_generator("reconstruct", self.draw(batch=index)),
                self.blamed("reconstruct()"),
            ):
                copies = [smashed.clone() for smashed in batch]
                made = (
                    self.attack.reconstruct(copies[0])
                    if len(copies) == 1
                    else self.attack.reconstruct_from(copies)
                )
            expected = (len(batch[0]), *self.cell.image)
            if not isinstance(made, Tensor) or tuple(made.shape) != expected:
                got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
                raise PluginError(
                    f"{self.label} returned {got} from reconstruct(); expected images of shape "
                    f"{expected}"
                )
            images.append(made.detach())
        self.seen.show_victims(None, in_training=False)
        return torch.cat(images)

    def convergence(self) -> tuple[Convergence, ...]:
        """Return the attack's own errors at half and at full length of its training, checked.

        Raises:
            PluginError: the attack returned something else.
        """
        with self.blamed("convergence()"):
            given = self.attack.convergence()
        if not isinstance(given, list | tuple) or not all(
            isinstance(one, Convergence) for one in given
        ):
            raise PluginError(
                f"{self.label} returned {given!r} from convergence(); expected a list of "
                "splitsec.Convergence"
            )
        return tuple(given)


def roles_of(cell: Cell, threat: ThreatModel) -> Roles:
    """Return the facts about its cell that the guest of an isolated attack needs."""
    assert cell.isolation is not None, "the cell's attack is isolated"
    # The guest runs in another folder, so a relative path would be another file there.
    plugins = [cell.attack, cell.target, *([cell.defense] if threat.defense else [])]
    paths = {one.plugin.kind: one.absolute_inputs() for one in plugins}
    untold = dict.fromkeys(cell.target.plugin.cls.weights_from, "")
    paths["target"] = {name: one for name, one in paths["target"].items() if name not in untold}
    return Roles(
        attack=cell.attack.plugin,
        target=cell.target.plugin,
        defense=cell.defense.plugin,
        attack_parameters=cell.spec.parameters["attack"] | paths["attack"],
        target_parameters=cell.spec.parameters["target"] | untold | paths["target"],
        defense_parameters=cell.spec.parameters["defense"] | paths.get("defense", {}),
        cut=cell.spec.cut,
        batch_size=cell.spec.training.batch_size,
        isolation=cell.isolation,
        inputs=[Path(path) for given in paths.values() for path in given.values()],
        device=cell.device,
    )


class Hijacker:
    """An active attack in the role of the server; its exceptions name the attack.

    Args:
        attacker: the attack.
        session: number of the session, from 0.
    """

    def __init__(self, attacker: Attacker, session: int = 0) -> None:
        self._attacker = attacker
        self._session = session

    def features(self, message: Message) -> Tensor:
        """Return the attack's features."""
        return self._ask("features", message)

    def answer(self, message: Message) -> Tensor:
        """Return the attack's gradient."""
        return self._ask("answer", message)

    def _ask(self, method: str, message: Message) -> Tensor:
        attacker = self._attacker
        which = {"session": self._session} if self._session else {}
        draw = attacker.draw(exchange=message.step, method=method, **which)
        message = message._replace(session=self._session)
        with attacker.blamed(f"{method}()"), seeded_global_generator("hijacking", draw):
            try:
                given: Tensor = getattr(attacker.attack, method)(message)
            except SessionEnded as ended:
                raise PluginError(
                    f"{attacker.label} ended the session; only a defense may"
                ) from ended
        return given
