"""Tensors cross between processes as bytes; each side puts what it receives on the device."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.transport import CellMessage, load_cell
from splitsec.isolation import Isolation
from splitsec.isolation.protocol import Channel
from splitsec.isolation.proxy import IsolatedAttack
from splitsec.plugins.messages import Exchange, Message
from support.cells import COUNTS
from support.isolated import build_attack
from support.meta import META, OneDevice

LOOKING = '''
"""Says where everything is that it is given."""
import torch
from splitsec import Attack, ThreatModel

class Looking(Attack):
    def __init__(self, parameters, view, generator):
        super().__init__(parameters, view, generator)
        model = view.client_architecture
        weights = [*model.client.parameters(), *view.server_architecture.parameters()]
        self.places = {str(one.device) for one in [view.public_images, *weights]}
        self.places |= {view.device.name}

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True, client_architecture=True)

    def observe(self, exchange):
        self.places |= {str(exchange.message.smashed.device), str(exchange.gradient.device)}

    def reconstruct(self, smashed):
        self.places |= {str(smashed.device), "asked"}
        return torch.zeros(len(smashed), *self.view.image_shape)

    def curves(self):
        return {place: [1.0] for place in self.places}
'''


def test_a_channel_puts_what_it_receives_and_leaves_bytes() -> None:
    one, other = socket.socketpair()
    sent = {"images": torch.rand(2, 3), "labels": torch.arange(2), "state": torch.zeros(4).byte()}
    with one, other:
        Channel(one).send("call", None, sent)
        received = Channel(other, device=META).receive(None).tensors
    places = {name: str(value.device) for name, value in received.items()}
    assert places == {"images": "meta", "labels": "meta", "state": "cpu"}


@pytest.mark.slow
def test_a_guest_and_its_host_use_the_device_of_the_cell(tmp_path: Path) -> None:
    file = tmp_path / "looking.py"
    file.write_text(LOOKING)
    (cell,) = resolve(
        Request(attack=str(file), target="fsha-client", size=16, settings=COUNTS, threads=1)
    )
    cell = replace(cell, isolation=Isolation(), device=META)
    sent = torch.rand(4, *(256, 2, 2), device="meta")
    with OneDevice():  # what the host reads of meta, to send it, is made of ones
        attack, _ = build_attack(cell)
        assert isinstance(attack, IsolatedAttack)
        with closing(attack):
            attack.observe(Exchange(Message(sent, None, client=0, step=0), sent))
            images = attack.reconstruct(sent)
            places = set(attack.curves())
    assert places == {"meta", "asked"}
    assert images.is_meta, "its answer crossed as bytes, and is put where the cell is"


def test_a_cell_travels_with_its_device_which_is_no_part_of_its_id() -> None:
    (cell,) = resolve(Request(attack="none", target="fsha-client", size=16, settings=COUNTS))
    elsewhere = replace(cell, device=META)
    text = CellMessage.of(elsewhere).model_dump_json()
    assert load_cell(CellMessage.model_validate_json(text)).device == META
    assert elsewhere.cell_id("0") == cell.cell_id("0")
    assert elsewhere.session_key() == cell.session_key()
