"""Split training is the same mathematics as unsplit training, and nothing private crosses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.errors import DivergedError, PluginError, SessionEnded
from splitsec.plugins.defense import Defense, Epochs
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Target
from splitsec.plugins.toolbox.batching import batches
from splitsec.progress import Silent
from splitsec.shapes import Shape
from splitsec.training.honest_server import HonestServer
from splitsec.training.loop import Schedule, exchanges_in, run_session, schedule
from splitsec.training.optimizers import make_optimizer, rate_after
from splitsec.training.settings import Training
from splitsec.training.traffic import Traffic
from splitsec.training.wire import Wire
from support.halves import IMAGE, client_of, target_of
from support.parts import make_part

TRAINING = Training(epochs=1, batch_size=4, optimizer="adam", learning_rate=1e-3)


def split_losses(
    target: Target[Any], cut: int, training: Training, clients: int = 1
) -> tuple[list[float], list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    client, server_half, _ = target.split(IMAGE, 2, cut)
    server = HonestServer(server_half, target.loss, make_optimizer(training, server_half))
    defense = Defense(Parameters())
    sides = [
        client_of(make_part(12, seed=i), client, defense, make_optimizer(training, client), i)
        for i in range(clients)
    ]
    turns = Schedule(training, {"seed": 3}, exchanges_in(sides, training))
    run_session("test", sides, Wire(server), turns, Silent())
    return server.losses, [client.state_dict(), server_half.state_dict()]


def unsplit_losses(target: Target[Any], training: Training) -> tuple[list[float], nn.Module]:
    torch.manual_seed(0)
    layers = target.layers(IMAGE, 2)
    model = nn.Sequential(target.preprocessing(IMAGE), *layers)
    model.train()
    # The same kernel: two of Adam's differ in the last bit, which a batch of four amplifies.
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    part = make_part(12)
    holder = client_of(part, model, Defense(Parameters()), optimizer)
    losses = []
    turns = schedule([holder], training, training.batch_size, {"seed": 3})
    for _ in range(exchanges_in([holder], training)):
        _, _, rows = next(turns)
        loss = F.cross_entropy(model(part.batch(rows.tolist())), part.targets(rows.tolist()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


@pytest.mark.parametrize(
    "cut",
    [cut if cut in (0, 8) else pytest.param(cut, marks=pytest.mark.slow) for cut in range(9)],
)
def test_a_split_resnet_trains_like_the_unsplit_one(cut: int) -> None:
    target = target_of("resnet", depth=18)
    training = TRAINING.model_copy(update={"epochs": 2})
    losses, (client, server) = split_losses(target, cut, training)
    reference, model = unsplit_losses(target, training)
    assert len(losses) == 6
    assert losses == pytest.approx(reference, abs=1e-5)
    weights = [*client.values(), *server.values()]
    for ours, theirs in zip(weights, model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [32, 48])  # one pixel in the last stage, and four
def test_the_resnet_computes_what_torchvisions_does(size: int) -> None:
    image = Shape(3, size, size)
    torch.manual_seed(0)
    ours = nn.Sequential(*target_of("resnet", depth=18).layers(image, 2))
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=2)
    images = torch.rand(4, *image)
    expected = theirs(images)
    made = ours(images)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    made.square().sum().backward()
    expected.square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        scale = other.grad.abs().max().item()
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4 * scale, rtol=0)


def test_every_cut_trains_the_same_model_at_equal_seed() -> None:
    target = target_of("resnet", depth=18)
    runs = [split_losses(target, cut, TRAINING)[0] for cut in (0, 7)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


@pytest.mark.parametrize("turn", ["batch", "epoch", "all"])
def test_clients_take_turns_over_disjoint_data(turn: Any) -> None:
    training = TRAINING.model_copy(update={"turn": turn, "epochs": 2})
    clients = [
        client_of(make_part(9, seed=i), nn.Identity(), Defense(Parameters()), None, i)
        for i in range(3)
    ]
    total = exchanges_in(clients, training)
    assert total == 3 * 2 * 2  # 9 images at 4 a batch: 4 and 5, since one is never left alone
    turns = schedule(clients, training, 4, {"seed": 1})
    seen = [next(turns) for _ in range(total)]
    for client in range(3):
        rows = torch.cat([rows for _, owner, rows in seen if owner.index == client])
        assert sorted(rows.tolist()) == sorted(2 * list(range(9)))
    owners = [owner.index for _, owner, _ in seen]
    runs = 1 + sum(a != b for a, b in pairwise(owners))
    assert runs == {"batch": 12, "epoch": 6, "all": 3}[turn]


def test_no_batch_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in range(2, 40):
        sizes = [len(batch) for batch in batches(count, 4, generator)]
        assert sum(sizes) == count
        assert min(sizes) > 1


class Recording:
    """A server that keeps what it was sent and answers with zeros."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def answer(self, message: Message) -> Tensor:
        self.messages.append(message)
        return torch.zeros_like(message.smashed)


