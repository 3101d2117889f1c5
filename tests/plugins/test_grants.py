"""Threat models are enforced: what is not declared is not there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Annotated, Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.data.parts import Data, Part
from splitsec.errors import PluginError, ThreatModelViolation
from splitsec.isolation.grant_codec import Builders, decode_grant, encode_grant
from splitsec.plugins.defense import Defense
from splitsec.plugins.grants import GRANTS, Grant, Holdings, ThreatModel, given
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import SplitModel
from splitsec.plugins.view import ServerKnowledge, View
from splitsec.shapes import Shape
from support.parts import make_part

IMAGE, SMASHED = Shape(3, 8, 8), Shape(4, 4, 4)
START = [name for name, grant in GRANTS.items() if grant.time == "start"]
LATER = [name for name, grant in GRANTS.items() if grant.time in ("training", "end")]


class Clients:
    """Clients that have been trained."""

    def weights(self) -> dict[str, Tensor]:
        return {"weight": torch.zeros(2)}

    def answers(self) -> Callable[[Tensor, int], Tensor]:
        return lambda images, asked: images

    def pairs(self) -> dict[str, Tensor]:
        return {"images": torch.zeros(3, 3, 8, 8), "smashed": torch.zeros(3, 4, 4, 4)}


def holdings() -> Holdings:
    return Holdings(
        public=make_part(6, size=8),
        defense={"name": "none", "parameters": {}},
        fresh_model=lambda: SplitModel(nn.Conv2d(3, 4, 1), nn.Identity()),
        fresh_defense=lambda: Defense(Parameters()),
        server=nn.Linear(2, 2),
        clients=Clients(),
    )


def view_of(threat: ThreatModel) -> View:
    known = ServerKnowledge(
        image_shape=IMAGE,
        smashed_shape=SMASHED,
        outputs=2,
        clients=1,
        exchanges_per_epoch=4,
        task="classification",
        loss=F.cross_entropy,
        u_shaped=False,
        server_architecture=nn.Conv2d(4, 2, 1),
    )
    return View("spy", threat, known, given(threat, "start", holdings()))


def ask(view: View, name: str) -> Any:
    return view.query(torch.zeros(1, 3, 8, 8)) if name == "queries" else getattr(view, name)


@pytest.mark.parametrize("name", [*START, *LATER])
def test_what_is_not_declared_is_refused_by_name(name: str) -> None:
    everything_else = {other: True for other in [*START, *LATER] if other != name}
    view = view_of(ThreatModel(**everything_else))
    with pytest.raises(ThreatModelViolation, match=f"'spy' asked for '{name}'"):
        ask(view, name)
    view.add({name: lambda images, asked: images})
    with pytest.raises(ThreatModelViolation):
        ask(view, name)


@pytest.mark.parametrize("name", START)
def test_what_is_declared_is_granted(name: str) -> None:
    assert ask(view_of(ThreatModel(**{name: True})), name) is not None


@pytest.mark.parametrize("name", LATER)
def test_what_exists_only_later_is_refused_until_then(name: str) -> None:
    view = view_of(ThreatModel(**{name: True}))
    with pytest.raises(PluginError, match="too early"):
        ask(view, name)


@pytest.mark.parametrize("name", LATER)
def test_what_exists_later_is_granted_then(name: str) -> None:
    threat = ThreatModel(**{name: True})
    view = view_of(threat)
    for time in ("training", "end"):
        view.add(given(threat, time, holdings()))
    assert ask(view, name) is not None
    assert view.used == {name}


def test_every_field_but_two_is_a_grant_with_words() -> None:
    assert set(ThreatModel.model_fields) - set(GRANTS) == {"active", "listens"}
    assert all(grant.words for grant in GRANTS.values())
    assert all((grant.time is None) == (grant.form is None) for grant in GRANTS.values())
    assert all((grant.time is None) == (grant.give is None) for grant in GRANTS.values())


def test_a_new_grant_is_an_entry_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view, and the sentence of a record, know a grant from its entry."""

    class Wider(ThreatModel):
        defense_name: Annotated[
            bool, Grant("the defense's name", "start", "values", lambda held: held.defense["name"])
        ] = False

    entry = next(one for one in Wider.model_fields["defense_name"].metadata)
    monkeypatch.setitem(GRANTS, "defense_name", entry)
    view = view_of(Wider(defense_name=True))
    assert view.defense_name == "none"
    assert [grant.words for _, grant in view.threat.grants()] == ["the defense's name"]
    sent = encode_grant("defense_name", entry.form, view.take("defense_name"))
    assert decode_grant("defense_name", entry.form, sent, cast(Builders, None)) == "none"


@pytest.mark.parametrize("name", sorted(View._never_granted))
def test_no_threat_model_grants_private_data(name: str) -> None:
    view = view_of(ThreatModel(**{grant: True for grant in [*START, *LATER]}))
    with pytest.raises(ThreatModelViolation, match="no threat model grants it"):
        getattr(view, name)


