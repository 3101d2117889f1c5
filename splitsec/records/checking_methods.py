"""Whether a record says of its methods what their sources say, where the same sources are here.

A record names the hash of each source. Where a built-in attack or defense here has that hash, what
it declares is known. A record that names another hash is of another method, and boards say so.
"""

from __future__ import annotations

from collections.abc import Iterator

from splitsec.errors import SplitsecError
from splitsec.plugins.loading import builtin_code, load_plugin
from splitsec.plugins.names import Kind
from splitsec.plugins.parameters import build_parameters
from splitsec.records.guarantees import guarantee_of
from splitsec.records.record import Record

_RANDOMISED = "randomised-defense"


def check_methods(record: Record) -> str:
    """Return how a record contradicts the sources of its methods, or an empty text."""
    return next(_problems(record), "")


def _problems(record: Record) -> Iterator[str]:
    if record.threat_model is None:
        return
    spec = record.spec
    if _is_here("attack", record) and not record.members:  # an ensemble's follows from its members
        cls = load_plugin("attack", spec.attack).cls
        try:
            parameters = build_parameters(
                f"attack {spec.attack!r}", cls.Parameters, spec.parameters.get("attack", {})
            )
            declared = cls.threat_model(parameters)
        except SplitsecError as error:
            yield f"its attack cannot have its parameters: {error}"
            return
        if declared != record.threat_model:
            stated, known = record.threat_model.model_dump(), declared.model_dump()
            names = sorted(stated.items() ^ known.items())
            named = ", ".join(dict.fromkeys(name for name, _ in names))
            yield f"its threat model is not that of {spec.attack}, whose source is here: {named}"
    if record.status == "ok" and _is_here("defense", record):
        plugin = load_plugin("defense", spec.defense)
        draws = plugin.cls.randomised
        if draws != (_RANDOMISED in record.flags):
            said = "draws random numbers" if draws else "draws none"
            yield f"the source of {spec.defense} here {said}, and the flag {_RANDOMISED!r} differs"
        own = build_parameters(plugin.label, plugin.cls.Parameters, spec.parameters["defense"])
        u_shaped = record.session.get("labels") == "private"
        if guarantee_of(spec, plugin.cls(own), u_shaped=u_shaped) != record.guarantee:
            yield f"its guarantee is not what {spec.defense}, whose source is here, proves"
    elif record.guarantee is not None:
        yield f"it has a guarantee of {spec.defense}, whose source is not here"


def _is_here(kind: Kind, record: Record) -> bool:
    """Return whether a record's method is built in here, with the same source."""
    name = str(getattr(record.spec, kind))
    code = record.provenance.plugins.get(kind, {}).get("code")
    return code is not None and code == builtin_code(kind, name)