def one_session(
    server: Any, defense: Defense[Any] | None = None, exchanges: int = 3, **options: Any
) -> tuple[nn.Module, Traffic, Any]:
    torch.manual_seed(0)
    client = target_of("resnet", depth=18).split(IMAGE, 2, 3).client
    traffic = Traffic([(0, 0), (0, 1)])
    holder = client_of(
        make_part(12), client, defense or Defense(Parameters()), make_optimizer(TRAINING, client)
    )
    wire = Wire(server, **options, traffic=traffic)
    turns = Schedule(TRAINING, {"seed": 0}, exchanges)
    session = run_session("test", [holder], wire, turns, Silent())
    return client, traffic, session


def test_only_detached_copies_cross() -> None:
    server = Recording()
    exchanges: list[Exchange] = []
    _, traffic, _ = one_session(server, listeners=[(exchanges.append, ThreatModel())])
    for message in server.messages:
        assert message.smashed.grad_fn is None
        assert not message.smashed.requires_grad
    for exchange in exchanges:
        assert exchange.message.smashed.grad_fn is None
        assert exchange.message.labels is None, "a listener gets labels only where declared"
    sent = {tensor.data_ptr() for tensor in traffic.sent.values()}
    assert not sent & {message.smashed.data_ptr() for message in server.messages}


def test_the_scorer_keeps_what_crossed_whatever_is_changed_later() -> None:
    """Neither a server nor a defense can make the scorer's copy another than what was sent."""
    crossed: dict[int, Tensor] = {}

    class Overwriting(Recording):
        def answer(self, message: Message) -> Tensor:
            crossed[message.step] = message.smashed.clone()
            return super().answer(message) + message.smashed.zero_()

    class Cheating(Defense[Parameters]):
        """Sends one thing, and blanks it as soon as it has been sent."""

        def release(self, images: Tensor, smashed: Tensor) -> Tensor:
            self._sent = smashed + 1
            return self._sent

        def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
            self._sent.data.zero_()
            return gradient

    _, traffic, _ = one_session(Overwriting(), Cheating(Parameters()), exchanges=3)
    batches = torch.cat(list(crossed.values()))
    assert len(traffic.sent) == 2, "12 images in three batches: every victim was sent"
    for sent in traffic.sent.values():
        assert any(torch.equal(sent, one) for one in batches)
        assert sent.abs().sum() > 0


def test_labels_reach_only_who_may_have_them() -> None:
    server = Recording()
    one_session(server, seen=ThreatModel())
    assert all(message.labels is None for message in server.messages)


