"""Runs the cells of claimed records again, other seeds where a machine differs, and compares.

The comparison reads records alone, so a process that runs no cell can make it
(:func:`judge_stored`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from splitsec.errors import UsageError
from splitsec.records.agreement import SEEDS, compare
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import Evidence, Record
from splitsec.records.store import load_records, record_folder, stored, write_record
from splitsec.running.verification import ClaimedRecord

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell
    from splitsec.running.executors import Executor

_OTHER_SEEDS = ".seeds"  # in the store; no part of what was claimed, so no leaderboard shows them


class Allowance(NamedTuple):
    """How far a new run may be from what is claimed.

    Attributes:
        tolerances: see :func:`splitsec.records.agreement.compare`.
        seeds: number of seeds that are run where the numbers of another machine differ by more.
    """

    tolerances: Mapping[str, float]
    seeds: int = SEEDS


def run_again(
    claims: Sequence[ClaimedRecord],
    store: Path,
    progress: CellProgress,
    executor: Executor,
    allowance: Allowance,
) -> Iterator[ClaimedRecord]:
    """Run the cells of claims, compare, and write each new record with the verdict.

    On the same kind of machine with the same packages, numbers should be identical. Where the
    machine or a package is another one and the numbers differ by more than the tolerances, other
    seeds of the cell are run too, and the claim must lie where another seed would.

    Args:
        claims: claims that have their cells.
        store: folder of the new records; cells that have one there are not run.
        progress: receives progress reports.
        executor: runs the sessions.
        allowance: how far the numbers may be apart.

    Yields:
        Claims, as they finish.

    Raises:
        UsageError: a claim is inside the store and would be compared with itself.
        OutputError: the store cannot be written.
    """
    from splitsec.running.runs import run_cells

    inside = next((one for one in claims if one.folder and _below(one.folder, store)), None)
    if inside is not None:
        raise UsageError(
            f"--output {store} holds {inside.where}, which would be compared with itself; name "
            "another folder"
        )
    waiting: dict[str, list[ClaimedRecord]] = {}
    for claim in claims:
        if claim.record is not None and claim.cell is not None:
            waiting.setdefault(claim.record.cell_id, []).append(claim)
    cells = [same[0].cell for same in waiting.values() if same[0].cell is not None]
    known: dict[str, list[Record]] = {}
    unlike: list[ClaimedRecord] = []
    for record in run_cells(cells, store, progress, rerun="failed", executor=executor):
        known.setdefault(_but_for_seed(record), []).append(record)
        for claim in waiting[record.cell_id]:
            if judge(claim, record, (), allowance.tolerances):
                unlike.append(claim)
                continue
            yield _with_verdict(claim, store)
    more = _other_seeds(unlike, known, allowance.seeds)
    if more:
        progress.message(f"{len(more)} cells of other seeds are run to see how far seeds differ")
        for record in run_cells(
            more, store / _OTHER_SEEDS, progress, rerun="failed", executor=executor
        ):
            known[_but_for_seed(record)].append(record)
    for claim in unlike:
        assert claim.rerun is not None
        judge(claim, claim.rerun, known[_but_for_seed(claim.rerun)], allowance.tolerances)
        yield _with_verdict(claim, store)


def judge(
    claim: ClaimedRecord,
    rerun: Record,
    same: Sequence[Record],
    tolerances: Mapping[str, float],
) -> bool:
    """Compare a claim with the record of its new run.

    Args:
        claim: gets the record, the comparison and notes.
        rerun: the new record.
        same: records that were run here and differ from it in their seeds alone, if there are any.
        tolerances: see :func:`splitsec.records.agreement.compare`.

    Returns:
        Whether other seeds should be run before there is a verdict.
    """
    assert claim.record is not None
    done = [one for one in same if one.status == "ok"]
    others = [one for one in done if one.spec.seed != rerun.spec.seed]
    claim.rerun = rerun
    claim.comparison = compare(claim.record, rerun, tolerances, others)
    if others:
        claim.notes.append(f"compared with {len(others) + 1} seeds that were run here")
        return False
    elsewhere = _other_machine(claim.record, rerun)
    claim.notes += elsewhere
    if claim.comparison.agreement == "differs" and elsewhere and rerun.status == "ok":
        return True
    if not elsewhere and claim.comparison.agreement not in ("identical", "differs"):
        claim.notes.append("on the same kind of machine the numbers should be identical")
    return False


def judge_stored(claims: Sequence[ClaimedRecord], store: Path, allowance: Allowance) -> None:
    """Compare claims with records that another process made, and write the verdicts.

    This process imports no plug-in, so none can change the comparison.

    Args:
        claims: claims, in which nothing has been checked.
        store: folder of the new records.
        allowance: how far the numbers may be apart.

    Raises:
        OutputError: the store cannot be written.
    """
    seeds = store / _OTHER_SEEDS
    others = load_records([seeds]) if seeds.is_dir() else []
    for claim in claims:
        if claim.record is None or claim.problems:
            continue
        spec, cell_id = claim.record.spec, claim.record.cell_id
        rerun = stored(store, spec, cell_id, "never", claim.problems.append)
        if rerun is None:
            claim.problems.append("its cell has no record of a run here")
            continue
        if rerun.spec != spec:
            claim.problems.append("the record of its run here is of another specification")
            continue
        if judge(claim, rerun, (), allowance.tolerances):
            key = _but_for_seed(rerun)
            judge(
                claim,
                rerun,
                [rerun, *(one for one in others if _but_for_seed(one) == key)],
                allowance.tolerances,
            )
        _with_verdict(claim, store)


def _but_for_seed(record: Record) -> str:
    return record.spec.model_copy(update={"seed": 0}).model_dump_json()


def _other_seeds(
    claims: Sequence[ClaimedRecord], known: Mapping[str, Sequence[Record]], seeds: int
) -> list[Cell]:
    """Return the cells of other seeds that are missing, each once.

    Args:
        claims: claims whose cells were run here, with other numbers.
        known: records that were run here, by their specification but for the seed.
        seeds: number of seeds that are needed.
    """
    more: dict[str, list[Cell]] = {}
    for claim in claims:
        assert claim.cell is not None
        assert claim.rerun is not None
        key = _but_for_seed(claim.rerun)
        if key in more:
            continue
        have = {one.spec.seed for one in known[key] if one.status == "ok"}
        free = (seed for seed in count() if seed not in have)
        missing = islice(free, max(0, seeds - len(have)))
        spec = claim.cell.spec
        more[key] = [
            replace(claim.cell, spec=spec.model_copy(update={"seed": seed})) for seed in missing
        ]
    return [cell for cells in more.values() for cell in cells]


def _with_verdict(claim: ClaimedRecord, store: Path) -> ClaimedRecord:
    """Write the new record of a claim with the verdict."""
    assert claim.rerun is not None
    assert claim.comparison is not None
    evidence = Evidence(agreement=claim.comparison.agreement)
    claim.rerun = write_record(
        record_folder(store, claim.rerun), claim.rerun.model_copy(update={"evidence": evidence})
    )
    return claim


def _below(folder: Path, store: Path) -> bool:
    return folder.resolve().is_relative_to(store.resolve())


def _other_machine(claimed: Record, rerun: Record) -> list[str]:
    """Return a sentence on the differences between both machines, or nothing."""
    there, here = claimed.provenance, rerun.provenance
    differ = [
        f"{name} {here.packages.get(name, '(none)')}, not {version}"
        for name, version in there.packages.items()
        if here.packages.get(name) != version
    ]
    differ += [
        f"{getattr(here, name)}, not {getattr(there, name)}"
        for name in ("platform", "processor", "python", "device")
        if getattr(there, name) is not None and getattr(here, name) != getattr(there, name)
    ]
    return [f"it was run again with {'; '.join(differ)}"] if differ else []
