"""``splitsec decide``: find a protection that keeps the limits of a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from splitsec.cells.requests import Request
from splitsec.cli.execution import Execution, execute, execution_options, take_execution
from splitsec.cli.exit_codes import Exit
from splitsec.cli.report import (
    Content,
    check_outputs,
    pages_option,
    report_options,
    take_content,
    write_report,
)
from splitsec.cli.request_options import request_options, take_request
from splitsec.cli.saying import say
from splitsec.errors import UsageError
from splitsec.isolation import Isolation

if TYPE_CHECKING:
    from splitsec.leaderboard.deciding import Way
    from splitsec.leaderboard.report_rows import Limits
    from splitsec.records.record import Record

_SEEDS = 5  # of the last round
_WIDER = 3  # ways that the second round tries, for each that the last one does


@click.command("decide")
@request_options
@click.option(
    "--finalists",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Ways that the last round tries with all seeds.",
)
@pages_option
@report_options
@execution_options
def command(**options: Any) -> int:
    """Find a cut, a defense and a strength that keep your limits.

    Every cut that you name is tried without a defense and behind each defense at each strength
    that it states; --defense names fewer. That is done with a cheap attack and one seed. The best
    are tried with --attack, and the last few of them with all seeds. Each round keeps what exceeds
    your limits least, by the utility on validation images and by what leaks of training images; the
    last one uses other seeds, and is reported on held-out images, too.

    \b
    splitsec decide --max-leakage 0.3 --max-loss 0.02
    splitsec decide --max-identified 0.05 --max-loss 0.02 --cut 3,5,7 --data retinamnist

    An interrupted command goes on where it was. Exits as splitsec eval does.
    """  # noqa: D301 - click's own mark for a block that is not wrapped
    content, pages = take_content(options), options.pop("pages")
    check_outputs(pages)
    if content.limits == (None, None, None):
        raise UsageError(
            "say what you allow: --max-leakage, --max-identified or --max-loss, or several"
        )
    finalists, said = options.pop("finalists"), _said(options)
    request = take_request(options)
    if "seed" not in said:
        request = request.replaced(seed=range(_SEEDS))
    _check(request)
    execution = take_execution(options)
    if execution.shard is not None:
        raise UsageError("--shard is for eval and run; a decision is made in rounds")
    from splitsec.leaderboard.report_rows import Limits  # imports pandas

    rounds = _Rounds(request, execution, Limits(*content.limits))
    ways = _ways(request, chosen="defense" in said)
    if execution.dry_run:
        return rounds.plan(ways, finalists)
    code, records = rounds.decide(ways, finalists)
    return rounds.conclude(records, pages, content) or code


def _said(options: Mapping[str, Any]) -> set[str]:
    """Return the axes that a person named, instead of leaving them at their defaults."""
    context = click.get_current_context()
    usual = ParameterSource.DEFAULT
    said = {name for name in options if context.get_parameter_source(name) is not usual}
    return said | ({"seed"} if "seeds" in said else set())


def _check(request: Request) -> None:
    if not request.seed:
        raise UsageError("--seeds 0 leaves nothing to decide by")
    if "," in request.attack:
        raise UsageError("--attack names the attack that decides; give one")
    if request.sweeps:
        raise UsageError("decide tries all strengths of a defense by itself; leave out --sweep")


def _ways(request: Request, chosen: bool) -> list[Way]:
    """Return every way: cuts without a defense, and defenses at all of their strengths."""
    from splitsec.cells.configured import strengths_of
    from splitsec.leaderboard.deciding import Way
    from splitsec.plugins.defense import Defense
    from splitsec.plugins.loading import list_plugins, load_plugin

    def protects(name: str) -> bool:
        """Return whether a defense does anything where the server follows the protocol."""
        cls = load_plugin("defense", name).cls
        return cls.release is not Defense.release or cls.penalty is not Defense.penalty

    names = request.defense
    if not chosen:
        names = ",".join(one.name for one in list_plugins("defense") if protects(one.name))
    return [
        Way(text, cut)
        for cut in request.cut or (None,)
        for text in _at_all_strengths(names, strengths_of)
    ]


def _at_all_strengths(names: str, strengths_of: Callable[[str], str]) -> list[str]:
    """Return defenses as a person writes them, those without parameters at all strengths.

    Args:
        names: defenses, comma-separated, as for ``--defense``.
        strengths_of: returns the strengths of a defense, such as ``alpha=0.1,0.5``.
    """
    from splitsec.cells.plugin_requests import parse_plugins

    texts = ["none"]
    for one in parse_plugins(names):
        if one.parameters:
            given = ",".join(f"{name}={value}" for name, value in one.parameters.items())
            texts.append(f"{one.spec}:{given}")
            continue
        try:
            parameter, _, values = strengths_of(one.spec).partition("=")
        except UsageError:  # it states none
            texts.append(one.spec)
            continue
        texts += [f"{one.spec}:{parameter}={value}" for value in values.split(",")]
    return list(dict.fromkeys(texts))


def _cheap(attack: str) -> str:
    """Return a cheap attack with the same access as the one that decides."""
    if attack in ("strongest", "strongest:server=queries"):
        return "regression"
    return "transport" if attack.startswith("strongest:") else attack


@dataclass
class _Rounds:
    """The rounds of a decision.

    Attributes:
        request: what a person asks for.
        execution: how cells run; each round has a folder of its own in the output.
        limits: what a person allows.
    """

    request: Request
    execution: Execution
    limits: Limits

    def plan(self, ways: Sequence[Way], finalists: int) -> int:
        """Print what the first round would run, and how many ways the others would have."""
        code, _ = self._run("round-1", ways, _cheap(self.request.attack), self._spare)
        seeds = ", ".join(map(str, self.request.seed))
        say(
            f"then at most {_WIDER * finalists} of these ways by {self.request.attack}, and "
            f"{finalists} of them with seeds {seeds}",
            err=True,
        )
        return code

    def decide(self, ways: Sequence[Way], finalists: int) -> tuple[int, list[Record]]:
        """Run all rounds; return the exit code and the records of the last one."""
        attack = self.request.attack
        steps = [(_cheap(attack), _WIDER * finalists), (attack, finalists)]
        for number, (mounted, kept) in enumerate(steps, 1):
            if len(ways) > kept:
                say(f"round {number}: {len(ways)} ways by {mounted}; {kept} are kept", err=True)
                ways = self._halved(f"round-{number}", ways, mounted, kept)
        if not ways:
            return Exit.FAILED, []
        return self._run("finals", ways, attack, self.request.seed)

    def conclude(self, records: Sequence[Record], pages: Sequence[Path], content: Content) -> int:
        """Say what to choose, and write the report."""
        from splitsec.leaderboard.deciding import answer
        from splitsec.leaderboard.report_rows import report_rows
        from splitsec.records.store import StoredRecord

        found = [StoredRecord(one, one.folder) for one in records]
        rows = report_rows(found)
        if not rows:
            say("nothing to choose from: no cell has a result", err=True)
            return Exit.FAILED
        if not self.execution.as_json:
            for sentence in answer(rows, self.limits):
                say(sentence)
        write_report(found, pages or [self.execution.output / "report.html"], content)
        return Exit.OK

    @property
    def _spare(self) -> tuple[int]:
        """The seed of the rounds before the last, of which no figure is reported."""
        return (max(self.request.seed) + 1,)

    def _halved(self, name: str, ways: Sequence[Way], attack: str, kept: int) -> list[Way]:
        from splitsec.leaderboard.deciding import best_ways, screened

        by_way: dict[Way, Record] = {}
        self._run(name, ways, attack, self._spare, by_way)
        found = {}
        for way, record in by_way.items():
            result = screened(record, by_way.get(way._replace(defense="none")))
            if result is None:
                where = f"{way.defense} at cut {record.spec.cut_name}"
                say(f"left out: {where}: {record.reason}", err=True)
            elif way in ways:
                found[way] = result
        return best_ways(found, self.limits, kept)

    def _run(
        self,
        name: str,
        ways: Sequence[Way],
        attack: str,
        seeds: Sequence[int],
        by_way: dict[Way, Record] | None = None,
    ) -> tuple[int, list[Record]]:
        """Run ways, and the undefended model at their cuts; return the exit code and the records.

        Args:
            name: of the round's folder.
            ways: the ways.
            attack: the attack.
            seeds: the seeds.
            by_way: receives the record of each way at the first seed.
        """
        from splitsec.leaderboard.deciding import Way

        undefended = [Way("none", cut) for cut in dict.fromkeys(way.cut for way in ways)]
        keys: dict[str, Way] = {}
        records: list[Record] = []

        def cells(isolation: Isolation | None) -> list[Any]:
            from splitsec.cells.resolve import resolve

            made = []
            for way in dict.fromkeys([*undefended, *ways]):
                asked = self.request.replaced(defense=way.defense, attack=attack, seed=seeds)
                asked = asked if way.cut is None else asked.replaced(cut=(way.cut,))
                own = resolve(asked, isolation)
                keys[own[0].spec.model_dump_json()] = way
                made += own
            return made

        execution = self.execution._replace(output=self.execution.output / name)
        code = execute(cells, execution, records.extend)
        if by_way is not None:
            found = {record.spec.model_dump_json(): record for record in records}
            by_way.update({way: found[key] for key, way in keys.items() if key in found})
        return code, records
