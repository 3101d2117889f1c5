"""Writes the reference: one Markdown page for authors of plug-ins, one for readers of records.

    python docs/reference/generate.py

Pages are made from docstrings and signatures, without importing anything, and can be read in any
viewer. tests/docs/test_reference.py fails where a page is out of date.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import griffe

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

PLUGINS = {
    "Attacks": [
        "splitsec.plugins.attack.Attack",
        "splitsec.plugins.attack.Hijacking",
        "splitsec.plugins.convergence.Convergence",
        "splitsec.plugins.grants.ThreatModel",
        "splitsec.plugins.view.View",
        "splitsec.plugins.view.ServerKnowledge",
        "splitsec.plugins.grants.Access",
        "splitsec.plugins.messages.Message",
        "splitsec.plugins.messages.Exchange",
    ],
    "Defenses": ["splitsec.plugins.defense.Defense"],
    "Targets": [
        "splitsec.plugins.target.Target",
        "splitsec.plugins.target.SplitModel",
    ],
    "Data sets": [
        "splitsec.plugins.source.Source",
        "splitsec.plugins.source.Catalogue",
        "splitsec.plugins.source.Availability",
        "splitsec.plugins.data_spec.DataSpec",
    ],
    "Shared by all kinds": [
        "splitsec.plugins.parameters.Parameters",
        "splitsec.shapes.Shape",
        "splitsec.shapes.TokenShape",
        "splitsec.shapes.VectorShape",
        "splitsec.progress.Progress",
        "splitsec.devices.Device",
        "splitsec.devices.beside",
    ],
    "Toolbox": [
        "splitsec.plugins.toolbox.queries.ask",
        "splitsec.plugins.toolbox.queries.QueryParameters",
        "splitsec.plugins.toolbox.queries.Pairs",
        "splitsec.plugins.toolbox.augmentation.varied",
        "splitsec.plugins.toolbox.regression.regress",
        "splitsec.plugins.toolbox.regression.RegressionParameters",
        "splitsec.plugins.toolbox.refinement.choose_refinement",
        "splitsec.plugins.toolbox.refinement.RefinementParameters",
        "splitsec.plugins.toolbox.transport.Unpaired",
        "splitsec.plugins.toolbox.transport.Aligned",
        "splitsec.plugins.toolbox.transport.TransportParameters",
        "splitsec.plugins.toolbox.inversion.invert",
        "splitsec.plugins.toolbox.inversion.InversionParameters",
        "splitsec.plugins.toolbox.inversion.Inversion",
        "splitsec.plugins.toolbox.decoders.build_decoder",
        "splitsec.plugins.toolbox.decoders.build_report_decoder",
        "splitsec.plugins.toolbox.layouts.map_layout",
        "splitsec.plugins.toolbox.layouts.MapLayout",
        "splitsec.plugins.toolbox.layers.SameConv2d",
        "splitsec.plugins.toolbox.layers.Resize",
        "splitsec.plugins.toolbox.layers.Standardise",
        "splitsec.plugins.toolbox.batching.batches",
        "splitsec.plugins.toolbox.optimization.make_optimizer",
        "splitsec.plugins.toolbox.optimization.set_rate",
        "splitsec.plugins.toolbox.optimization.half_cosine",
        "splitsec.plugins.toolbox.distance_correlation.distance_correlation",
        "splitsec.plugins.toolbox.distance_correlation.corrected_squared_distance_correlation",
        "splitsec.plugins.toolbox.gradient_penalty.gradient_penalty",
        "splitsec.plugins.toolbox.gradient_penalty.Rectifier",
    ],
    "Errors": ["splitsec.errors"],
}

RECORDS = {
    "Evaluating": ["splitsec.running.runs.evaluate", "splitsec.cells.requests.Request"],
    "Reading": [
        "splitsec.records.reading.load_record",
        "splitsec.records.frames.records_frame",
        "splitsec.records.frames.per_image_frame",
        "splitsec.records.trained_models.load_model",
        "splitsec.records.trained_models.load_hijacked_client",
    ],
    "The record": [
        "splitsec.records.record.Record",
        "splitsec.records.spec.CellSpec",
        "splitsec.training.settings.Training",
        "splitsec.records.record.Leakage",
        "splitsec.records.record.Utility",
        "splitsec.records.record.Victims",
        "splitsec.records.members.MemberResult",
        "splitsec.records.members.MemberScores",
        *(
            f"splitsec.metrics.schema.{name}"
            for name in (
                "VictimScores",
                "Privacy",
                "PerImage",
                "Identification",
                "Skill",
                "VictimLeakage",
                "StrongestTrivial",
                "BaselineScores",
            )
        ),
        "splitsec.metrics.label_schema.LabelScores",
        "splitsec.metrics.label_schema.LabelScore",
        "splitsec.records.record.Provenance",
        "splitsec.records.record.Evidence",
    ],
    "The leaderboard": ["leaderboard.load"],
}

INTRODUCTIONS = {
    "plugins": """# Plug-ins

