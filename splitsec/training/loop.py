"""The training loop: clients take turns and exchange batches with the server.

:mod:`.client` does one step; :mod:`.wire` carries its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints, SavedStage
from splitsec.errors import SessionEnded
from splitsec.plugins.toolbox.batching import batches
from splitsec.progress import Progress
from splitsec.randomness import seeded_global_generator, torch_generator
from splitsec.training.client import SessionClient
from splitsec.training.settings import Training
from splitsec.training.wire import Wire


@dataclass
class Session:
    """The course of a session.

    Attributes:
        exchanges: number of exchanges so far.
        ended: why a defense ended it early, or None.
        losses: task loss of every exchange, if clients compute it.
        seconds_before: seconds that an earlier, killed process spent on it.
    """

    exchanges: int = 0
    ended: str | None = None
    losses: list[float] = field(default_factory=list)
    seconds_before: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Whose turn it is, and for how long.

    Attributes:
        training: the clients' settings.
        order: values that seed the shuffling.
        exchanges: maximum number of exchanges.
        batch_size: images per exchange that the server dictates, or None for the clients' own.
    """

    training: Training
    order: Mapping[str, Any]
    exchanges: int
    batch_size: int | None = None

    def turns(
        self, clients: Sequence[SessionClient]
    ) -> Iterator[tuple[int, SessionClient, Tensor]]:
        """Yield (epoch, client, rows) without end; see :func:`schedule`."""
        size = self.batch_size or self.training.batch_size
        return schedule(clients, self.training, size, self.order)


@dataclass(frozen=True)
class Hooks:
    """Calls around the exchanges of a session.

    Attributes:
        note: returns a short text for the progress display, such as the loss.
        before_exchange: called with the index of each exchange and its client.
        after_epoch: called after every epoch of all clients.
        saving: opens the stage that saves the session, and gives the exchange to resume from.
    """

    note: Callable[[], str] = str
    before_exchange: Callable[[int, SessionClient], None] = lambda step, client: None
    after_epoch: Callable[[], None] | None = None
    saving: Callable[[], SavedStage] | None = None


def schedule(
    clients: Sequence[SessionClient],
    training: Training,
    batch_size: int,
    order: Mapping[str, Any],
) -> Iterator[tuple[int, SessionClient, Tensor]]:
    """Yield (epoch, client, rows) without end, in round robin turns.

    Args:
        clients: the clients; the order of their turns is drawn once.
        training: gives the length of a turn.
        batch_size: images per exchange.
        order: values that seed the shuffling.

    Yields:
        Epoch from 0, the client whose turn it is, and the rows of its next batch.
    """
    turns = torch.randperm(len(clients), generator=torch_generator("turns", **order)).tolist()

    def epoch_of(client: SessionClient, epoch: int) -> list[Tensor]:
        generator = torch_generator("batches", client=client.index, epoch=epoch, **order)
        return batches(len(client.part), batch_size, generator)

    epoch = 0
    while True:
        if training.turn == "all":
            for turn in turns:
                for inner in range(epoch, epoch + training.epochs):
                    for rows in epoch_of(clients[turn], inner):
                        yield inner, clients[turn], rows
            epoch += training.epochs
            continue
        queues = [(clients[turn], epoch_of(clients[turn], epoch)) for turn in turns]
        if training.turn == "epoch":
            for client, queue in queues:
                for rows in queue:
                    yield epoch, client, rows
        else:
            for position in range(max(len(queue) for _, queue in queues)):
                for client, queue in queues:
                    if position < len(queue):
                        yield epoch, client, queue[position]
        epoch += 1


def exchanges_per_epoch(sizes: Iterable[int], training: Training) -> int:
    """Return in how many exchanges clients with these numbers of images show each once."""
    generator = torch.Generator()
    return sum(len(batches(size, training.batch_size, generator)) for size in sizes)


def exchanges_in(clients: Sequence[SessionClient], training: Training) -> int:
    """Return the number of exchanges in an honest session of ``training.epochs``."""
    return exchanges_per_epoch((len(one.part) for one in clients), training) * training.epochs


def run_session(
    name: str,
    clients: Sequence[SessionClient],
    wire: Wire,
    schedule: Schedule,
    progress: Progress,
    session: Session | None = None,
    hooks: Hooks | None = None,
) -> Session:
    """Run split training for a number of exchanges, or until a defense ends it.

    Args:
        name: name of the stage, for progress.
        clients: the private side.
        wire: the way to the server.
        schedule: whose turn it is, and for how long.
        progress: receives a progress report per exchange.
        session: the session to fill, or None for a new one.
        hooks: calls around the exchanges.

    Returns:
        The session. The client's model is left in training mode.
    """
    session, hooks = session or Session(), hooks or Hooks()
    epoch = exchanges_per_epoch((len(one.part) for one in clients), schedule.training)
    clients[0].begin()  # all have one model
    turns = schedule.turns(clients)
    with progress.stage(name, schedule.exchanges) as stage:
        saved = hooks.saving() if hooks.saving else Checkpoints().stage(name)
        turns = islice(turns, saved.position, None)
        stage.advance(saved.position)
        session.seconds_before = saved.seconds
        for step in range(saved.position, schedule.exchanges):
            _, client, rows = next(turns)
            hooks.before_exchange(step, client)
            try:
                with seeded_global_generator("exchange", {**schedule.order, "step": step}):
                    loss = client.step(rows, wire, step)
            except SessionEnded as reason:
                session.ended = f"at exchange {step}: {reason}"
                break
            session.exchanges += 1
            if loss is not None:
                session.losses.append(loss)
            stage.advance(note=hooks.note())
            if hooks.after_epoch is not None and session.exchanges % epoch == 0:
                hooks.after_epoch()
            saved.reached(step + 1)
        saved.finish(schedule.exchanges)
    return session
