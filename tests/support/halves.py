"""Targets and clients for tests of split training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from splitsec.data.parts import Part
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.target import Target
from splitsec.shapes import Shape
from splitsec.training.client import Client
from splitsec.training.release import Sender

IMAGE = Shape(3, 32, 32)


def target_of(name: str, **parameters: Any) -> Target[Any]:
    plugin = load_plugin("target", name)
    target: Target[Any] = plugin.cls(build_parameters(name, plugin.cls.Parameters, parameters))
    return target


def client_of(
    part: Part,
    encoder: nn.Module,
    defense: Defense[Any],
    optimizer: torch.optim.Optimizer | None,
    index: int = 0,
) -> Client:
    sender = Sender(encoder, defense, client=index)
    return Client(part, sender, None, F.cross_entropy, optimizer or no_optimizer())


def no_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)])
