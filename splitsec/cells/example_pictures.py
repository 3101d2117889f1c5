"""Makes a few pictures of a trained model's work on held-out images, kept beside the record."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitsec.data.parts import Data
from splitsec.devices import Device, on_cpu
from splitsec.plugins.toolbox.layouts import TokenGrid, grid_of
from splitsec.shapes import Shape
from splitsec.training.trained import TrainedSession

_IMAGES = 8
_CHANNELS = 8


def examples(trained: TrainedSession, data: Data) -> dict[str, NDArray[Any]]:
    """Return held-out images, predicted masks, and the client's activations for the first image.

    Args:
        trained: an honest session.
        data: its images.

    Returns:
        ``held_out`` of shape (n, C, H, W), in [0, 1]; for segmentation ``masks`` and
        ``predicted`` of shape (n, 1, H, W), 0 or 1; and ``layer i`` of shape (c, h, w), the first
        channels after child i of a client that is a sequence (preprocessing is not counted), or
        the first features of its tokens if these cover the image in a grid.
    """
    count = min(_IMAGES, len(data.held_out))
    images = data.held_out.batch(range(count))
    kept: dict[str, NDArray[Any]] = {"held_out": images.numpy()}
    if data.task == "segmentation":
        _, outputs = trained.predict(images, "examples")
        kept["masks"] = data.held_out.targets(range(count)).numpy().astype(np.uint8)
        kept["predicted"] = (on_cpu(outputs).numpy() > 0).astype(np.uint8)
    client = trained.model.client
    device = Device.of(client)
    return kept | _activations(client, device.put(images[:1]))


@torch.no_grad()
def _activations(client: nn.Module, image: Tensor) -> dict[str, NDArray[Any]]:
    if not isinstance(client, nn.Sequential):
        return {}
    training = client.training
    client.eval()
    kept, values = {}, image
    for index, layer in enumerate(client):
        made: object = layer(values)
        if not isinstance(made, Tensor):
            break  # smashed data with skips
        values = made
        maps = _as_maps(values, Shape(*image.shape[1:]))
        if index and maps is not None:
            # float16 is enough: these maps are only looked at.
            kept[f"layer {index - 1}"] = on_cpu(maps[0, :_CHANNELS]).half().numpy()
    client.train(training)
    return kept


def _as_maps(values: Tensor, image: Shape) -> Tensor | None:
    """Return maps unchanged, tokens laid out as maps, and None for anything else."""
    if values.dim() == 4:
        return values
    grid = grid_of(values.shape[1], image) if values.dim() == 3 else None
    return None if grid is None else TokenGrid(grid)(values)
