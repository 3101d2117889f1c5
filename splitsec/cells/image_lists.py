"""Values per image of a cell: which images they are about, and what was measured of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from splitsec.data.parts import Data, Part
from splitsec.metrics.image_errors import psnr_of_mse
from splitsec.records.image_values import Floats, ImageList, ImageMeasures, Integers


def training_victims(data: Data, victims: Sequence[tuple[int, int]]) -> ImageList:
    """Return the list of training victims.

    Args:
        data: the session's images.
        victims: (client, row of the client's images) of each victim.
    """
    clients = np.array([client for client, _ in victims], np.int64)
    parts = [data.private[client] for client, _ in victims]
    places = [row for _, row in victims]
    names = [part.names[row] for part, row in zip(parts, places, strict=True) if part.names]
    own = {client: patients_of(part, client) for client, part in enumerate(data.private)}
    return ImageList(
        clients=clients,
        patients=np.array([own[client][row] for client, row in victims], np.int64),
        rows=np.array([part.indices[row] for part, row in zip(parts, places, strict=True)]),
        names=_texts(names),
    )


def held_out_images(data: Data) -> ImageList:
    """Return the list of held-out images; they are divided among the clients in order."""
    part = data.held_out
    return ImageList(
        clients=held_out_clients(len(part), len(data.private)),
        patients=patients_of(part, len(data.private)),
        rows=part.indices,
        names=_texts(part.names),
    )


def image_measures(
    errors: Mapping[str, Floats], identified: Mapping[str, Floats], leakage: Floats | None
) -> ImageMeasures:
    """Return the measures of each image in the form of a record's file.

    Args:
        errors: of each of :data:`splitsec.metrics.leakage.ERRORS` that was measured, (N,).
        identified: of each of :data:`splitsec.metrics.leakage.KINDS`, (N,).
        leakage: (N,), or None.
    """
    return ImageMeasures(
        mse=errors["mse"],
        psnr=psnr_of_mse(torch.from_numpy(errors["mse"])).numpy(),
        ssim=1 - errors["ssim"],
        lpips=errors.get("lpips"),
        structure=identified["structure"],
        pixel=identified["pixel"],
        leakage=leakage,
    )


def held_out_clients(images: int, clients: int) -> Integers:
    """Return the index of the client of each held-out image, (images,)."""
    shares = np.array_split(np.arange(images), clients)
    return np.repeat(np.arange(clients, dtype=np.int64), [len(share) for share in shares])


def patients_of(part: Part, place: int) -> Integers:
    """Return a number per image, (N,), that images of one patient share.

    Args:
        part: the images; where it names no patients, each image has a number of its own.
        place: tells the part from other parts without patients.
    """
    if part.patients is not None:
        return part.patients
    return -1 - np.arange(len(part), dtype=np.int64) - (place << 32)


def _texts(names: Sequence[str]) -> NDArray[np.str_] | None:
    return np.array(names, np.str_) if names else None
