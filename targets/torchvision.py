"""Any classification model of torchvision, trained or not, cut at a submodule that you name.

Maintained by torchvision (BSD licence), https://pytorch.org/vision/stable/models.html: MobileNet,
DenseNet, EfficientNet, ConvNeXt, ViT, ResNet and others. ``at`` says where the client ends, and
``weights`` is a file of trained weights. Without it the weights are random; nothing is
downloaded. Models whose ``forward`` gives several outputs (GoogLeNet, Inception) are refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from torch import nn
from torchvision import models

from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.toolbox.whole_models import Normalisation, WholeModel, WholeModelParameters
from splitsec.shapes import Shape


def _known(name: str) -> str:
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(unknown_name("model of torchvision:", name, known))
    return name


class TorchvisionParameters(WholeModelParameters):
    """Parameters of a model of torchvision."""

    model: Annotated[str, AfterValidator(_known)] = Field(
        "mobilenet_v3_small", description="name, as torchvision.models.list_models() gives it"
    )
    normalise: Normalisation = Field(
        "imagenet",
        description="what the client does to images in [0, 1] first: imagenet, half (to [-1, 1]), "
        "none, or channel means / standard deviations, such as '0.5 / 0.25'",
    )


class TorchvisionModel(WholeModel[TorchvisionParameters]):
    """A classification model of torchvision; the server ends it unless ``until`` is given."""

    Parameters: ClassVar[type[TorchvisionParameters]] = TorchvisionParameters
    channels: ClassVar[tuple[int, ...]] = (3,)

    def network(self, image: Shape, outputs: int) -> nn.Module:
        """Build the model; a vision transformer takes images of this size."""
        build = models.get_model_builder(self.parameters.model)
        sized = {"image_size": image.height} if "vit" in self.parameters.model else {}
        try:
            network: nn.Module = build(weights=None, num_classes=outputs, **sized)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"torchvision cannot build {self.parameters.model} for images of {image}: {error}"
            ) from error
        return network