def test_sample_identities_reach_only_who_may_have_them() -> None:
    """They are the same for the same image in every epoch: its smashed data then agree."""

    class Means(Defense[Parameters]):
        """Sends the mean of each image, which no training changes."""

        def release(self, images: Tensor, smashed: Tensor) -> Tensor:
            return 0 * smashed + images.mean((1, 2, 3))[:, None, None, None]

    server = Recording()
    told: list[Exchange] = []
    listeners = [(told.append, ThreatModel(sample_ids=True))]
    one_session(server, Means(Parameters()), exchanges=6, listeners=listeners)
    assert all(message.samples is None for message in server.messages)
    seen: list[dict[int, float]] = [{}, {}]
    for number, exchange in enumerate(told):
        message = exchange.message
        assert message.samples is not None
        means = message.smashed[:, 0, 0, 0].tolist()
        seen[number // 3] |= dict(zip(message.samples.tolist(), means, strict=True))
    assert sorted(seen[0]) == list(range(12))
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 12, "each image has its own mean"


def test_a_server_that_writes_into_a_message_changes_nothing_at_the_client() -> None:
    class Vandal(Recording):
        def answer(self, message: Message) -> Tensor:
            message.smashed.fill_(float("nan"))
            return torch.zeros_like(message.smashed)

    client, _, _ = one_session(Vandal())
    assert all(torch.isfinite(weight).all() for weight in client.parameters())


def test_traffic_keeps_what_was_last_sent_for_each_victim() -> None:
    server = Recording()
    _, traffic, _ = one_session(server)
    smashed = torch.cat([message.smashed for message in server.messages])
    for sent in traffic.sent.values():
        assert any(torch.equal(sent, row) for row in smashed)
    assert set(traffic.sent) == {(0, 0), (0, 1)}


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (lambda z: z[:1], PluginError, "a gradient of shape"),
        (lambda z: None, PluginError, "NoneType"),
        (lambda z: z.to(torch.complex64), PluginError, "complex64"),
        (lambda z: z * float("nan"), DivergedError, "not finite at exchange 0"),
    ],
)
def test_bad_answers_are_refused(answer: Any, error: type[Exception], says: str) -> None:
    class Bad:
        def answer(self, message: Message) -> Tensor:
            reply: Tensor = answer(message.smashed)
            return reply

    with pytest.raises(error, match=says):
        one_session(Bad())


class Scaled(Defense[Parameters]):
    """Halves the task gradient and adds a penalty on the smashed data's size."""

    @property
    def task_weight(self) -> float:
        return 0.5

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        return 0.1 * smashed.square().mean()


