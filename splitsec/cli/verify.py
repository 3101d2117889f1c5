"""``splitsec verify``: run the cells of records again and report whether the numbers agree."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from splitsec.cli.execution import Execution, executor_options, take_execution
from splitsec.cli.exit_codes import Exit
from splitsec.cli.keys import sign_option, signed_in_place, signer_for
from splitsec.cli.saying import say, say_json
from splitsec.data.secret import secret_from
from splitsec.errors import UsageError
from splitsec.escaping import one_line
from splitsec.isolation.sandbox import CONFINED_VARIABLE
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.records.agreement import SEEDS, TOLERANCES, parse_tolerances

if TYPE_CHECKING:
    from splitsec.running.reruns import Allowance
    from splitsec.running.verification import ClaimedRecord


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="NAME=PATH",
    help="Source of a plug-in that the record names by a path.  [default: the record's path, "
    "relative to its folder or one above]",
)
"""Option of commands that need the sources of records."""


@click.command("verify")
@click.argument("records", type=click.Path(path_type=Path), nargs=-1, required=True)
@plugin_option
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Folder of the data sets.  [default: SPLITSEC_DATA]",
)
@click.option("--sample", type=click.IntRange(1), help="Run this many cells, chosen by --seed.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --sample.")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="MEASURE=VALUE",
    help="Allowed difference of numbers.  [default: "
    f"{', '.join(f'{name}={value:g}' for name, value in TOLERANCES.items())}]",
)
@click.option(
    "--seeds",
    type=click.IntRange(MINIMUM_SEEDS),
    default=SEEDS,
    show_default=True,
    help="Seeds to run where numbers differ by more and the processor or a package is another one; "
    "the claim must lie where another seed would.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep the new records, with the verdicts; cells that have one there are not run.",
)
@sign_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per record on stdout.")
@click.option("--dry-run", is_flag=True, help="Check the records without running cells.")
@executor_options
def command(
    records: tuple[Path, ...],
    plugins: tuple[str, ...],
    data_root: Path | None,
    sample: int | None,
    seed: int,
    tolerances: tuple[str, ...],
    seeds: int,
    output: Path | None,
    **options: Any,
) -> int:
    """Run the cells of RECORDS again, and compare the numbers: folders, record.json or .jsonl.

    The seal, protocol, sources and images are checked first: if one differs, the record is of
    another cell, which is not run. On the same kind of machine the numbers should be identical.
    Elsewhere they may be within tolerance, or within prediction: several seeds are run here, and
    the claim lies where another seed would. Otherwise they differ, and a table shows it. A record
    of a secret partition needs the secret.

    With --sandbox the whole command runs in a sandbox without network or home, and strangers'
    attacks and clients in inner ones without the data. The code of a target or data set runs beside
    the scorer: one that RECORDS name by a path runs only if --plugin names its source.

    Exits 0 if all agree, 1 if one differs or could not be run, 4 if the request is wrong.
    """
    key: Path | None = options.pop("key")
    execution = take_execution(
        options,
        shard=None,
        rerun="failed",
        output=output,
        keep_models=False,
        as_json=options.pop("as_json"),
        dry_run=options.pop("dry_run"),
        key=None,
    )
    allowed = parse_tolerances(tolerances)
    if key is not None and (output is None or not execution.sandbox):
        raise UsageError("--sign needs --output, and --sandbox, which keeps the key from plug-ins")
    if execution.sandbox and not os.environ.get(CONFINED_VARIABLE):
        from splitsec.running.reruns import Allowance

        signer = None if output is None else signer_for(key, output)
        allowance = Allowance(allowed, seeds)
        given_places = records, plugins, data_root, output
        claims = _confined(execution, *given_places, sample, allowance)
        for claim in claims:
            if claim.rerun is not None and claim.comparison is not None:
                claim.rerun = signed_in_place(claim.rerun, signer)
        return _reported(claims, execution)
    results = sys.stdout
    with redirect_stdout(sys.stderr), secret_from(execution.secret_file), _data_in(data_root):
        from splitsec.cli.progress_bars import shown
        from splitsec.running.reruns import Allowance, run_again
        from splitsec.running.verification import (
            Checker,
            parse_plugins,
            read_claims,
            sample_of,
        )

        given, device = parse_plugins(plugins), execution.devices()[0]
        claims = read_claims(records)
        with shown(len(claims)) as progress:
            checker = Checker(given, progress, execution.isolation())
            for claim in claims:
                checker.check(claim)
        chosen = [claim for claim in claims if claim.cell is not None]
        if sample is not None:
            chosen = sample_of(chosen, sample, seed)
        if chosen and not execution.dry_run:
            with shown(len(chosen)) as progress, _store(output) as store:
                executor, allowance = execution.make_executor(), Allowance(allowed, seeds)
                for claim in chosen:
                    assert claim.cell is not None, "it was chosen for that"
                    claim.cell = replace(claim.cell, device=device)
                for _ in run_again(chosen, store, progress, executor, allowance):
                    pass
        with redirect_stdout(results):
            return _reported(claims, execution)


def _reported(claims: Sequence[ClaimedRecord], how: Execution) -> int:
    """Print the outcomes, and return the command's exit code."""
    for claim in claims:
        _report(claim, how)
    counts = Counter(claim.outcome for claim in claims)
    say(", ".join(f"{count} {outcome}" for outcome, count in counts.items()), err=True)
    return Exit.OK if all(claim.agrees for claim in claims) else Exit.FAILED


