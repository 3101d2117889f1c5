"""splitsec: what can the server of a split-trained model see?

The names below are imported when they are first used, so that ``import splitsec`` and
``splitsec --help`` do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splitsec.attack import Attack, Hijacking
    from splitsec.contract.runner import check_plugin
    from splitsec.defense import Defense
    from splitsec.errors import NotApplicable, SplitsecError, ThreatModelViolation
    from splitsec.frames import per_image_frame, records_frame
    from splitsec.models import load_hijacked_client, load_model
    from splitsec.parameters import Parameters
    from splitsec.record import Record, load_record
    from splitsec.runs import evaluate
    from splitsec.target import Target
    from splitsec.threat import ThreatModel, View

__version__ = "0.1.0"

_HOMES = {
    "Attack": "attack",
    "Hijacking": "attack",
    "check_plugin": "contract.runner",
    "Defense": "defense",
    "NotApplicable": "errors",
    "SplitsecError": "errors",
    "ThreatModelViolation": "errors",
    "evaluate": "runs",
    "load_hijacked_client": "models",
    "load_model": "models",
    "per_image_frame": "frames",
    "records_frame": "frames",
    "Parameters": "parameters",
    "Record": "record",
    "load_record": "record",
    "Target": "target",
    "ThreatModel": "threat",
    "View": "threat",
}

__all__ = [
    "Attack",
    "Defense",
    "Hijacking",
    "NotApplicable",
    "Parameters",
    "Record",
    "SplitsecError",
    "Target",
    "ThreatModel",
    "ThreatModelViolation",
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