def test_task_weight_and_penalty_are_the_clients_loss() -> None:
    def train(defended: bool) -> list[Tensor]:
        torch.manual_seed(0)
        client = nn.Conv2d(3, 4, 3)
        part = make_part(4)
        direction = torch.randn(4, 4, 30, 30, generator=torch.Generator().manual_seed(1))

        class Server:
            def answer(self, message: Message) -> Tensor:
                return direction

        optimizer = torch.optim.SGD(client.parameters(), lr=0.1)
        if defended:
            holder = client_of(part, client, Scaled(Parameters()), optimizer)
            holder.step(torch.arange(4), Wire(Server()), 0)
        else:
            smashed = client(part.batch(range(4)))
            loss = 0.5 * (smashed * direction).sum() + 0.1 * smashed.square().mean()
            loss.backward()
            optimizer.step()
        return [weight.detach().clone() for weight in client.parameters()]

    for ours, theirs in zip(train(True), train(False), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_release_is_what_crosses_and_carries_gradient() -> None:
    class Doubling(Defense[Parameters]):
        def release(self, images: Tensor, smashed: Tensor) -> Tensor:
            return 2 * smashed

    server = Recording()
    torch.manual_seed(0)
    client = nn.Conv2d(3, 4, 3)
    part = make_part(4)
    expected = 2 * client(part.batch(range(4)))
    holder = client_of(
        part, client, Doubling(Parameters()), torch.optim.SGD(client.parameters(), lr=0.1)
    )
    holder.step(torch.arange(4), Wire(server), 0)
    torch.testing.assert_close(server.messages[0].smashed, expected.detach())
    torch.testing.assert_close(holder.sender.release(part.all(), 0), 2 * client(part.all()))


def test_a_detecting_defense_ends_the_session() -> None:
    class Detector(Defense[Parameters]):
        def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
            if step == 2:
                raise SessionEnded("the gradient looks hijacked")
            return gradient

    server = Recording()
    _, _, session = one_session(server, Detector(Parameters()), exchanges=10)
    assert session.exchanges == 2
    assert session.ended == "at exchange 2: the gradient looks hijacked"
    assert len(server.messages) == 3


def test_a_defense_is_told_its_labels_and_its_epochs() -> None:
    class Told(Defense[Parameters]):
        epochs: ClassVar[list[int]] = []
        labels: ClassVar[list[Tensor]] = []

        def begin_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> None:
            assert labels is not None
            assert len(labels) == len(images) == len(smashed)
            self.labels.append(labels)

    server = Recording()
    one_session(server, Told(Parameters()), exchanges=7)
    batches = -(-12 // TRAINING.batch_size)
    assert Told.epochs == list(range(-(-7 // batches)))
    sent = [message.labels for message in server.messages]
    assert all(torch.equal(*both) for both in zip(sent, Told.labels, strict=True))


def test_a_batch_of_one_image_does_not_shift_the_epochs() -> None:
    class Told(Defense[Parameters]):
        def begin_epoch(self, epoch: int) -> None:
            begun.append(epoch)

    begun: list[int] = []
    epochs, defense = Epochs(images=9), Told(Parameters())
    for _ in range(5):  # two batches of four an epoch; the last image alone is never sent
        epochs.before(defense, 4)
    assert begun == [0, 1, 2]


def test_a_defense_that_raises_is_blamed() -> None:
    class Broken(Defense[Parameters]):
        def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
            raise ZeroDivisionError("oops")

    with pytest.raises(PluginError, match=r"raised ZeroDivisionError in penalty\(\): oops"):
        one_session(Recording(), Broken(Parameters()))


@pytest.mark.parametrize(
    ("hook", "answer", "error", "says"),
    [
        ("release", None, PluginError, r"release\(\) gave NoneType"),
        ("release", torch.zeros(1), PluginError, r"release\(\) gave torch.float32 \(1,\)"),
        ("receive", None, PluginError, r"receive\(\) gave NoneType"),
        ("receive", torch.zeros(2, 2), PluginError, r"receive\(\) gave torch.float32 \(2, 2\)"),
        ("penalty", 0.5, PluginError, r"penalty\(\) gave no scalar tensor"),
        ("penalty", torch.zeros(3), PluginError, r"penalty\(\) gave no scalar tensor"),
    ],
)
def test_a_defense_that_breaks_its_contract(
    hook: str, answer: Any, error: type[Exception], says: str
) -> None:
    defense = Defense(Parameters())
    setattr(defense, hook, lambda *arguments: answer)
    with pytest.raises(error, match=says):
        one_session(Recording(), defense)


def test_a_defense_that_makes_gradients_nan_is_named() -> None:
    defense = Defense(Parameters())
    defense.receive = lambda gradient, step, labels: gradient * float("nan")  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="the defense made the gradient of exchange 0"):
        one_session(Recording(), defense)


def test_the_learning_rate_decays_as_torchs_cosine() -> None:
    weight = torch.zeros(1, requires_grad=True)
    other = torch.optim.SGD([weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=10)
    training = TRAINING.model_copy(update={"decay": "cosine", "learning_rate": 0.1})
    for step in range(10):
        due = max(other.param_groups[0]["lr"], 0.001)
        assert rate_after(training, step / 10) == pytest.approx(due)
        other.step()
        scheduler.step()
    assert rate_after(TRAINING, 0.5) is None, "without decay the rate is left alone"


@pytest.mark.parametrize(("how", "last"), [("none", 1.0), ("cosine", 0.01)])
def test_an_honest_session_decays_both_sides_rates(
    how: str, last: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = resolve(
        Request(
            attack="none",
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            threads=1,
            settings=[
                "training.epochs=20",
                f"training.decay={how}",
                "counts.private=8",
                "counts.public=2",
                "counts.validation=2",
                "counts.held_out=8",
            ],
        )
    )
    made: list[torch.optim.Optimizer] = []

    def keeping(*arguments: Any, **options: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*arguments, **options))
        return made[-1]

    for module in ("cells.private_side", "training.sides"):
        monkeypatch.setattr(f"splitsec.{module}.make_optimizer", keeping)
    PrivateSide(cell, load_data(cell.data_spec(), Silent())).honest(Silent())
    rate = cell.spec.training.learning_rate
    assert len(made) == 2
    for optimizer in made:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(last * rate, rel=0.01, abs=1e-12)
