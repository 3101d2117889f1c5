"""Content that the build writes into pages, from the code and from published records.

``<!-- cards: attacks -->`` becomes a card per built-in attack; ``defenses`` and ``targets`` work
the same way. ``<!-- boards: x-rays -->`` becomes that track's boards, and ``<!-- flags -->`` a
table of the flags. Parameters come from the parameter classes and results from
``leaderboard/records``, so pages show the current ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pandas as pd

from splitsec.leaderboard import tables
from splitsec.leaderboard.boards import printed, to_markdown
from splitsec.leaderboard.ranking import rank
from splitsec.plugins.description import parameters_of, strength_of, text_of, threat_models_of
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import Plugin, list_plugins, load_plugin
from splitsec.plugins.names import Kind
from splitsec.records.record import FLAGS, INVALIDATING, Record
from splitsec.records.store import load_records
from splitsec.records.wording import with_interval

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"

_MARKER = re.compile(r"^<!-- (cards|boards|flags)(?:: (\S+))? -->$", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod):(?=<code)")
_ROWS: dict[Kind, list[str]] = {
    "attack": ["attack", "defense"],
    "defense": ["defense", "attack"],
    "target": ["attack"],
}
_SETTING = ["data", "target", "cut", "profile", "protocol"]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace a page's markers by their content; called by MkDocs for each page."""
    return _MARKER.sub(lambda found: _content(found[1], found[2]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Remove the roles that docstrings put before names in code; called by MkDocs."""
    return _ROLE.sub("", html)


def _content(what: str, name: str) -> str:
    if what == "flags":
        return flags()
    if what == "boards":
        return boards(name)
    return cards(cast(Kind, name.removesuffix("s")))


def flags() -> str:
    """Return a table of the flags that a record may carry."""
    lines = [
        {
            "flag": f"`{name}`",
            "meaning": says,
            "ranked": "no" if name in INVALIDATING else "yes",
        }
        for name, says in FLAGS.items()
    ]
    return tables.markdown_table(pd.DataFrame(lines))


def boards(track: str) -> str:
    """Return the boards of a track's published records, as ``splitsec leaderboard`` prints them."""
    return to_markdown([printed(one) for one in rank(load_records([RECORDS / track]), "defenses")])


def cards(kind: Kind) -> str:
    """Return the cards of all built-in plug-ins of a kind, as Markdown."""
    names = [one.name for one in list_plugins(kind) if one.origin == "built in"]
    return "\n\n".join(card(load_plugin(kind, name)) for name in names)


def card(plugin: Plugin) -> str:
    """Return a plug-in's description from its source, its parameters and its results."""
    parts = [f"## {plugin.name}", text_of(plugin)]
    if plugin.kind == "attack":
        parts += [f"### {plugin.name}: threat model", threat_model(plugin)]
    parts += [f"### {plugin.name}: parameters", parameters(plugin)]
    if plugin.kind == "defense":
        parts.append(strength_of(plugin))
    parts += [f"### {plugin.name}: measured", measured(plugin)]
    return "\n\n".join(parts)


def threat_model(plugin: Plugin) -> str:
    """Return an attack's threat model by default, and under each profile that changes it."""
    return "\n\n".join(
        f"Under the profile `{profile}`: {_declared(threat)}" if profile else _declared(threat)
        for profile, threat in threat_models_of(plugin).items()
    )


def _declared(threat: ThreatModel) -> str:
    role = "Active: it takes the server's place."
    if not threat.active:
        role = "Passive: it follows the protocol."
    granted = [name for name, value in threat.model_dump().items() if value and name != "active"]
    names = ", ".join(f"`{name}`" for name in granted)
    asks = f"It declares {names}." if granted else "It gets only the smashed data."
    oracle = " A split-learning server does not have that much access." if threat.oracle else ""
    return f"{role} {asks}{oracle}"


def parameters(plugin: Plugin) -> str:
    """Return a table of a plug-in's parameters, with the values that its profiles set."""
    found = parameters_of(plugin)
    if not found:
        return "None."
    profiles = plugin.cls.profiles
    lines = [
        {
            "parameter": f"`{one.name}`",
            "default": _code(one.default),
            **{f"profile {name}": _code(one.profiles.get(name, "=")) for name in profiles},
            "values": one.values,
            "meaning": one.meaning,
        }
        for one in found
    ]
    same = "\n`=` means the default value." if profiles else ""
    return tables.markdown_table(pd.DataFrame(lines)) + same


def _code(value: str) -> str:
    return value if value in ("empty", "=") else f"`{value}`"


def measured(plugin: Plugin) -> str:
    """Return a plug-in's published results: means over seeds with 95 % t-intervals."""
    frame = published()
    cells = frame[frame[f"{plugin.kind} name"] == plugin.name]
    if (plugin.kind, plugin.name) != ("attack", "none"):
        cells = cells[cells["attack name"] != "none"]
    if plugin.kind == "target":
        cells = cells[cells["defense name"] == "none"]
    if cells.empty:
        return "No results have been published."
    cells = cells.sort_values("defense", key=lambda names: names != "none", kind="stable")
    parts = []
    for setting, group in cells.groupby(_SETTING):
        data, target, cut, profile, protocol = setting
        words = f"{data}, {target} cut {cut}, profile {profile}, protocol {protocol}"
        parts.append(f"**{words}**\n\n{_table(group, _ROWS[plugin.kind])}")
    return "\n\n".join(parts)


def _table(cells: pd.DataFrame, rows: list[str]) -> str:
    """Return a table of one setting's cells."""
    lines = []
    means = tables.summarise(cells, rows, ["leakage", "structure", "utility"])
    for line in means.to_dict("records"):
        same = cells[(cells[rows] == [line[name] for name in rows]).all(axis=1)]
        lines.append(
            {name: line[name] for name in rows}
            | {
                "leakage": _interval(line, "leakage"),
                "identified": _interval(line, "structure"),
                "utility": _interval(line, "utility"),
                "train, s": _median(same["train seconds"]),
                "attack, s": _median(same["attack seconds"]),
                "seeds": f"{line['seeds']} of {line['expected']}",
            }
        )
    return tables.markdown_table(pd.DataFrame(lines))


def _median(seconds: pd.Series) -> str:
    middle = seconds.median()
    return "-" if pd.isna(middle) else f"{middle:.0f}"


def _interval(line: Mapping[Any, Any], name: str) -> str:
    return with_interval(*(line[f"{name}{end}"] for end in ("", " low", " high")))


@cache
def published() -> pd.DataFrame:
    """Return published records, one row each, with the columns that group the rows of cards."""
    records = load_records([RECORDS])
    frame = tables.load(records)
    utility = frame["jaccard"].fillna(frame["auc"])
    return frame.assign(
        **{f"{kind} name": frame[kind] for kind in ("attack", "defense", "target")},
        attack=[_asked("attack", record) for record in records],
        defense=[_asked("defense", record) for record in records],
        target=[_asked("target", record) for record in records],
        data=[f"{record.spec.data} {record.spec.size} px" for record in records],
        protocol=[record.protocol for record in records],
        utility=utility,
        **{"attack seconds": [record.timings.get("attack") for record in records]},
    )


def _asked(kind: Kind, record: Record) -> str:
    """Return a plug-in as a user names it under the record's profile, such as ``a:b=1``."""
    name = getattr(record.spec, kind)
    cls = load_plugin(kind, name).cls
    usual = cls.Parameters().model_dump(mode="json") | cls.profiles.get(record.spec.profile, {})
    given = record.spec.parameters[kind]
    own = [f"{key}={value}" for key, value in given.items() if usual.get(key) != value]
    return f"{name}:{','.join(own)}" if own else name
