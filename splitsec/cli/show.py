"""``splitsec show``: print a record again, or describe a plug-in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from splitsec.cli.kind_and_spec import kind_and_spec
from splitsec.cli.saying import say_json
from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind, is_path


@click.command("show")
@click.argument("words", nargs=-1, metavar="RECORD | [attack|defense|target|data] SPEC")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def command(words: tuple[str, ...], as_json: bool) -> None:
    """Print the summary of a record, or the description of a plug-in.

    RECORD is a record.json or the folder that holds it. SPEC names a plug-in as --attack does: its
    parameters are shown with their defaults and those of the profiles, such as the paper's, and an
    attack's threat model. Its kind is needed only if plug-ins of several kinds match.

    \b
    splitsec show results/...
    splitsec show attack fsha
    splitsec show ./my_defense.py
    """  # noqa: D301 - click's own mark for a block that is not wrapped
    if len(words) == 1 and not _is_plugin(words[0]):
        _check_there(words[0])
        _show_record(Path(words[0]), as_json)
        return
    usage = (
        "splitsec show takes a record, or a plug-in with its kind before it: splitsec show attack "
        "fsha"
    )
    _show_plugin(*kind_and_spec(words, usage), as_json)


def _is_plugin(word: str) -> bool:
    """Return whether a word alone names a plug-in and no record."""
    from splitsec.plugins.loading import list_plugins

    path = Path(word)
    if path.exists():
        package = (path / "__init__.py").exists()
        return is_path(word) and (
            path.suffix == ".py" or (package and not any(path.glob("**/record.json")))
        )
    return any(word == one.name for kind in KINDS for one in list_plugins(kind))


def _check_there(word: str) -> None:
    """Raise a UsageError that helps if a word names neither a record nor a plug-in."""
    from splitsec.plugins.loading import list_plugins

    if not Path(word).exists() and not re.search(r"[\\/.]", word):
        names = {one.name for kind in KINDS for one in list_plugins(kind)}
        raise UsageError(unknown_name("record or plug-in", word, names))


def _show_record(path: Path, as_json: bool) -> None:
    from splitsec.records.reading import load_record

    loaded = load_record(path)
    if as_json:
        say_json(loaded.to_json())
        return
    from splitsec.cli.consoles import result_console
    from splitsec.cli.summary import print_summary

    print_summary(loaded, result_console(), path if path.is_dir() else path.parent)


def _show_plugin(kind: Kind | None, spec: str, as_json: bool) -> None:
    from splitsec.cli.consoles import result_console
    from splitsec.cli.plugin_summary import facts, print_plugin
    from splitsec.plugins.loading import load_plugin, only_kind

    plugin = load_plugin(kind or only_kind(spec, "show"), spec)
    if as_json:
        say_json(json.dumps(facts(plugin)))
        return
    print_plugin(plugin, result_console())
