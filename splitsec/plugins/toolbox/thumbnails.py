"""A thumbnail of each image in the shape of smashed data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from splitsec.errors import NotApplicable
from splitsec.shapes import Shape, SmashedShape


def check_room(image: Shape, smashed: SmashedShape, size: int) -> None:
    """Raise an error unless a thumbnail fits.

    Args:
        image: shape of one image.
        smashed: shape of one image's smashed data.
        size: height and width of the thumbnail.

    Raises:
        NotApplicable: it does not fit.
    """
    due = image.channels * size * size
    fits = (
        smashed.channels >= image.channels and min(smashed.height, smashed.width) >= size
        if isinstance(smashed, Shape)
        else torch.Size(smashed).numel() >= due
    )
    if not fits or min(image.height, image.width) < size:
        raise NotApplicable(
            f"a thumbnail of {image.channels} channels, {size}x{size}, of images of {image} does "
            f"not fit into smashed data of {smashed}"
        )


def as_smashed(images: Tensor, smashed: Tensor, size: int) -> Tensor:
    """Return thumbnails in the shape of smashed data, and nothing else of the images.

    Args:
        images: shape (N, C, H, W), in [0, 1].
        smashed: sets the shape of the result: maps (N, c, h, w), tokens or vectors.
        size: height and width of a thumbnail.

    Returns:
        Maps have the thumbnail in their first C channels, enlarged without interpolation; tokens
        and vectors begin with its values. All else is zero.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.thumbnails import as_smashed
        >>> images, smashed = torch.rand(2, 3, 8, 8), torch.rand(2, 16, 4, 4)
        >>> sent = as_smashed(images, smashed, size=1)
        >>> sent.shape, len(sent[0].unique())  # one value per colour, and zero
        (torch.Size([2, 16, 4, 4]), 4)
    """
    small = F.adaptive_avg_pool2d(images, size) - 0.5
    sent = torch.zeros_like(smashed)
    if smashed.dim() == 4:
        sent[:, : images.shape[1]] = F.interpolate(small, smashed.shape[2:])
        return sent
    flat = sent.flatten(1)
    flat[:, : small[0].numel()] = small.flatten(1)
    return flat.view_as(smashed)
