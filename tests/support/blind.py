"""Images of every data set, and the strongest attackers that see no smashed data."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.download import Patience
from splitsec.errors import DataError, WeightsUnavailableError
from splitsec.metrics.blind_attackers import (
    SEARCHES,
    MeanError,
    PopulationErrors,
    Search,
    best_image,
    population_errors,
)
from splitsec.metrics.image_errors import mse
from splitsec.metrics.label_guesses import ClassImages, LabelGuesses, MaskImages
from splitsec.metrics.lpips_weights import load_backbone
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.victims import Baselines, References
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent

_FEW: Any = {"public": 160, "validation": 60, "held_out": 60}

SPECS = {
    "retinamnist": DataSpec(name="retinamnist", size=32),
    "pneumoniamnist": DataSpec(
        name="medmnist", parameters={"set": "pneumoniamnist"}, size=32, channels=1, **_FEW
    ),
    "x-rays": DataSpec(
        name="lung-segmentation",
        size=32,
        channels=1,
        private=380,
        public=138,
        validation=40,
        held_out=140,
    ),
    "phantom-fundus": DataSpec(name="phantom-fundus", size=16, private=2, **_FEW),
    "phantom-cxr": DataSpec(name="phantom-cxr", size=32, channels=1, private=2, **_FEW),
}
"""Data sets on which measures are shown to hold."""


_KNOWN = 60  # public images that a test's hostile guesses use: they are searched for in seconds


class Bracket(NamedTuple):
    """Held-out victims of a data set, and what they are measured against.

    Attributes:
        data: the data set.
        references: blind attackers fitted to its public images.
        baselines: their scores on the held-out images.
        told: baselines for an attacker who is told the victims' labels.
    """

    data: Data
    references: References
    baselines: Baselines
    told: Baselines


@cache
def lpips() -> Lpips | str:
    """Return LPIPS, or why it is unavailable."""
    try:
        return Lpips(load_backbone(patience=Patience(5, 60)))
    except WeightsUnavailableError as error:
        return str(error)


@cache
def bracket(name: str) -> Bracket | str:
    """Return the victims of a data set of ``SPECS`` with their baselines, or why there are none."""
    weights = lpips()
    if isinstance(weights, str):
        return weights
    try:
        data = load_data(SPECS[name], Silent())
    except DataError as error:
        return str(error)
    victims = data.held_out.all()
    references = References.fit(
        data.public.all(), data.validation.all(), weights, torch.Generator().manual_seed(0)
    )
    told = references.told(label_guesses(data, references), labels_of(data, "validation"))
    return Bracket(
        data=data,
        references=references,
        baselines=references.on(victims, torch.Generator().manual_seed(1)),
        told=told.on(victims, torch.Generator().manual_seed(1), labels_of(data, "held_out")),
    )


def labels_of(data: Data, part: str) -> Tensor:
    """Return the labels or masks of a part."""
    chosen = getattr(data, part)
    targets: Tensor = chosen.targets(range(len(chosen)))
    return targets


def label_guesses(data: Data, references: References) -> LabelGuesses:
    """Return what an attacker who is told labels guesses."""
    labels = labels_of(data, "public")
    if data.task == "segmentation":
        return MaskImages.fit(references.attackers, labels)
    return ClassImages.fit(
        references.attackers, labels, len(data.classes), references.lpips, torch.Generator()
    )


def hostile_guesses(found: Bracket, longer: int = 1, known: int = _KNOWN) -> dict[str, Tensor]:
    """Return guesses (N, C, H, W) that try to score without seeing smashed data.

    Args:
        found: the victims and the public images.
        longer: how many times as many steps as splitsec's own searches take.
        known: how many public images they use.
    """
    public, weights = found.data.public.all()[:known], found.references.lpips
    assert weights is not None, "a bracket has LPIPS"
    generator = torch.Generator().manual_seed(5)
    mean, median = public.mean(dim=0), public.median(dim=0).values
    errors = {
        error: population_errors(error, public, weights, generator).whole for error in SEARCHES
    }
    scales = {error: measured(mean.unsqueeze(0)).detach() for error, measured in errors.items()}
    spread = mse(mean.expand_as(public), public).mean()

    def together(image: Tensor) -> Tensor:
        """Return the three errors of an image, each relative to the mean image's."""
        relative = [measured(image) / scales[error] for error, measured in errors.items()]
        return torch.stack(relative).sum() + (image - public).square().mean() / spread

    def search(steps: int, starts: list[Tensor], error: MeanError) -> Tensor:
        return best_image(starts, PopulationErrors(error, error), Search("", steps * longer))

    steps = SEARCHES["lpips"].steps
    images = {"optimised for all three": search(steps, [mean, median], together)}
    for error, measured in errors.items():
        for start, image in {"mean": mean, "a public image": public[3]}.items():
            images[f"optimised for {error}, from {start}"] = search(steps, [image], measured)
    count = len(found.baselines.victims)
    made = {name: image.expand(count, *image.shape) for name, image in images.items()}
    choices = torch.stack(list(images.values()))
    made["any of these at random"] = choices[
        torch.randint(len(choices), (count,), generator=generator)
    ]
    made["a public image, blurred"] = torch.nn.functional.avg_pool2d(
        public[torch.randint(len(public), (count,), generator=generator)], 5, 1, 2
    )
    made["noise"] = torch.rand(found.baselines.victims.shape, generator=generator)
    return made


def told_components(found: Bracket, count: int) -> Tensor:
    """Return reconstructions of the victims by an oracle that knows ``count`` components."""
    mean, basis = found.references.yardsticks.mean, found.references.yardsticks.basis[:count]
    victims = found.baselines.victims
    coordinates = (victims - mean).flatten(1) @ basis.T
    return (mean + (coordinates @ basis).view(victims.shape)).clamp(0, 1)
