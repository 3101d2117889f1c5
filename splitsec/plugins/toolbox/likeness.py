"""How alike a decoder's images are, as a loss."""

from __future__ import annotations

from torch import Tensor

from splitsec.errors import NotApplicable
from splitsec.metrics.image_errors import SSIM_WINDOW, mean_ssim_error
from splitsec.shapes import Shape


def check_window(image: Shape) -> None:
    """Raise a NotApplicable for images that are smaller than SSIM's window."""
    if min(image.height, image.width) < SSIM_WINDOW:
        raise NotApplicable(
            f"SSIM needs images of {SSIM_WINDOW} pixels in height and width, and these are {image}"
        )


def mean_likeness(made: Tensor, images: Tensor) -> Tensor:
    """Return the mean SSIM of decoded images with the originals, which can be differentiated.

    Args:
        made: shape (N, C, H, W), in [-1, 1].
        images: shape (N, C, H, W), in [0, 1], at least 7x7 pixels.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.likeness import mean_likeness
        >>> images = torch.rand(2, 1, 8, 8)
        >>> mean_likeness(2 * images - 1, images).item() > 0.999
        True
    """
    return 1 - mean_ssim_error(images)((made + 1) / 2)
