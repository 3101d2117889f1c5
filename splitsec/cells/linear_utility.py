"""The utility of linear models on a session's images, computed once for the same images."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from splitsec.data.parts import Data, Part
from splitsec.metrics.linear_models import LinearTask, LinearUtility, linear_utility


def linear_utility_of(data: Data) -> LinearUtility:
    """Return the utility of linear models that all clients' images train.

    The cells of a grid that have the same images share the result, whatever their attacks,
    defenses and seeds are.

    Args:
        data: the session's images.
    """
    patients = np.concatenate([_patients(part, client) for client, part in enumerate(data.private)])
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


def _patients(part: Part, client: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the patient of each image, (N,); images of a part without patients have their own."""
    if part.patients is not None:
        return part.patients
    return -1 - np.arange(len(part), dtype=np.int64) - (client << 32)
