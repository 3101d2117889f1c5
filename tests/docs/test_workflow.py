"""The workflow that tries submissions runs strangers' code: no secret, nothing to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitsec.cli.submit import command as submit
from splitsec.cli.verify import command
from splitsec.records.record import Record
from splitsec.records.store import load_records
from support.claims import MINE, evaluate
from support.proposals import (
    GONE,
    LINK,
    REPOSITORY,
    SUBMISSIONS,
    WORKFLOW,
    Content,
    Files,
    Workspace,
    scripts,
)

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
    (words,) = re.findall(r'splitsec verify (.*?) "\./', text.replace("\\\n", " "))
    known = {name for one in command.params for name in one.opts}
    given = {word for word in words.split() if word.startswith("--")}
    assert {"--sample", "--seed", "--output"} <= given
    assert given - ISOLATION <= known
    assert given >= ISOLATION


def test_no_script_has_a_pipe_whose_failure_is_lost() -> None:
    for name, step in scripts().items():
        assert not re.search(r"[^|]\|(?![|])", step["run"]), name


FOLDER, CHECK, VERIFY, PAGE = list(scripts())[1:]
STEPS = (FOLDER, CHECK, VERIFY, PAGE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Content]:
    """Return the files of an honest submission."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "my_defense.py").write_text(MINE)
    records = evaluate(
        folder,
        attack="adra:epochs=1,queries=20",
        defense=f"none,{folder / 'my_defense.py'}",
        data="phantom-fundus",
    )
    assert [one.status for one in records] == ["ok", "ok"]
    words = [str(folder / "results"), "--output", str(folder / "mine")]
    result = CliRunner().invoke(submit, words, standalone_mode=False)
    assert result.exception is None, result.exception
    return {
        f"{SUBMISSIONS}/mine/{file.relative_to(folder / 'mine').as_posix()}": file.read_bytes()
        for file in (folder / "mine").rglob("*")
        if file.is_file()
    }


def changed(made: dict[str, Content], ending: str, change: Callable[[str], str]) -> Files:
    """Return a submission in which one file is another; a record is sealed anew."""
    path = next(path for path in sorted(made) if path.endswith(ending))
    content = made[path]
    assert isinstance(content, bytes)
    new = change(content.decode())
    assert new != content.decode()
    if ending == "record.json":
        new = Record.model_validate_json(new).sealed().to_json()
    return made | {path: new}


def hostile(made: dict[str, Content]) -> dict[str, tuple[str, Files]]:
    """Return ten submissions, and the step that each must fail in."""
    mine = f"{SUBMISSIONS}/mine"
    elsewhere = {path.replace("/mine/", "/min\u00e9/"): said for path, said in made.items()}
    return {
        "not ASCII": (FOLDER, elsewhere),
        "no checklist": (FOLDER, {a: b for a, b in made.items() if "SUBMISSION" not in a}),
        "an option": (FOLDER, made | {f"{mine}/plugins/attack/--help/__init__.py": "x"}),
        "a link": (FOLDER, made | {f"{mine}/records/x/record.json": (LINK, "/dev/zero")}),
        "a repository": (FOLDER, made | {f"{mine}/plugins/target": (REPOSITORY, "")}),
        "a newline": (FOLDER, made | {f"{mine}/plugins/attack/a\nb.py": "x"}),
        "a method that is gone": (FOLDER, made | {"attacks/adra.py": (GONE, "")}),
        "a broken contract": (
            CHECK,
            changed(made, ".py", lambda text: text.replace("smashed / 2", "smashed.detach()")),
        ),
        "forged numbers": (
            VERIFY,
            changed(
                made, "record.json", lambda text: re.sub(r'"auc": [\d.]+', '"auc": 0.98', text)
            ),
        ),
        "no claim": (
            VERIFY,
            changed(made, "record.json", lambda text: text.replace('"claimed"', '"here"')),
        ),
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)  # eleven submissions are verified
@pytest.mark.usefixtures("bubblewrap")
def test_of_one_honest_and_ten_hostile_submissions_one_passes(
    made: dict[str, Content], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    workspace.propose(made)
    workspace.check_out()
    for name in STEPS:
        done = workspace.run(name)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    assert (tmp_path / "new").read_text() == f"{SUBMISSIONS}/mine\n"
    rerun = load_records([tmp_path / "reruns"])
    assert {one.status for one in rerun} == {"ok"}
    assert {one.spec.defense for one in rerun} >= {"my-defense"}
    assert "my-defense" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    tried = hostile(made)
    assert len(tried) == 10
    for kind, (step, files) in tried.items():
        workspace.propose(files)
        first = workspace.run(FOLDER)
        assert (first.returncode != 0) == (step == FOLDER), f"{kind}: {first.stderr}"
        if step != FOLDER:
            workspace.check_out()
            done = workspace.run(step)
            said = f"{kind}: {done.stdout}{done.stderr}"
            assert done.returncode != 0, said
            assert re.search(SENTENCES[kind], " ".join(said.split())), said


SENTENCES = {
    "a broken contract": "no gradient reaches the client",
    "forged numbers": r"the AUC of its answers is 0\.\d+, and the record says 0\.98",
    "no claim": "does not say that it is a claim",
}
