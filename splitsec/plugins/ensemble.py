"""Ensembles: attacks that are several attacks, of which the one that recovers most counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from splitsec.errors import PluginError
from splitsec.plugins.attack import Attack, P
from splitsec.plugins.grants import ThreatModel


class Member(NamedTuple):
    """An attack of an ensemble.

    Attributes:
        attack: its name, as ``--attack`` takes it.
        parameters: those that differ from its defaults under the cell's profile.

    Examples:
        >>> Member("adra", {"pairs": "public"}).attack
        'adra'
    """

    attack: str
    parameters: Mapping[str, Any] = MappingProxyType({})


class Ensemble(Attack[P]):
    """Base class of an attack that names other attacks and does nothing itself.

    The framework runs each member as if it were the cell's only attack: with its own threat model,
    view, random numbers, sessions and process. So a member recovers what it would recover alone.
    Each set of victims is scored by the member that recovers most of it, as in AutoAttack (Croce
    and Hein, ICML 2020), but over all images of the set together: the best member of each image
    would be chosen with knowledge of the image. A member that does not apply or fails is named in
    the record, and the others count.

    Examples:
        >>> from splitsec import Parameters
        >>> from splitsec.plugins.ensemble import Ensemble, Member
        >>> class Both(Ensemble[Parameters]):
        ...     @classmethod
        ...     def members(cls, parameters):
        ...         return [Member("regression"), Member("adra", {"epochs": 5})]
        >>> Both.members(Parameters())[1].parameters
        {'epochs': 5}
    """

    @classmethod
    @abstractmethod
    def members(cls, parameters: P) -> Sequence[Member]:
        """Return the attacks, one or more, in the order in which a record lists them."""

    @classmethod
    def threat_model(cls, parameters: P) -> ThreatModel:
        """Raise an error: what an ensemble declares is what its members declare.

        Raises:
            PluginError: always; :func:`splitsec.plugins.description.threat_model_of` asks them.
        """
        raise PluginError(f"{cls.__name__} is an ensemble; its members declare what they see")

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Raise an error: only the members reconstruct.

        Raises:
            PluginError: always; an ensemble cannot be the member of another.
        """
        raise PluginError(f"{type(self).__name__} is an ensemble; its members attack, not itself")


def together(threats: Sequence[ThreatModel]) -> ThreatModel:
    """Return what several attackers see and do, taken as one.

    Args:
        threats: one or more threat models.

    Examples:
        >>> from splitsec import ThreatModel
        >>> together([ThreatModel(active=True), ThreatModel(labels=True)]).listens
        True
    """
    given = {name: any(getattr(one, name) for one in threats) for name in ThreatModel.model_fields}
    listens = any(one.listens or not one.active for one in threats)
    return ThreatModel(**{**given, "listens": given["active"] and listens})
