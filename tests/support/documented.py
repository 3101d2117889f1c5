"""The commands of the documentation, read from its pages.

Commands are lines that begin with ``splitsec`` (after variables) in fenced blocks that are marked
``bash`` or not at all, and lines after ``$`` in those marked ``console``. Blocks with
``title="name"`` are files.

A comment ``<!-- not run: reason -->`` on the line before a block says why it is not run.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

NEVER = {("reproduce", "all"): "takes over an hour"}
"""Commands that are not run wherever they stand, and why."""

REAL_DATA = {
    "retinamnist": "retinamnist",
    "lung-segmentation": "lung-segmentation",
    "medmnist:set=pneumoniamnist": "pneumoniamnist",
}
"""Data sets, as commands name them, and the folders without which those are left out."""

TINY = (
    "training.epochs=1",
    "counts.private=32",
    "counts.public=32",
    "counts.validation=16",
    "counts.held_out=24",
    "counts.victims=16",
)
"""Settings that are appended to whatever trains."""

TINY_PLUGINS = {
    "fsha": (
        "attack.fsha.iterations=2",
        "attack.fsha.image_steps=5",
        "attack.fsha.pretraining=1",
    ),
    "adra": ("attack.adra.epochs=1", "attack.adra.queries=40"),
    "unet": ("target.unet.width=4",),
}
"""Settings that are appended, too, where a plug-in is named."""

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`(splitsec [^`]+)`(?!`)")
_VARIABLES = re.compile(r"^(?:\s*[A-Z_]+=\S+\s+)*")


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        page: its file, relative to the project.
        line: where it begins, from 1.
        reason: why it is not run, or empty.
        language: after the fence.
        title: name of the file that it is, or empty.
        text: its content.
    """

    page: str
    line: int
    reason: str
    language: str
    title: str
    text: str


def module(path: str) -> ModuleType:
    """Return a module that no package holds, by its path in the project."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pages() -> list[Path]:
    """Return README and every page, in order of their names."""
    written = [*DOCS.glob("*.md"), *DOCS.glob("methods/*.md"), *DOCS.glob("reference/*.md")]
    return [ROOT / "README.md", *sorted(written)]


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page.relative_to(ROOT).as_posix(),
            text.count("\n", 0, found.start("language")) + 1,
            *(found[name] or "" for name in ("reason", "language", "title", "text")),
        )
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """Return a block's ``splitsec`` commands as words, without ``splitsec`` and comments."""
    if block.language == "console":
        lines = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    elif block.language in ("bash", ""):
        lines = block.text.replace("\\\n", " ").splitlines()
    else:
        return []
    parts = [part for line in lines for part in re.split(r" && | \| |; ", line.partition(" #")[0])]
    asked = [_VARIABLES.sub("", part).strip() for part in parts]
    return [shlex.split(one)[1:] for one in asked if one.startswith("splitsec ")]


def inline(page: Path) -> list[list[str]]:
    """Return the commands in a page's running text, but for bare names."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = [shlex.split(one)[1:] for one in _INLINE.findall(text)]
    return [words for words in found if len(words) > 1]


def tiny(words: list[str]) -> list[str]:
    """Return a command as it is run: whatever trains has a few images of 16 px and one epoch."""
    if words[0] == "audit" and {"--cut", "--traffic"} & {*words}:
        return [*words, "--attack", "transport", "--size", "32", "--threads", "1", *_tiny_set(TINY)]
    if words[0] != "eval":
        return words
    named = " ".join(words)
    own = [TINY_PLUGINS[name] for name in TINY_PLUGINS if re.search(rf"\b{name}\b", named)]
    settings = [*TINY, *(setting for some in own for setting in some)]
    target = [] if "--target" in words else ["--target", "resnet:depth=18"]
    seeds = ["--seeds", "1"] if "--seeds" in words else []
    threads = [] if "--threads" in words else ["--threads", "1"]
    more = [*target, *threads, *seeds]
    return [*words, "--size", "16", *more, *_tiny_set(settings)]


def _tiny_set(settings: Sequence[str]) -> list[str]:
    return [f"--set={one}" for one in settings]


def tiny_grid(text: str) -> str:
    """Return a grid file as it is run, by the same rule as :func:`tiny`."""
    settings = ", ".join(f'"{one}"' for one in (*TINY, *TINY_PLUGINS["fsha"]))
    text = re.sub(r"^seeds = \d+$", "seeds = 1", text, flags=re.MULTILINE)
    return f"settings = [{settings}]\n" + text.replace("[[grid]]", "[[grid]]\nsize = 16")
