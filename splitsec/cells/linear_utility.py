"""The utility of linear models on a session's images, computed once for the same images."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from splitsec.cells.image_lists import patients_of
from splitsec.data.parts import Data
from splitsec.metrics.linear_models import LinearTask, LinearUtility, linear_utility


def linear_utility_of(data: Data) -> LinearUtility:
    """Return the utility of linear models that all clients' images train.

    The cells of a grid that have the same images share the result, whatever their attacks,
    defenses and seeds are.

    Args:
        data: the session's images.
    """
    patients = np.concatenate(
        [patients_of(part, client) for client, part in enumerate(data.private)]
    )
    grouped = hashlib.sha256(patients.tobytes()).hexdigest()
    key = (data.images_sha256, grouped, data.outputs, torch.get_num_threads())
    if key not in _KNOWN:
        tasks = [LinearTask(part.all(), part.targets(range(len(part)))) for part in data.private]
        training = LinearTask(*(torch.cat(values) for values in zip(*tasks, strict=True)))
        held_out = data.held_out
        scored = LinearTask(held_out.all(), held_out.targets(range(len(held_out))))
        _KNOWN[key] = linear_utility(training, scored, data.outputs, patients.tolist())
    return _KNOWN[key]


_KNOWN: dict[tuple[str, str, int, int], LinearUtility] = {}
"""Utility by the hashes of images and patients, the number of outputs, and of threads, which may
move a last bit. Kept because a grid has many sessions with the same images."""
