"""Tries a submission: finds the folder that a pull request adds, and checks its plug-ins.

Used by ``.github/workflows/submission.yml`` in a checkout of the merge. Whatever is not known to be
harmless fails, with a sentence for the maintainer: no entry is passed over.

Usage::

    python -I submission.py folder         # prints the folder, or what is wrong with it
    python -I submission.py check FOLDER   # checks each of its plug-ins in the sandbox
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

SUBMISSIONS = "leaderboard/submissions"
_FOLDER = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,=+-]{0,149}")
_PLACES = (
    re.compile(r"SUBMISSION\.md"),
    re.compile(r"records/[^/]+/record\.json"),
    re.compile(r"records/artifacts/[0-9a-f]{64}\.(png|npz)"),
    re.compile(r"plugins/(attack|defense|target|data)/\w[\w-]*\.py", re.ASCII),
    re.compile(r"plugins/(attack|defense|target|data)/\w[\w-]*/.+", re.ASCII),
)
_RECORD_BYTES, _FILE_BYTES, _FILES = 4_000_000, 20_000_000, 5_000
_MOST_TOLD = 20
_FILE_MODES = ("100644", "100755")


class Entry(NamedTuple):
    """An entry of a tree of git's."""

    mode: str
    size: int
    path: str


def git(*words: str) -> list[str]:
    """Return what git says, divided at NUL."""
    done = subprocess.run(["git", *words], check=True, capture_output=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def changes() -> Iterator[tuple[str, str]]:
    """Yield status and path of each file that the merge changes; a renamed one is two of them."""
    words = git("diff", "--no-renames", "--name-status", "-z", "HEAD^1", "HEAD")
    yield from zip(words[::2], words[1::2], strict=True)


def entries(commit: str, folder: str) -> Iterator[Entry]:
    """Yield all that is in a folder of a commit, at any depth."""
    for line in git("ls-tree", "-r", "-l", "-z", commit, "--", f"{folder}/"):
        about, _, path = line.partition("\t")
        mode, _, _, size = about.split()
        yield Entry(mode, 0 if size == "-" else int(size), path)


def folder_problems() -> tuple[str | None, list[str]]:
    """Return the folder that the merge adds, and what is wrong with it."""
    if subprocess.run(
        ["git", "rev-parse", "-q", "--verify", "HEAD^2"], check=False, capture_output=True
    ).returncode:
        return None, [
            "this is no checkout of a merge with its two parents, so what is new is unknown"
        ]
    problems, folders = [], set()
    for status, path in changes():
        parts = path.split("/")
        if not path.startswith(f"{SUBMISSIONS}/") or len(parts) < 4:
            problems.append(f"it changes {shown(path)}: a submission adds one folder, no more")
        elif status != "A":
            problems.append(f"it changes or removes {shown(path)}, which is there already")
        else:
            folders.add("/".join(parts[:3]))
    if len(folders) != 1:
        named = ", ".join(map(shown, sorted(folders)[:3])) or "none"
        problems.append(f"a pull request adds one submission, this one {len(folders)} ({named})")
        return None, problems
    (folder,) = folders
    return folder, problems + content_problems(folder)


def content_problems(folder: str) -> list[str]:
    """Return what is wrong with the names and files of a folder."""
    problems = []
    name = folder.rpartition("/")[2]
    if not _FOLDER.fullmatch(name):
        problems.append(f"its name {shown(name)} is not of small letters, digits and hyphens")
    there = git("ls-tree", "-z", "--name-only", "HEAD^1", "--", f"{SUBMISSIONS}/")
    problems += [
        f"{shown(folder)} is {shown(other)} on systems that do not tell letters apart"
        for other in there
        if alike(other) == alike(folder)
    ]
    files = list(entries("HEAD", folder))
    if len(files) > _FILES:
        problems.append(f"it has {len(files):,} files, more than {_FILES:,}")
    known: dict[str, str] = {}
    for file in files:
        problems += file_problems(file, file.path.removeprefix(f"{folder}/"))
        for place in folders_of(file.path):
            other = known.setdefault(alike(place), place)
            if other != place:
                problems.append(f"{shown(place)} is {shown(other)} on some systems")
    inside = {file.path.removeprefix(f"{folder}/") for file in files}
    if "SUBMISSION.md" not in inside:
        problems.append("it has no SUBMISSION.md; assemble the folder with splitsec submit")
    if not any(_PLACES[1].fullmatch(one) for one in inside):
        problems.append("it has no record")
    return problems


def file_problems(file: Entry, inside: str) -> list[str]:
    """Return what is wrong with one file, which has a path inside its submission."""
    if file.mode not in _FILE_MODES:
        what = {"120000": "a link", "160000": "another repository"}.get(file.mode, "no file")
        return [f"{shown(inside)} is {what}; a submission is of files"]
    parts = inside.split("/")
    strange = [part for part in parts if not _PART.fullmatch(part)]
    if strange:
        return [f"the name {shown(strange[0])} in {shown(inside)} is not of ordinary characters"]
    is_record = parts[-1].casefold() == "record.json" or parts[-1].casefold().endswith(".jsonl")
    known = any(place.fullmatch(inside) for place in _PLACES)
    if not known or (is_record and parts[0] == "plugins"):
        return [f"{shown(inside)} has no place in a submission"]
    most = _RECORD_BYTES if is_record else _FILE_BYTES
    return [f"{shown(inside)} has {file.size:,} bytes, over {most:,}"] if file.size > most else []


def folders_of(path: str) -> Iterator[str]:
    """Yield a path and the folders above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def alike(path: str) -> str:
    """Return a path as a system reads it that tells fewer names apart."""
    return unicodedata.normalize("NFKC", path).casefold()


def shown(path: str) -> str:
    """Return a path in quotation marks, in visible characters of ASCII."""
    return json.dumps(path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:200])


def print_folder() -> int:
    """Print the folder that is added, if nothing is wrong with it; otherwise say what is."""
    folder, problems = folder_problems()
    for problem in problems[:_MOST_TOLD]:
        sys.stderr.write(f"{problem}\n")
    if len(problems) > _MOST_TOLD:
        sys.stderr.write(f"and {len(problems) - _MOST_TOLD} more\n")
    if problems or folder is None:
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


def check_plugins(folder: str) -> int:
    """Check every plug-in of a submission in the sandbox; return 1 if one fails."""
    failed = 0
    beside = [file.path.removeprefix(f"{folder}/").split("/") for file in entries("HEAD", folder)]
    plugins = sorted({tuple(parts[1:3]) for parts in beside if parts[0] == "plugins"})
    for kind, name in plugins:
        words = ["splitsec", "check", "--sandbox", kind, f"./{folder}/plugins/{kind}/{name}"]
        failed += subprocess.run(words, check=False).returncode != 0
    sys.stdout.write(f"{len(plugins)} plug-ins checked, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["folder"]:
            sys.exit(print_folder())
        case ["check", folder]:
            sys.exit(check_plugins(folder))
        case _:
            sys.exit(str(__doc__))
