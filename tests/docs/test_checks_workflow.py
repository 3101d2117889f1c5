"""The workflow of ordinary pull requests runs what CONTRIBUTING says, and may write nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


@pytest.fixture(scope="module")
def checks() -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((WORKFLOWS / "checks.yml").read_text(encoding="utf-8"))
    return loaded


def test_every_pull_request_runs_the_checks(checks: dict[Any, Any]) -> None:
    triggers = checks[True]  # YAML reads the key "on" as a truth value
    assert "pull_request" in triggers
    assert triggers["pull_request"] is None, "it is for all paths and branches"
    (job,) = checks["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_it_installs_what_the_checks_need(checks: dict[Any, Any]) -> None:
    (job,) = checks["jobs"].values()
    scripts = "\n".join(step.get("run", "") for step in job["steps"])
    assert "install -y -qq bubblewrap" in scripts, ".ci/run installs it as root alone"
    actions = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert actions == ["actions/checkout", "actions/setup-python"]


def test_it_has_no_secret_and_may_write_nothing(checks: dict[Any, Any]) -> None:
    text = (WORKFLOWS / "checks.yml").read_text(encoding="utf-8")
    assert checks["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert "pull_request_target" not in text
    assert text.count("actions/checkout") == text.count("persist-credentials: false") == 1


def test_both_workflows_use_the_same_versions_of_actions() -> None:
    used: dict[str, set[str]] = {}
    for file in WORKFLOWS.glob("*.yml"):
        for name, version in re.findall(r"uses: (\S+)@(\S+)", file.read_text(encoding="utf-8")):
            used.setdefault(name, set()).add(version)
            assert re.fullmatch(r"v\d+", version), f"{file.name}: {name}@{version}"
    assert all(len(versions) == 1 for versions in used.values()), used
