"""Prints what a plug-in is: its docstring, threat model, parameters and how to set them."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from splitsec.escaping import one_line, short_name
from splitsec.plugins.description import (
    ParameterDescription,
    parameters_of,
    strength_of,
    text_of,
    threat_models_of,
)
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import Plugin


def print_plugin(plugin: Plugin, console: Console) -> None:
    """Print a plug-in's description.

    Args:
        plugin: the plug-in.
        console: the console to print on.

    Raises:
        PluginError: an attack raised in ``threat_model()``.
    """
    _print(Text(f"{plugin.kind} {short_name(plugin.name)}", style="bold"), console)
    for paragraph in _paragraphs(text_of(plugin)):
        _print(Text(f"{paragraph}\n"), console)
    for heading, sentences in _sections(plugin).items():
        _heading(heading, console)
        for sentence in sentences:
            _print(Text(one_line(sentence)), console, indent=1)
    found = parameters_of(plugin)
    _heading("Parameters", console)
    if not found:
        _print(Text("It has none."), console, indent=1)
        return
    for one in found:
        _print_parameter(one, console)
    example = next((one for one in found if one.default not in ("", "empty")), found[0])
    value = f"{example.name}={example.default}"
    console.print("\nTo set one, write either of:")
    for words in (
        f"--{plugin.kind} {plugin.spec}:{value}",
        f"--set {plugin.kind}.{plugin.name}.{value}",
    ):
        # Not wrapped, so that a reader can copy it.
        console.print(Text(f"  {one_line(words)}"), soft_wrap=True)


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a docstring, each on one line unless its lines are items."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        items = re.search(r"^(\s|[-*] )", paragraph, re.MULTILINE)
        paragraphs.append(paragraph if items else " ".join(paragraph.split()))
    return paragraphs


def facts(plugin: Plugin) -> dict[str, Any]:
    """Return a plug-in's description as JSON values."""
    described: dict[str, Any] = {
        "kind": plugin.kind,
        "name": plugin.name,
        "text": text_of(plugin),
        "source": plugin.source,
        "parameters": [one._asdict() for one in parameters_of(plugin)],
    }
    if plugin.kind == "attack":
        described["threat_models"] = {
            profile or "default": threat.model_dump()
            for profile, threat in threat_models_of(plugin).items()
        }
    return described


def _sections(plugin: Plugin) -> dict[str, list[str]]:
    """Return heading to sentences about a plug-in, by its kind."""
    cls = plugin.cls
    if plugin.kind == "attack":
        return {
            "Threat model": [
                f"With the profile {profile}: {_threat(one)}" if profile else _threat(one)
                for profile, one in threat_models_of(plugin).items()
            ]
        }
    if plugin.kind == "target":
        cuts = f"Cuts {cls.cuts[0]} to {cls.cuts[-1]}, by default {cls.default_cut}."
        colours = " and ".join({1: "grey", 3: "colour"}[one] for one in cls.channels)
        return {"Model": [f"Trained for {cls.task}, on {colours} images. {cuts}"]}
    if plugin.kind == "data":
        others = [f"For {task}: {given}." for task, given in cls.other_tasks.items()]
        return {"Images": [f"Labelled for {cls.task}.", *others]}
    draws = "It draws random numbers." if cls.randomised else "It draws no random numbers."
    return {"Defense": [draws, strength_of(plugin)]}


def _threat(threat: ThreatModel) -> str:
    role = (
        "Active: it takes the server's place."
        if threat.active
        else "Passive: it follows the protocol."
    )
    has = [f"{grant.words} ({name})" for name, grant in threat.grants()]
    knows = f" It gets {'; '.join(has)}." if has else " It gets only the traffic."
    oracle = " A real server does not have that much access." if threat.oracle else ""
    return role + knows + oracle


def _print_parameter(one: ParameterDescription, console: Console) -> None:
    elsewhere = ", ".join(f"profile {name}: {value}" for name, value in one.profiles.items())
    line = Text.assemble(
        (one_line(one.name), "bold"),
        one_line(f" = {one.default or 'empty'}"),
        one_line(f" ({elsewhere})") if elsewhere else "",
        (one_line(f"  [{one.values}]"), "dim"),
    )
    _print(line, console, indent=1)
    if one.meaning:
        _print(Text(one_line(one.meaning)), console, indent=5)


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _print(text: Text, console: Console, indent: int = 0) -> None:
    console.print(Padding(text, (0, 0, 0, indent), expand=False))