def _confined(
    execution: Execution,
    records: tuple[Path, ...],
    plugins: tuple[str, ...],
    data_root: Path | None,
    output: Path | None,
    sample: int | None,
    allowance: Allowance,
) -> list[ClaimedRecord]:
    """Run the cells in a sandbox that shows the records and their sources, and judge here.

    This process imports no plug-in. It believes the sandbox that a record has a problem, but no
    verdict: it compares the records itself.
    """
    from splitsec.cli.verify_in_sandbox import heard_from_confined
    from splitsec.isolation.processes import short
    from splitsec.records.official import SUBMISSION, submission_of
    from splitsec.running.reruns import judge_stored
    from splitsec.running.verification import (
        parse_plugins,
        read_claims,
        sources_of,
        unvouched,
    )

    if execution.executor == "ray":
        raise UsageError("--sandbox leaves the command no network, which --executor ray needs")
    given = parse_plugins(plugins)
    claims = read_claims(records)
    for claim in claims:
        claim.problems += unvouched(claim.record, given) if claim.record is not None else []
    places = [*records, data_root, execution.secret_file, *sources_of(claims, given)]
    within = [submission_of(path.absolute()) for path in records]  # so that the sandbox shows it
    places += [folder / SUBMISSION for folder in within if folder is not None]
    shown = [place for place in places if place is not None and place.exists()]
    words = [*click.get_current_context().find_root().obj, "--json"]
    with _store(output) as store:
        if output is None:
            words += ["--output", str(store)]
        heard = {str(one.get("record")): one for one in heard_from_confined(words, shown, [store])}
        sound = [claim for claim in claims if not claim.problems]
        left_out = 0 if sample is None else max(0, len(sound) - sample)
        if execution.dry_run:
            left_out = len(sound)
        ran = []
        for claim in sound:
            said = heard.get(claim.where, {})
            problems = said.get("problems")
            if isinstance(problems, list):
                claim.problems += [short(str(one)) for one in problems]
            if not said:
                claim.problems.append("the run in the sandbox ended without a word about it")
            elif not claim.problems and said.get("outcome") == "not run" and left_out:
                left_out -= 1
            else:
                ran.append(claim)
        judge_stored(ran, store, allowance)
    return claims


@contextmanager
def _data_in(folder: Path | None) -> Iterator[None]:
    """Look for data sets in a folder within the block; None changes nothing."""
    if folder is None:
        yield
        return
    before = os.environ.get("SPLITSEC_DATA")
    os.environ["SPLITSEC_DATA"] = str(folder.absolute())
    try:
        yield
    finally:
        os.environ.pop("SPLITSEC_DATA")
        if before is not None:
            os.environ["SPLITSEC_DATA"] = before


@contextmanager
def _store(output: Path | None) -> Iterator[Path]:
    """Give the folder of the new records, a temporary one unless it was named."""
    from splitsec.records.store import check_writable

    kept = None if output is None else nullcontext(str(output))
    with kept or tempfile.TemporaryDirectory(prefix="splitsec-verify-") as folder:
        check_writable(Path(folder))
        yield Path(folder)


def _report(claim: ClaimedRecord, how: Execution) -> None:
    if how.as_json:
        say_json(json.dumps(_as_json(claim)))
        return
    say(f"{claim.outcome}: {claim.record.spec.title() if claim.record else claim.where}")
    said = [*claim.problems, *claim.notes]
    if claim.comparison is not None and claim.comparison.sentence:
        said.insert(0, claim.comparison.sentence)
    for sentence in said:
        say(f"  {sentence}")
    if claim.outcome == "differs":
        _print_differences(claim)


def _print_differences(claim: ClaimedRecord) -> None:
    from rich.table import Table

    from splitsec.cli.consoles import result_console

    assert claim.comparison is not None
    beyond = [one for one in claim.comparison.differences if not one.within]
    if not beyond:
        return
    table = Table("measure", "claimed", "re-run", "difference", "tolerance", "other seeds")
    for one in beyond:
        values = (one.claimed, one.rerun, one.difference)
        table.add_row(
            one_line(one.measure),
            *("-" if value is None else f"{value:.4f}" for value in values),
            f"{one.tolerance:g}",
            "-" if one.low is None else f"{one.low:.4f} to {one.high:.4f}",
        )
    result_console().print(table)


def _as_json(claim: ClaimedRecord) -> dict[str, Any]:
    comparison = claim.comparison
    return {
        "record": claim.where,
        "cell_id": claim.record.cell_id if claim.record else None,
        "title": claim.record.spec.title() if claim.record else None,
        "outcome": claim.outcome,
        "problems": claim.problems,
        "notes": [
            *([comparison.sentence] if comparison and comparison.sentence else []),
            *claim.notes,
        ],
        "differences": [
            one._asdict() | {"difference": one.difference, "within": one.within}
            for one in (comparison.differences if comparison else [])
        ],
    }
