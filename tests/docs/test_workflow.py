"""The workflow that tries submissions runs strangers' code: no secret, nothing to write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from splitsec.cli.submit import command as submit
from splitsec.cli.verify import command
from splitsec.records.store import load_records
from support.claims import MINE, evaluate

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "submission.yml"
ISOLATION = {"--isolate", "--sandbox"}


@pytest.fixture(scope="module")
def text() -> str:
    return WORKFLOW.read_text(encoding="utf-8")


def test_it_has_no_secret_and_may_write_nothing(text: str) -> None:
    assert "secrets." not in text
    assert "pull_request_target" not in text
    assert re.findall(r"permissions:\n((?:  .*\n)+)", text) == ["  contents: read\n"]
    assert text.count("actions/checkout") == text.count("persist-credentials: false") == 2


def test_actions_are_pinned_to_a_major_version(text: str) -> None:
    used = re.findall(r"uses: (\S+)", text)
    assert len(used) == 4
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used)


def test_nothing_of_the_pull_request_is_put_into_a_script(text: str) -> None:
    within = set(re.findall(r"\$\{\{ (.*?) \}\}", text))
    assert within == {
        "github.event.pull_request.number",
        "github.event.pull_request.base.sha",
        "github.workspace",
        "github.run_id",
    }


def test_no_step_that_runs_or_reads_a_submission_can_be_steered() -> None:
    steps = scripts()
    for name in list(steps)[1:]:
        first = steps[name]["run"].splitlines()[0]
        assert first == 'echo "::stop-commands::$(cat /proc/sys/kernel/random/uuid)"', name


def test_verify_has_the_options_that_it_is_given(text: str) -> None:
    (words,) = re.findall(r"splitsec verify (.*?) < ", text.replace("\\\n", " "))
    known = {name for one in command.params for name in one.opts}
    given = {word for word in words.split() if word.startswith("--")}
    assert {"--sample", "--seed", "--output"} <= given
    assert given - ISOLATION <= known
    assert given >= ISOLATION


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a folder as the two checkouts leave it: splitsec, and a pull request's merge."""
    made, project = tmp_path / "made", tmp_path / "project"
    made.mkdir()
    (made / "my_defense.py").write_text(MINE)
    records = evaluate(
        made,
        attack="adra:epochs=1,queries=20",
        defense=f"none,{made / 'my_defense.py'}",
        data="phantom-fundus",
    )
    assert [one.status for one in records] == ["ok", "ok"]
    submissions = project / "leaderboard" / "submissions"
    submissions.mkdir(parents=True)
    git(project, "init", "-q", "-b", "main")
    (submissions / "README.md").write_text("Submissions.")
    git(project, "add", ".")
    git(project, "commit", "-qm", "base")
    git(project, "checkout", "-qb", "theirs")
    words = [str(made / "results"), "--output", str(submissions / "mine")]
    result = CliRunner().invoke(submit, words, standalone_mode=False)
    assert result.exception is None, result.exception
    git(project, "add", ".")
    git(project, "commit", "-qm", "mine")
    git(project, "checkout", "-q", "main")
    git(project, "merge", "-q", "--no-ff", "theirs", "-m", "merge")
    folder = tmp_path / "workspace"
    folder.mkdir()
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{project}", str(folder / "proposed"))
    (folder / "splitsec").symlink_to(ROOT)
    return folder


def scripts() -> dict[str, dict[str, Any]]:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return {step["name"]: step for step in job["steps"] if "run" in step}


def run_step(step: dict[str, Any], workspace: Path) -> subprocess.CompletedProcess[str]:
    """Run a step's script as a runner does, with this environment's splitsec."""
    script = re.sub(r"\$\{\{ github.run_id \}\}", "1", step["run"])
    assert "${{" not in script
    bin_folder = str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=workspace / step.get("working-directory", "."),
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_its_scripts_try_a_submission(workspace: Path) -> None:
    steps = scripts()
    assert list(steps) == [
        "Install",
        "Which submissions are new",
        "Check the plug-ins",
        "Run a sample of the cells again",
        "The page, with claims and re-runs",
    ]
    for name in list(steps)[1:]:
        done = run_step(steps[name], workspace)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    assert (workspace / "new").read_text() == "leaderboard/submissions/mine\n"
    rerun = load_records([workspace / "reruns"])
    assert {one.status for one in rerun} == {"ok"}
    assert {one.spec.defense for one in rerun} >= {"my-defense"}
    assert "my-defense" in (workspace / "page" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_its_scripts_stop_at_a_plugin_that_breaks_its_contract(workspace: Path) -> None:
    (plugin,) = (workspace / "proposed").glob("leaderboard/submissions/mine/plugins/*/*.py")
    plugin.write_text(MINE.replace("smashed / 2", "smashed.detach()"))
    steps = scripts()
    assert run_step(steps["Which submissions are new"], workspace).returncode == 0
    done = run_step(steps["Check the plug-ins"], workspace)
    assert done.returncode == 1
    assert "no gradient reaches the client" in " ".join(done.stdout.split())
    verified = run_step(steps["Run a sample of the cells again"], workspace)
    assert verified.returncode != 0, verified.stdout