def test_access_is_counted() -> None:
    view = view_of(ThreatModel(public_images=True, queries=True, pairs=True))
    view.add(given(view.threat, "end", holdings()))
    view.query(torch.zeros(5, 3, 8, 8))
    view.query(torch.zeros(2, 3, 8, 8))
    assert view.pairs[0].shape[0] == 3
    assert view.access.model_dump() == {"queries": 7, "public_images": 6, "pairs": 3}


def test_an_attack_cannot_widen_its_threat_model_or_rewrite_its_access() -> None:
    view = view_of(ThreatModel(public_images=True))
    with pytest.raises(AttributeError):
        view.threat = ThreatModel(queries=True)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        view.access = None  # type: ignore[misc, assignment]
    view.access.public_images = 0
    assert view.access.public_images == 6


def reachable(root: object) -> Iterator[object]:
    """Yield everything that can be reached from an object, through any reference it holds.

    Modules, classes and functions' globals are not followed: they are shared by the process,
    and only a process of its own keeps an attack from them.
    """
    seen, queue = set(), [root]
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, type | type(gc)):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, FunctionType):
            queue += [cell.cell_contents for cell in item.__closure__ or ()]
            continue
        queue += gc.get_referents(item)


def private_images(root: object, private: Tensor) -> list[object]:
    """Return what can be reached that holds a private image, as floats or bytes, or a part."""
    wanted = {_bytes(row) for row in private}
    found: list[object] = []
    for item in reachable(root):
        if isinstance(item, Part | Data):
            found.append(item)
        if isinstance(item, Tensor | np.ndarray) and item.shape[-3:] == private.shape[1:]:
            rows = torch.as_tensor(item).reshape(-1, *private.shape[1:])
            found += [item for row in rows if _bytes(row) in wanted]
    return found


def _bytes(image: Tensor) -> bytes:
    scaled = image if image.dtype == torch.uint8 else (image * 255).round().to(torch.uint8)
    return scaled.contiguous().numpy().tobytes()


@pytest.mark.parametrize(
    "planted",
    [
        lambda images: images,
        lambda images: (images * 255).round().to(torch.uint8).numpy(),
        lambda images: make_part(4, size=8, seed=9).all,
        lambda images: lambda: images,
    ],
    ids=["floats", "bytes", "bound method", "closure"],
)
def test_the_walk_finds_a_planted_private_image(planted: Callable[[Tensor], object]) -> None:
    private = make_part(4, size=8, seed=9).all()
    view = view_of(ThreatModel(public_images=True))
    assert not private_images(view, private)
    view._access.__dict__["planted"] = {"deep": [planted(private)]}
    assert private_images(view, private)


@pytest.mark.slow
def test_nothing_private_can_be_reached_from_a_real_attacks_view(tmp_path: Any) -> None:
    """Walk a running attack's view, and what it was sent, on a real cell."""
    plugin = tmp_path / "walker.py"
    plugin.write_text(WALKER)
    from splitsec.cells.attacker import Attacker
    from splitsec.cells.private_side import PrivateSide
    from splitsec.cells.requests import Request
    from splitsec.cells.resolve import resolve
    from splitsec.checkpoint import Checkpoints
    from splitsec.data.loading import load_data
    from splitsec.progress import Silent

    (cell,) = resolve(Request(attack=str(plugin), defense="none", settings=["training.epochs=1"]))
    data = load_data(cell.data_spec(), Silent())
    side = PrivateSide(cell, data)
    attacker = Attacker(cell)
    attacker.build(side.view(attacker), Checkpoints())
    trained = side.hijacked(attacker, *attacker.plans(), Silent())
    attack: Any = attacker.attack
    attacker.seen.add({"queries": trained.answers()})
    assert attack.view.query(data.public.batch([0])).shape == (1, *side.smashed)
    for part in (*data.private, data.validation, data.held_out):
        private = part.all()
        assert not private_images(attack.view, private)
        assert not private_images(attack, private)
    assert private_images(attack.view, data.public.all()), "public images are granted"
    assert attack.messages[0].labels is None, "labels were not declared"


WALKER = '''
"""Keeps all that it is sent."""
import torch
from splitsec import Attack, Hijacking, ThreatModel

class Walker(Attack):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(
            active=True, public_images=True, defense_spec=True, queries=True,
            client_architecture=True, server_model=True,
        )

    def __init__(self, parameters, view, generator):
        super().__init__(parameters, view, generator)
        self.messages = []

    def hijacking(self):
        return Hijacking(exchanges=3)

    def answer(self, message):
        self.messages.append(message)
        return torch.zeros_like(message.smashed)

    def reconstruct(self, smashed):
        return torch.zeros(len(smashed), *self.view.image_shape)
'''
