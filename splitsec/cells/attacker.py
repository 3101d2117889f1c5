"""An attack of one cell, with the view that it was given."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from splitsec.cells.cell import Cell
from splitsec.cells.identity import code_of
from splitsec.checkpoint import Checkpoints
from splitsec.errors import PluginError, SessionEnded, SplitsecError, blaming
from splitsec.isolation.proxy import IsolatedAttack, Roles
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.view import View
from splitsec.randomness import derive_seed, seeded_global_generator

_RECONSTRUCT_AT_ONCE = 256


@dataclass
class Listening:
    """How the listening of a passive attack went.

    Attributes:
        exchanges: that it heard.
        seconds: what they took it.
        failure: why it failed, or None.
    """

    exchanges: int = 0
    seconds: float = 0.0
    failure: SplitsecError | None = None


class Attacker:
    """An attack of one cell, with the view that it was given.

    Attributes:
        cell: its cell.
        threat: what it declares.
        attack: the plug-in's object, once built.
        seen: its view; the only one that later grants and the record go by, whatever the
            attack does to its own reference.
        heard: how its listening went.
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
        """How errors name it."""
        return self.cell.attack.label

    def blamed(self, where: str) -> Any:
        """Return a context in which what the attack raises names it."""
        return blaming(self.label, where)

    def draw(self, **more: Any) -> dict[str, Any]:
        """Return what the attack's random numbers depend on.

        Its parameters are left out: variants of one attack start from the same weights.
        """
        return {"client": self.cell.client_key(), "attack": self.cell.spec.attack, **more}

    @property
    def listens(self) -> bool:
        """Whether it sees the honest session: a passive attack always does."""
        return self.threat.listens or not self.threat.active

    @property
    def failure(self) -> SplitsecError | None:
        """Why it failed while it listened, or None."""
        return self.heard.failure

    def build(self, view: View, checkpoints: Checkpoints) -> None:
        """Build the attack with its view, its own generator, and where it is saved."""
        cell, draw = self.cell, self.draw()
        self.seen, seed = view, derive_seed("attack", **draw)
        with self.blamed("__init__()"), seeded_global_generator("attack's networks", draw):
            if cell.isolation is not None:
                self.attack = IsolatedAttack(roles_of(cell), view, seed)
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
        """Return what tells the attack from others in its session, and from itself once edited.

        What it may see is part of it: what was saved for one threat model is for no other.
        """
        plugin = self.cell.attack.plugin
        code = code_of(plugin)
        return json.dumps([self.cell.spec.model_dump_json(), code, self.threat.model_dump()])

    def observe(self, exchange: Exchange) -> None:
        """Let a passive attack listen; once it has failed it hears no more."""
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
        """Return how an active attack runs its sessions, checked.

        Raises:
            PluginError: a plan is not valid.
            ThreatModelViolation: one dictates settings that its threat model does not declare.
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

    def reconstruct(self, sessions: Sequence[Tensor]) -> Tensor:
        """Hand smashed data to the attack, in batches, and check what comes back.

        Args:
            sessions: smashed data of the same N victims, once per session.

        Returns:
            Reconstructions, shape (N, C, H, W).

        Raises:
            PluginError: the attack raises, or returns no images of the victims' shape.
        """
        images = []
        batches = zip(*(torch.split(one, _RECONSTRUCT_AT_ONCE) for one in sessions), strict=True)
        for index, batch in enumerate(batches):
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
        return torch.cat(images)


def roles_of(cell: Cell) -> Roles:
    """Return what the guest of an isolated attack has to know of its cell."""
    assert cell.isolation is not None, "the cell's attack is isolated"
    return Roles(
        attack=cell.attack.plugin,
        target=cell.target.plugin,
        attack_parameters=cell.spec.parameters["attack"],
        target_parameters=cell.spec.parameters["target"],
        cut=cell.spec.cut,
        batch_size=cell.spec.training.batch_size,
        isolation=cell.isolation,
    )


class Hijacker:
    """An active attack as a server, whose exceptions name it.

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
