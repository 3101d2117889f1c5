"""A repository with merges of submissions, and the scripts of the workflow that tries them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "submission.yml"
SUBMISSIONS = "leaderboard/submissions"

LINK, REPOSITORY = "120000", "160000"
Content = str | bytes | tuple[str, str]
Files = Mapping[str, Content]
"""From a path to its content, or to its mode and content."""

GONE = "0"
"""Mode of a file that a pull request removes."""

BASE = {
    "attacks/adra.py": "adra = 1\n",
    "README.md": "splitsec\n",
    f"{SUBMISSIONS}/there/SUBMISSION.md": "# There\n",
}


class Workspace:
    """A runner's folder: the base branch's splitsec, and a pull request's merge in ``proposed``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proposed = folder / "proposed"
        self.proposed.mkdir()
        (folder / "splitsec").symlink_to(ROOT)
        self.git("init", "-q", "-b", "main")
        self._base = self._commit(BASE, [])

    def git(self, *words: str, given: bytes | None = None) -> str:
        """Run git in the merge's repository."""
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(self.proposed), *who, *words],
            check=True,
            capture_output=True,
            input=given,
        )
        return done.stdout.decode().strip()

    def propose(self, files: Files) -> None:
        """Make a merge the repository's HEAD, without writing its files.

        Args:
            files: what the pull request changes.
        """
        theirs = self._commit(files, [self._base])
        tree = self.git("rev-parse", f"{theirs}^{{tree}}")
        words = ["commit-tree", tree, "-p", self._base, "-p", theirs, "-m", "merge"]
        self.git("update-ref", "--no-deref", "HEAD", self.git(*words))

    def check_out(self) -> None:
        """Write the files of the merge."""
        self.git("read-tree", "-u", "--reset", "HEAD")

    def _commit(self, files: Files, parents: list[str]) -> str:
        self.git("read-tree", *(parents or ["--empty"]))
        lines = b""
        for path, said in files.items():
            mode, content = said if isinstance(said, tuple) else ("100644", said)
            if mode in (GONE, REPOSITORY):
                name = "1" * 40 if mode == REPOSITORY else "0" * 40
            else:
                name = self.git(
                    "hash-object",
                    "-w",
                    "--stdin",
                    given=content if isinstance(content, bytes) else content.encode(),
                )
            lines += f"{mode} {name}\t{path}\0".encode("utf-8", "surrogateescape")
        self.git("update-index", "-z", "--index-info", given=lines)
        above = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", self.git("write-tree"), *above, "-m", "x")

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run the script of a step as a runner does, with this environment's splitsec."""
        step = scripts()[name]
        script = re.sub(r"\$\{\{ github.run_id \}\}", "1", step["run"])
        assert "${{" not in script
        bin_folder = str(Path(sys.executable).parent)
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.folder / step.get("working-directory", "."),
            text=True,
            capture_output=True,
            env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
            check=False,
        )


def scripts() -> dict[str, dict[str, Any]]:
    """Return the workflow's steps that have a script, by their names."""
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return {step["name"]: step for step in job["steps"] if "run" in step}
