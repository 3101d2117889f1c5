"""A request, the command that asks for it, and the request that the command line makes of that."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from splitsec.cells.requests import Request, flag_of
from splitsec.cli import group
from splitsec.cli.eval import command
from splitsec.cli.request_options import take_request

AXES: dict[str, tuple[Any, ...]] = {
    "attack": ("none", "fsha:iterations=500,critic_lr=1e-3,./my attack.py:Mine", ["fsha", "adra"]),
    "defense": ("dcor:alpha=0.9", ["none", "dcor"]),
    "target": (None, "resnet:depth=18,labels=private", ["unet", "resnet"]),
    "data": (None, "retinamnist:path=/a b/c.npz", ["retinamnist", "phantom-fundus"]),
    "cut": (None, 3, "2,3", [2, 3], -1),
    "size": (None, 32, "32,64", (32, 64)),
    "channels": (1, 3),
    "clients": (1, 4),
    "profile": ("quick", "standard"),
    "seed": (0, 7, "4,2", [3, 7], [0], range(1), range(5), range(0)),
    "public_from": ("same", "shifted"),
    "threads": (None, 3),
    "precision": ("float32", "bf16"),
    "settings": (
        (),
        ["attack.fsha.iterations=500", "training.epochs=5"],
        {"training.keep": "best", "counts.private": 200, "attack.adra.pairs": None},
        ["attack.fsha.note=it's a = b, c"],
    ),
    "sweeps": ((), ["defense.dcor.alpha=0.1,0.5", "defense.dcor.estimator=a,b"]),
}


def typed(words: list[str]) -> Request:
    """Return what the command line makes of a command's words, as a shell passes them on."""
    name, subcommand, *arguments = shlex.split(shlex.join(words))
    assert (name, subcommand) == ("splitsec", "eval")
    return take_request(command.make_context("eval", arguments).params)


def test_every_axis_is_in_the_table() -> None:
    assert [*AXES] == [*Request.model_fields]


@pytest.mark.parametrize(
    ("axis", "value"), [(axis, value) for axis, values in AXES.items() for value in values]
)
def test_a_command_asks_for_the_request_it_was_made_from(axis: str, value: Any) -> None:
    request = Request(**{"attack": "fsha", axis: value})
    assert typed(request.command()) == request


def test_so_does_a_command_with_every_axis() -> None:
    request = Request(**{axis: values[-1] for axis, values in AXES.items()})
    words = request.command()
    assert typed(words) == request
    others = {"--seeds" if axis == "seed" else flag_of(axis) for axis in AXES}
    assert {word for word in words if word.startswith("--")} == others


def test_options_alone_are_the_models_defaults() -> None:
    assert typed(["splitsec", "eval", "--attack", "none"]) == Request(attack="none")


def test_the_help_tells_of_every_axis_what_the_model_says() -> None:
    shown = CliRunner().invoke(group, ["eval", "--help"], terminal_width=200).output
    words = " ".join(shown.split())
    for axis, field in Request.model_fields.items():
        assert field.description
        assert f"{flag_of(axis)} " in words
        assert " ".join(field.description.split()) in words
    for default in ("the profile's", "the target's", "none", "quick", "same", "0"):
        assert f"[default: {default}" in words
