"""splitsec: what can the server of a split-trained model see?

The names below are imported when they are first used, so that ``import splitsec`` and
``splitsec --help`` do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from splitsec.plugins.importing import install

if TYPE_CHECKING:
    from splitsec.errors import NotApplicable, SplitsecError, ThreatModelViolation
    from splitsec.plugins.attack import Attack, Hijacking
    from splitsec.plugins.convergence import Convergence
    from splitsec.plugins.defense import Defense
    from splitsec.plugins.grants import ThreatModel
    from splitsec.plugins.parameters import InputPath, Parameters
    from splitsec.plugins.target import Target
    from splitsec.plugins.view import View
    from splitsec.progress import Progress
    from splitsec.records.frames import per_image_frame, records_frame
    from splitsec.records.reading import load_record
    from splitsec.records.record import Record
    from splitsec.records.trained_models import load_hijacked_client, load_model
    from splitsec.running.contract.runner import check_plugin
    from splitsec.running.runs import evaluate
    from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape

install()

__version__ = "0.1.0"

_HOMES = {
    "Attack": "plugins.attack",
    "Convergence": "plugins.convergence",
    "Hijacking": "plugins.attack",
    "InputPath": "plugins.parameters",
    "check_plugin": "running.contract.runner",
    "Defense": "plugins.defense",
    "NotApplicable": "errors",
    "SplitsecError": "errors",
    "ThreatModelViolation": "errors",
    "evaluate": "running.runs",
    "load_hijacked_client": "records.trained_models",
    "load_model": "records.trained_models",
    "per_image_frame": "records.frames",
    "records_frame": "records.frames",
    "Parameters": "plugins.parameters",
    "Progress": "progress",
    "Record": "records.record",
    "load_record": "records.reading",
    "Shape": "shapes",
    "SmashedShape": "shapes",
    "Target": "plugins.target",
    "ThreatModel": "plugins.grants",
    "TokenShape": "shapes",
    "VectorShape": "shapes",
    "View": "plugins.view",
}

__all__ = [
    "Attack",
    "Convergence",
    "Defense",
    "Hijacking",
    "InputPath",
    "NotApplicable",
    "Parameters",
    "Progress",
    "Record",
    "Shape",
    "SmashedShape",
    "SplitsecError",
    "Target",
    "ThreatModel",
    "ThreatModelViolation",
    "TokenShape",
    "VectorShape",
    "View",
    "check_plugin",
    "evaluate",
    "load_hijacked_client",
    "load_model",
    "load_record",
    "per_image_frame",
    "records_frame",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'splitsec' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"splitsec.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
