"""Encodes grants for a guest and decodes them there, by their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from splitsec.isolation.host import Answer
from splitsec.plugins.defense import Defense, DefenseStart
from splitsec.plugins.grants import Form
from splitsec.plugins.target import SplitModel


class Builders(NamedTuple):
    """What a guest builds by itself: models, whose state is sent, and defenses."""

    model: Callable[[], SplitModel]
    defense: Callable[[DefenseStart], Defense[Any]]


def encode_grant(name: str, form: Form, value: Any) -> Answer:
    """Return a grant as JSON values and tensors.

    Args:
        name: name of the grant; its tensors are named after it.
        form: form of the grant; the guest requests answers one by one, so they have no encoding.
        value: the grant; of a defense a :class:`DefenseCopy`, of which the
            guest gets what it begins with.
    """
    if form == "tensor":
        return Answer(None, {name: value})
    if form == "tensors":
        return Answer(None, {f"{name}/{key}": one for key, one in value.items()})
    if form == "values":
        return Answer(value, {})
    if form == "network":
        return encode_network(name, value)
    if form == "defense":
        return Answer(list(value.start), {})
    assert form == "model", "answers are requested one by one"
    parts = {part: module for part, module in value._asdict().items() if module is not None}
    encoded = {part: encode_network(f"{name} {part}", module) for part, module in parts.items()}
    tensors = {key: one for answer in encoded.values() for key, one in answer.tensors.items()}
    return Answer({part: answer.content for part, answer in encoded.items()}, tensors)


def decode_grant(name: str, form: Form, sent: Answer, build: Builders) -> Any:
    """Return a grant from the output of :func:`encode_grant`.

    Args:
        name: name of the grant.
        form: form of the grant.
        sent: its JSON values, and tensors that include its own.
        build: builds a new split model, with any weights, and a defense from what it begins with.
    """
    if form == "tensor":
        return sent.tensors[name]
    if form == "tensors":
        return _named(name, sent.tensors)
    if form == "values":
        return sent.content
    if form == "network":
        return fill_network(build.model().server, name, sent)
    if form == "defense":
        return build.defense(DefenseStart(*sent.content))
    assert form == "model", "answers are requested one by one"
    model = build.model()
    for part, module in model._asdict().items():
        if module is not None:
            fill_network(module, f"{name} {part}", Answer(sent.content[part], sent.tensors))
    return model


def encode_network(name: str, module: nn.Module) -> Answer:
    """Return a network's modes and its weights, which are named after ``name``."""
    weights = {f"{name}/{key}": value for key, value in module.state_dict().items()}
    return Answer([one.training for one in module.modules()], weights)


def fill_network(module: nn.Module, name: str, sent: Answer) -> nn.Module:
    """Load the weights and modes that were sent under a name into a network."""
    module.load_state_dict(_named(name, sent.tensors))
    for part, training in zip(module.modules(), sent.content, strict=True):
        part.training = training
    return module


def _named(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): one for key, one in tensors.items() if key.startswith(prefix)}