What you subclass and call when you write an attack, a defense, a target or a data set. Each entry
begins with its import.
""",
    "records": """# Records and evaluation

```python title="read_records.py"
import splitsec
import splitsec.leaderboard

record = splitsec.evaluate("fsha", "gaussian-noise", target="resnet:depth=18")
print(record.leakage, record.flags)
print(splitsec.records_frame([record]))
print(splitsec.per_image_frame(record, "held_out").describe())
print(splitsec.leaderboard.load("results"))
```

`splitsec.Record.model_json_schema()` is a record's JSON Schema.
""",
}

GENERATED = "<!-- Generated by docs/reference/generate.py from docstrings; edit those. -->\n"
WIDTH = 88

FRAMEWORK = {"later", "model_config", "part_of_no_state", "add", "deny", "take"}
"""Public members that the framework alone uses."""

_ROLE = re.compile(r":(?:class|func|meth|mod):(?=`)")


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    loader = griffe.GriffeLoader(search_paths=[ROOT], docstring_parser=griffe.Parser.google)
    tree = {name: loader.load(name) for name in ("splitsec", "leaderboard")}
    wanted = {"plugins": PLUGINS, "records": RECORDS}
    return {
        HERE / f"{page}.md": "\n".join(_page(INTRODUCTIONS[page], sections, tree))
        for page, sections in wanted.items()
    }


def _page(introduction: str, sections: dict[str, list[str]], tree: Any) -> Iterator[str]:
    yield f"{GENERATED}{introduction}"
    for title, names in sections.items():
        yield f"## {title}\n"
        for name in names:
            package, _, path = name.partition(".")
            found = tree[package][path]
            yield from _module(found) if found.is_module else _entry(found, tree["splitsec"])


def _module(module: Any) -> Iterator[str]:
    """Yield a line for each public class."""
    yield f"From `{module.path}`.\n"
    for one in module.classes.values():
        if one.is_public:
            yield f"- `{one.name}`: {_plain(one.docstring.value)}"
    yield ""


def _entry(found: Any, package: Any) -> Iterator[str]:
    yield f"### {found.name}\n"
    call = "" if found.is_class and not _arguments(found) else f"\n\n{_signature(found)}"
    yield f"```python\n{_import(found, package)}{call}\n```\n"
    yield from _text(found.docstring, _attributes(found) if found.is_class else [])
    for method in found.functions.values() if found.is_class else ():
        if method.is_public and method.name not in {"__init__", *FRAMEWORK}:
            yield f"#### {found.name}.{method.name}\n"
            yield f"```python\n{_signature(method)}\n```\n"
            yield from _text(method.docstring, [])


def _import(found: Any, package: Any) -> str:
    if found.name in package.exports:
        return f"from splitsec import {found.name}"
    where = re.sub(r"^leaderboard", "splitsec.leaderboard", found.parent.path)
    return f"from {where} import {found.name}"


def _signature(found: Any) -> str:
    """Return how a function or class is called, over several lines where one is too long."""
    given = _arguments(found)
    arrow = "" if found.is_class else f" -> {found.returns}"
    line = f"{found.name}({', '.join(given)}){arrow}"
    if len(line) > WIDTH:
        line = "\n".join([f"{found.name}(", *(f"    {one}," for one in given), f"){arrow}"])
    labels = {"classmethod", "staticmethod", "abstractmethod"} & set(found.labels)
    return "\n".join([*(f"@{label}" for label in sorted(labels, reverse=True)), line])


def _arguments(found: Any) -> list[str]:
    """Return what a function or class takes, as it is written, without ``self`` and ``cls``."""
    if found.is_class and "NamedTuple" in map(str, found.bases):
        return [_declared(one) for one in _fields(found)]
    function = found.members.get("__init__") if found.is_class else found
    written, keywords = [], False
    for one in () if function is None else function.parameters:
        if one.name in ("self", "cls"):
            continue
        kind = one.kind.value
        if kind == "keyword-only" and not keywords:
            written.append("*")
        keywords |= kind in ("keyword-only", "variadic positional")
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = "" if stars or one.default is None else str(one.default)
        written.append(f"{stars}{one.name}{_typed(one.annotation, default)}")
    return written


def _declared(attribute: Any) -> str:
    """Return an attribute as it is written in its class, with the default of its field.

    One that only ``__init__`` sets has the type of the argument of the same name.
    """
    kind = attribute.annotation
    if kind is not None:
        if str(kind).startswith("Annotated["):
            kind = kind.slice.elements[0]
        kind = re.sub(r"^ClassVar\[(.*)\]$", r"\1", _choices(attribute, kind))
        kind = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", kind)
        return f"{attribute.name}{_typed(kind, _default(attribute.value))}"
    argument = {one.name: one for one in attribute.parent["__init__"].parameters}
    same = argument.get(attribute.name)
    return f"{attribute.name}{_typed(None if same is None else same.annotation, '')}"


def _choices(attribute: Any, kind: Any) -> str:
    """Return a type as it is written, or the values that it stands for."""
    try:
        named = attribute.modules_collection[getattr(kind, "canonical_path", str(kind))]
    except KeyError:  # a type of a library or of Python
        return str(kind)
    values = str(getattr(named, "value", ""))
    return values if values.startswith("Literal[") else str(kind)


def _default(value: Any) -> str:
    if str(getattr(value, "function", "")) != "Field":
        return "" if value is None else str(value)
    given = {getattr(one, "name", "default"): one for one in reversed(value.arguments)}
    if "default_factory" in given:
        return f"{given['default_factory'].value}()"
    default = given.get("default")
    return "" if default is None else str(getattr(default, "value", default))


def _typed(annotation: Any, default: Any) -> str:
    """Return a type and a default as they are written after a name."""
    equals = f" = {default}" if annotation is not None else f"={default}"
    return (f": {annotation}" if annotation is not None else "") + (equals if default else "")


def _fields(found: Any) -> list[Any]:
    """Return a class's public attributes, but for settings of the class."""
    return [
        one
        for one in found.attributes.values()
        if one.is_public and one.annotation is not None and "property" not in one.labels
    ]


