"""Pull requests that the workflow's first step must refuse, each with a sentence that says why."""

from __future__ import annotations

import pytest

from support.proposals import GONE, LINK, REPOSITORY, SUBMISSIONS, Content, Workspace

STEP = "Which folder is new"
MINE = f"{SUBMISSIONS}/mine"
HONEST: dict[str, Content] = {
    "SUBMISSION.md": "# Mine\n",
    "records/adra-mine-1/record.json": "{}\n",
    f"records/artifacts/{'a' * 64}.npz": "x",
    "plugins/defense/mine.py": "mine = 1\n",
    "plugins/attack/folder/__init__.py": "mine = 1\n",
}


def at(folder: str) -> dict[str, Content]:
    """Return an honest submission in a folder."""
    return {f"{folder}/{name}": content for name, content in HONEST.items()}


def with_file(name: str, content: Content = "x") -> dict[str, Content]:
    """Return an honest submission with one more file."""
    return at(MINE) | {f"{MINE}/{name}": content}


def without(name: str) -> dict[str, Content]:
    return {path: content for path, content in at(MINE).items() if path != f"{MINE}/{name}"}


HOSTILE = {
    "a folder of letters that are not ASCII": (at(f"{SUBMISSIONS}/miné"), "small letters"),
    "a folder of letters that look like ASCII": (at(f"{SUBMISSIONS}/m\u0456ne"), "small letters"),
    "a folder with a space": (at(f"{SUBMISSIONS}/mi ne"), "small letters"),
    "a folder that is an option": (at(f"{SUBMISSIONS}/--help"), "small letters"),
    "a folder with a newline": (at(f"{SUBMISSIONS}/mine\nthere"), "small letters"),
    "a folder of bytes that are no text": (at(f"{SUBMISSIONS}/m\udcff"), "small letters"),
    "a folder that is there in other letters": (at(f"{SUBMISSIONS}/There"), "do not tell letters"),
    "no checklist": (without("SUBMISSION.md"), "it has no SUBMISSION.md"),
    "a checklist in other letters": (
        without("SUBMISSION.md") | {f"{MINE}/Submission.md": "# Mine"},
        "it has no SUBMISSION.md",
    ),
    "no record": (without("records/adra-mine-1/record.json"), "it has no record"),
    "a plug-in that is an option": (
        with_file("plugins/defense/--help/__init__.py"),
        'the name "--help"',
    ),
    "a plug-in with a newline": (with_file("plugins/defense/a\nb.py"), 'the name "a\\nb.py"'),
    "a plug-in of no kind": (with_file("plugins/judge/mine.py"), "has no place"),
    "a plug-in in no kind's folder": (with_file("plugins/mine.py"), "has no place"),
    "a hidden plug-in": (with_file("plugins/defense/.mine.py"), 'the name ".mine.py"'),
    "bytecode": (with_file("plugins/defense/mine.pyc"), "has no place"),
    "a record that is a link": (
        with_file("records/b/record.json", (LINK, "/dev/zero")),
        '"records/b/record.json" is a link',
    ),
    "a folder that is a link": (with_file("plugins/target", (LINK, "/")), "is a link"),
    "another repository": (with_file("plugins/target", (REPOSITORY, "")), "another repository"),
    "a repository without a name": (with_file("HEAD", "ref: refs/heads/main"), "has no place"),
    "a record that is hidden": (with_file(".x/record.json"), 'the name ".x"'),
    "a record among plug-ins": (
        with_file("plugins/attack/folder/record.json"),
        "has no place in a submission",
    ),
    "a stream of records": (with_file("records/all.jsonl"), "has no place"),
    "an index": (with_file("records/.index.sqlite"), 'the name ".index.sqlite"'),
    "settings of git": (with_file(".gitattributes"), 'the name ".gitattributes"'),
    "names that are one elsewhere": (
        with_file("plugins/defense/Mine.py"),
        "on some systems",
    ),
    "folders that are one elsewhere": (
        with_file("records/ADRA-mine-1/record.json"),
        "on some systems",
    ),
    "a record that is too large": (with_file("records/b/record.json", " " * 4_000_001), "over"),
    "a built-in method that is removed": (
        at(MINE) | {"attacks/adra.py": (GONE, "")},
        'it changes "attacks/adra.py"',
    ),
    "a built-in method that is renamed": (
        at(MINE) | {"attacks/adra.py": (GONE, ""), "attacks/mine.py": "adra = 1\n"},
        'it changes "attacks/mine.py"',
    ),
    "a built-in method that moves into the submission": (
        with_file("plugins/attack/adra.py", "adra = 1\n") | {"attacks/adra.py": (GONE, "")},
        'it changes "attacks/adra.py"',
    ),
    "the workflow": (
        at(MINE) | {".github/workflows/submission.yml": "x"},
        'it changes ".github/workflows/submission.yml"',
    ),
    "someone else's submission": (
        at(MINE) | {f"{SUBMISSIONS}/there/SUBMISSION.md": "# Mine now"},
        "which is there already",
    ),
    "two submissions": (at(MINE) | at(f"{SUBMISSIONS}/other"), "one submission, this one 2"),
    "a file beside the folders": (at(MINE) | {f"{SUBMISSIONS}/x.md": "x"}, "adds one folder"),
    "nothing": ({}, "one submission, this one 0"),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


def test_an_honest_submission_passes(workspace: Workspace) -> None:
    workspace.propose(at(MINE))
    done = workspace.run(STEP)
    assert done.returncode == 0, done.stderr
    assert (workspace.folder / "new").read_text() == f"{MINE}\n"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_tree_is_refused(kind: str, workspace: Workspace) -> None:
    files, sentence = HOSTILE[kind]
    workspace.propose(files)
    done = workspace.run(STEP)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert (workspace.folder / "new").read_text() == "", "so that no later step has a folder"
    assert done.stderr.isascii() and done.stderr.replace("\n", "").isprintable()


def test_a_merge_without_its_parents_is_refused(workspace: Workspace) -> None:
    workspace.propose(at(MINE))
    tree = workspace.git("rev-parse", "HEAD^{tree}")
    workspace.git("update-ref", "--no-deref", "HEAD", workspace.git("commit-tree", tree, "-m", "x"))
    done = workspace.run(STEP)
    assert done.returncode == 1
    assert "no checkout of a merge" in done.stderr
