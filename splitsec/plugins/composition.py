"""Several defenses as one, such as ``clip+gaussian-noise``: each changes what the one before sends.

A composition is a defense like any other, so that grids, isolation, checks and boards know nothing
of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import create_model, model_validator
from pydantic.fields import FieldInfo
from torch import Tensor, nn

from splitsec.errors import SessionEnded, UsageError, unknown_name
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.names import may_follow, names_in
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class Part(NamedTuple):
    """One defense of a composition.

    Attributes:
        name: its name.
        cls: its class.
        parameters: from the composition's parameters to those of the part.
    """

    name: str
    cls: type[Defense[Any]]
    parameters: Mapping[str, str]

    def fields(self) -> Iterator[tuple[str, tuple[Any, FieldInfo]]]:
        """Yield the composition's parameters that are its own, with their types."""
        for called, own in self.parameters.items():
            field = self.cls.Parameters.model_fields[own]
            yield called, (field.annotation, field)

    def strength(self) -> Strength | None:
        """Return its strength, by the composition's name of the parameter."""
        own = self.cls.strength
        if own is None:
            return None
        called = {mine: name for name, mine in self.parameters.items()}
        return own._replace(parameter=called[own.parameter])

    def given(self, values: Parameters) -> Parameters:
        """Return its own parameters, from those of the composition."""
        built: Parameters = self.cls.Parameters(
            **{own: getattr(values, name) for name, own in self.parameters.items()}
        )
        return built


class Composition(Defense[Parameters]):
    """Several defenses in a row: ``release`` and ``receive`` pass through all, penalties add up."""

    parts: ClassVar[Sequence[Part]] = ()

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._defenses = [part.cls(part.given(parameters)) for part in self.parts]

    @property
    def task_weight(self) -> float:
        """The product of all weights."""
        weight = 1.0
        for one in self._defenses:
            weight *= float(one.task_weight)
        return weight

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks of all."""
        return [network for one in self._defenses for network in one.networks]

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Begin each, in order, with one generator."""
        for one in self._defenses:
            one.device, one.epochs, one.trains = self.device, self.epochs, self.trains
            one.untrained = self.untrained
            one.begin(image, smashed, generator)

    def begin_epoch(self, epoch: int) -> None:
        """Tell each.

        Raises:
            SessionEnded: one of them ends the session, once all have been told.
        """
        ended: list[SessionEnded] = []
        for one in self._defenses:
            try:
                one.begin_epoch(epoch)
            except SessionEnded as reason:
                ended.append(reason)
        if ended:
            raise ended[0]

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Let each change what the one before it would send."""
        for one in self._defenses:
            smashed = one.release(images, smashed)
        return smashed

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor | None:
        """Return the sum of all penalties, each on what the defenses before it make of the output.

        So ``bottleneck+attacker-aware`` penalises what leaves the bottleneck.
        """
        given = []
        for number, one in enumerate(self._defenses):
            if number:
                smashed = self._defenses[number - 1].release(images, smashed)
            given.append(one.penalty(images, smashed, labels))
        penalties = [one for one in given if one is not None]
        return sum(penalties[1:], penalties[0]) if penalties else None

    def send_labels(self, labels: Tensor, step: int) -> Tensor:
        """Let each change the labels that are sent."""
        for one in self._defenses:
            labels = one.send_labels(labels, step)
        return labels

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Let each inspect or change the gradient."""
        for one in self._defenses:
            gradient = one.receive(gradient, step, labels)
        return gradient


def compose(named: Mapping[str, type[Defense[Any]]]) -> type[Composition]:
    """Return the class of a composition.

    Its strength is that of the last defense that has one. A parameter keeps its name; one that
    several defenses have is called after its defense, too, such as ``gaussian_noise_sigma``.

    Args:
        named: names and classes of the defenses, in the order in which they change what is sent.

    Examples:
        >>> from splitsec.plugins.loading import load_plugin
        >>> noisy = load_plugin("defense", "clip+gaussian-noise").cls
        >>> list(noisy.Parameters.model_fields)
        ['bound', 'limit', 'sigma', 'unit']
    """
    fields = [name for cls in named.values() for name in cls.Parameters.model_fields]
    parts = []
    for name, cls in named.items():
        own = cls.Parameters.model_fields
        called = {
            one if fields.count(one) == 1 else f"{name.replace('-', '_')}_{one}": one for one in own
        }
        parts.append(Part(name, cls, called))

    def fit(values: Parameters) -> Parameters:
        for part in parts:
            part.given(values)
        return values

    check: Any = model_validator(mode="after")(fit)
    definitions: dict[str, Any] = {name: one for part in parts for name, one in part.fields()}
    joint: Any = create_model(
        "CompositionParameters",
        __base__=Parameters,
        __validators__={"fit": check},
        **definitions,
    )
    strengths = [one for part in parts if (one := part.strength()) is not None]
    profiles: dict[str, dict[str, Any]] = {}
    for part in parts:
        for profile, values in part.cls.profiles.items():
            usual = {name: values[own] for name, own in part.parameters.items() if own in values}
            profiles.setdefault(profile, {}).update(usual)
    return type(
        "".join(cls.__name__ for cls in named.values()),
        (Composition,),
        {
            "__doc__": f"{', then '.join(named)}.",
            "__module__": __name__,
            "Parameters": joint,
            "parts": tuple(parts),
            "strength": strengths[-1] if strengths else None,
            "profiles": profiles,
            "randomised": any(cls.randomised for cls in named.values()),
            "separate": any(cls.separate for cls in named.values()),
            "fakes_labels": any(cls.fakes_labels for cls in named.values()),
        },
    )


def check_names(spec: str, known: Iterable[str]) -> None:
    """Raise an error unless a spec names two or more built-in defenses, each once.

    Args:
        spec: such as ``clip+gaussian-noise``.
        known: names of the built-in defenses.

    Raises:
        UsageError: it does not.
    """
    names, known = names_in("defense", spec), list(known)
    if not may_follow(names):
        raise UsageError(
            f"defense {spec!r}: a composition names two or more defenses, each once, and not 'none'"
        )
    for name in names:
        if name not in known:
            raise UsageError(
                f"{unknown_name('defense', name, known)}; defenses that are built in are composed "
                "by their names, and one of your own calls others in its release()"
            )