def _attributes(found: Any) -> list[str]:
    """Return a line for each attribute: name, type, default, and its description."""
    said = _documented(found.docstring)
    lines = []
    for one in found.attributes.values():
        text = said.get(one.name) or _description(one)
        if one.is_public and one.name not in FRAMEWORK and (text or one in _fields(found)):
            lines.append(f"- `{_declared(one)}`" + (f": {text}" if text else ""))
    return ["Attributes:\n", *lines] if lines else []


def _documented(docstring: Any) -> dict[str, str]:
    """Return what a class's docstring says of its attributes, by name."""
    sections = [] if docstring is None else docstring.parse()
    return {
        one.name: _plain(one.description)
        for section in sections
        if section.kind is griffe.DocstringSectionKind.attributes
        for one in section.value
    }


def _description(attribute: Any) -> str:
    """Return an attribute's own docstring, or the description in its ``Field``."""
    if attribute.docstring is not None:
        return _plain(attribute.docstring.value)
    for given in getattr(attribute.value, "arguments", ()):
        if getattr(given, "name", "") == "description":
            return _plain(ast.literal_eval(str(given.value)))
    return ""


def _text(docstring: Any, attributes: list[str]) -> Iterator[str]:
    """Yield the sections of a docstring as Markdown, with attributes before its examples."""
    lists = attributes
    for section in () if docstring is None else docstring.parse():
        match section.kind.value:
            case "text":
                yield f"{_paragraphs(section.value)}\n"
            case "parameters":
                lists += [f"- `{one.name}`: {_plain(one.description)}" for one in section.value]
            case "returns" | "yields" as kind:
                words = " ".join(_plain(one.description) for one in section.value)
                lists.append(f"- {kind}: {words}")
            case "raises":
                lists += [
                    f"- raises `{one.annotation}`: {_plain(one.description)}"
                    for one in section.value
                ]
            case "examples":
                yield from _flushed(lists)
                yield from _examples(section.value)
    yield from _flushed(lists)


def _flushed(lists: list[str]) -> Iterator[str]:
    if lists:
        yield "\n".join([*lists, ""])
        lists.clear()


def _examples(parts: Sequence[tuple[Any, str]]) -> Iterator[str]:
    for kind, text in parts:
        is_text = kind is griffe.DocstringSectionKind.text
        yield f"{_paragraphs(text)}\n" if is_text else f"```pycon\n{text}\n```\n"


def _paragraphs(text: str) -> str:
    """Return text with Markdown's marks in place of those of docstrings."""
    return _ROLE.sub("", text).replace("``", "`").strip()


def _plain(text: str) -> str:
    """Return text on one line."""
    return " ".join(_paragraphs(text).split())


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
