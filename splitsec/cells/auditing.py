"""Turns what a person says of a model of their own into a request for cells.

``splitsec audit`` is ``splitsec eval`` with a target that is a whole network, and with as many
images in each part as the person's images allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from splitsec.cells.configured import configure
from splitsec.cells.plugin_requests import PluginRequest, parse_plugins, parse_settings
from splitsec.cells.profiles import get_profile
from splitsec.cells.requests import Request, make_request
from splitsec.data.sources import build_source
from splitsec.datasets.recorded import LISTENED, VALIDATION_SHARE
from splitsec.errors import UsageError
from splitsec.metrics.schema import GALLERY
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.names import is_path, plain_name, split_class
from splitsec.plugins.source import TRAINED, Task, list_checked
from splitsec.plugins.toolbox.cutting import cut_points
from splitsec.plugins.toolbox.recording import read_recording
from splitsec.plugins.toolbox.whole_models import WholeModel
from splitsec.shapes import Shape

Mode = Literal["inference", "continue", "scratch"]
"""How the model is used: as it is, trained on from its weights, or trained from random ones."""

_USABLE = 0.95  # of the images: copies may be left out, and patients stay together
_PRIVATE, _HELD_OUT, _VALIDATION = 0.35, 0.65, 0.2  # of the images, of the others, of what is left
_FEWEST = 8  # validation images


class AuditedModel(NamedTuple):
    """A model that a person names, and how it is used.

    Attributes:
        model: ``torchvision:NAME``, or ``FILE.py:FUNCTION`` for what a function builds.
        data: the data set, as ``--data`` takes it.
        weights: file of trained weights, or None.
        mode: how it is used; None for inference if there are weights, else from scratch.
        trained_on: file with the names of the images that trained the weights, or None.
        settings: other parameters of the target, such as ``{"carry": "true"}``.
    """

    model: str
    data: str
    weights: str | None = None
    mode: Mode | None = None
    trained_on: str | None = None
    settings: Mapping[str, str] = {}

    @property
    def target(self) -> PluginRequest:
        """The target, with its parameters.

        Raises:
            UsageError: the model is named in another form.
        """
        given = dict(self.settings)
        if self.weights is not None:
            given["weights"] = self.weights
        library, _, name = self.model.partition(":")
        if library == "torchvision" and name:
            return PluginRequest("torchvision", {"model": name, **given})
        if is_path(split_class(self.model)[0]) and split_class(self.model)[1]:
            return PluginRequest(self.model, given)
        raise UsageError(
            f"--model {self.model!r} is neither torchvision:NAME nor FILE.py:FUNCTION, where the "
            "function returns a torch.nn.Module"
        )

    def training(self) -> dict[str, str]:
        """Return the settings of training.

        Raises:
            UsageError: the mode needs weights, or must not have them.
        """
        mode = self.mode or ("inference" if self.weights else "scratch")
        if mode != "scratch" and self.weights is None:
            raise UsageError(f"--mode {mode} needs trained weights: --weights FILE")
        if mode == "scratch" and self.weights is not None:
            raise UsageError(
                "--mode scratch uses no weights; leave --weights out, or use --mode continue"
            )
        if self.trained_on is not None and self.weights is None:
            raise UsageError("--trained-on names the images that trained --weights; give these")
        return {"mode": "inference", "epochs": "1"} if mode == "inference" else {}


def audit_request(audited: AuditedModel, cuts: Sequence[str], axes: Mapping[str, Any]) -> Request:
    """Return the request for a model's cells.

    Args:
        audited: the model.
        cuts: submodules where it is cut, one or more.
        axes: values of other axes of the request; settings in it win.

    Raises:
        UsageError: something is wrong with what the person said.
    """
    target = audited.target
    name = plain_name(target.spec)
    (data,) = _one_data_set(audited.data)
    task, counts, _ = images_of(audited, axes)
    settings = {f"target.{name}.{key}": value for key, value in target.parameters.items()}
    settings[f"target.{name}.task"] = task
    settings |= {f"training.{key}": value for key, value in audited.training().items()}
    settings |= {f"counts.{key}": str(value) for key, value in counts.items()}
    if audited.trained_on is not None:
        settings[f"data.{plain_name(data.spec)}.trained_on"] = audited.trained_on
    given = tuple(axes.get("settings", ()))
    values = {
        **axes,
        "target": target.spec,
        "data": audited.data,
        "sweeps": (f"target.{name}.at={','.join(cuts)}",),
        "settings": (*(f"{key}={value}" for key, value in settings.items()), *given),
    }
    return make_request(values)


def traffic_request(traffic: str, axes: Mapping[str, Any]) -> Request:
    """Return the request for recorded traffic, which is attacked without a session.

    Args:
        traffic: folder of the recording.
        axes: values of other axes of the request; settings in it win.

    Raises:
        DataError: the recording cannot be read.
    """
    given = read_recording(Path(traffic).expanduser())
    recorded, public = len(given.images), len(given.public)
    usual = get_profile(axes.get("profile", "quick")).images("recorded")
    listened = int(LISTENED * recorded)
    validation = int(VALIDATION_SHARE * public)
    counts = {
        "private": min(usual["private"], int(_USABLE * listened)),
        "held_out": min(usual["held_out"], int(_USABLE * (recorded - listened))),
        "validation": min(usual["validation"], int(_USABLE * validation)),
        "public": min(usual["public"], int(_USABLE * (public - validation))),
    }
    counts["victims"] = min(usual["victims"], max(counts["private"], counts["held_out"]))
    _, channels, size, _ = given.images.shape
    settings = {
        "target.recorded.traffic": traffic,
        "data.recorded.traffic": traffic,
        "training.mode": "replay" if given.labels_crossed else "inference",
        "training.epochs": "1",
        **{f"counts.{name}": str(value) for name, value in counts.items()},
    }
    own = tuple(axes.get("settings", ()))
    return make_request(
        {
            "attack": "strongest:server=listening",
            **axes,
            "target": "recorded",
            "data": "recorded",
            "size": (size,),
            "channels": channels,
            "settings": (*(f"{name}={value}" for name, value in settings.items()), *own),
        }
    )


def possible_cuts(audited: AuditedModel, image: Shape) -> dict[str, tuple[int, ...]]:
    """Return where a model can be cut, and the shape of one image's smashed data there.

    Args:
        audited: the model; its weights are not needed.
        image: shape of one image.

    Raises:
        UsageError: the model cannot be built, or takes no such images.
    """
    spec, parameters = audited._replace(weights=None).target
    configured = configure("target", PluginRequest(spec, parameters))
    target = configured.plugin.cls(configured.parameters)
    if not isinstance(target, WholeModel):
        raise UsageError(f"{configured.label} has cuts of its own; see splitsec show target {spec}")
    with torch.random.fork_rng(devices=[]):
        return cut_points(target.network(image, 2), image)


def _one_data_set(text: str) -> list[PluginRequest]:
    found = parse_plugins(text)
    if len(found) != 1:
        raise UsageError(f"--data {text!r} names {len(found)} data sets; an audit has one")
    return found


class AuditedImages(NamedTuple):
    """A person's images.

    Attributes:
        task: what they are labelled for.
        counts: how many each part gets.
        classes: names of the classes, in the order of the model's outputs; empty for masks.
    """

    task: Task
    counts: dict[str, int]
    classes: tuple[str, ...]


def images_of(audited: AuditedModel, axes: Mapping[str, Any]) -> AuditedImages:
    """Return what is known of the images before they are decoded.

    Raises:
        DataError: the images cannot be listed.
        UsageError: a parameter of the data set is wrong.
    """
    (data,) = _one_data_set(audited.data)
    given = dict(data.parameters)
    if audited.trained_on is not None:
        given["trained_on"] = audited.trained_on
    settings = parse_settings(tuple(axes.get("settings", ())))
    configured = configure("data", PluginRequest(data.spec, given), settings.plugins["data"])
    source = build_source(configured.plugin, configured.values())
    usual = get_profile(axes.get("profile", "quick")).images(configured.plugin.name)
    parts = {name: usual[name] for name in ("private", "public", "validation", "held_out")}
    listed = list_checked(source, DataSpec(name=configured.plugin.name, **parts))
    trained = int(np.count_nonzero(listed.pools == TRAINED))
    counts = counts_for(len(listed.keys), trained, usual)
    task: Task = configured.plugin.cls.task_for(configured.parameters)
    asked = {name: int(settings.counts.get(name, count)) for name, count in counts.items()}
    return AuditedImages(task, asked, listed.classes)


def counts_for(images: int, trained: int, usual: Mapping[str, int]) -> dict[str, int]:
    """Return how many images each part gets.

    Args:
        images: number of images.
        trained: how many of them trained the model, and so are private; 0 if nobody knows.
        usual: the profile's counts, which none exceeds.

    Returns:
        As many held-out images as a gallery has, if there are so many.

    Examples:
        >>> usual = {"private": 500, "public": 500, "validation": 100, "held_out": 200}
        >>> counts_for(300, 0, usual | {"victims": 200})
        {'private': 100, 'public': 68, 'validation': 17, 'held_out': 100, 'victims': 100}
    """
    usable = int(_USABLE * images)
    if trained:
        private = min(usual["private"], int(_USABLE * trained))
        rest = int(_USABLE * (images - trained))
    else:
        private = min(usual["private"], max(min(GALLERY, usable // 2), int(_PRIVATE * usable)))
        rest = usable - private
    held_out = min(usual["held_out"], max(min(GALLERY, int(_HELD_OUT * rest)), int(0.4 * rest)))
    validation = min(usual["validation"], max(_FEWEST, int(_VALIDATION * (rest - held_out))))
    return {
        "private": private,
        "public": min(usual["public"], rest - held_out - validation),
        "validation": validation,
        "held_out": held_out,
        "victims": min(usual["victims"], max(private, held_out)),
    }
