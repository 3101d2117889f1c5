"""Runs the checks of one plug-in."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from splitsec.cells.configured import ConfiguredPlugin, configure
from splitsec.cells.plugin_requests import parse_plugins
from splitsec.devices import devices_named
from splitsec.errors import (
    NotApplicable,
    PluginError,
    SplitsecError,
    UsageError,
    blaming,
    unknown_name,
)
from splitsec.plugins.loading import only_kind
from splitsec.plugins.names import Kind, plain_name
from splitsec.running.contract.report import CheckListener, CheckResult, Outcome, Report
from splitsec.running.contract.subject import Check, Subject
from splitsec.running.contract.surroundings import (
    ENVIRONMENT,
    SurroundingsWatch,
    seeing_changes,
    settle,
)

_LOADS = "loads"


def check_plugin(
    spec: str | Path,
    kind: Kind | None = None,
    *,
    only: Collection[str] = (),
    device: str = "cpu",
    listener: CheckListener | None = None,
) -> Report:
    """Check that a plug-in keeps its contract.

    Args:
        spec: a name, ``distribution/name`` or path, with parameters after it as on the command
            line: ``"fsha:iterations=40"``.
        kind: attack, defense, target or data; needed only if plug-ins of several kinds match.
        only: names of the checks to run; all by default. Some need cells of an earlier check and
            are skipped without it.
        device: where its cells run, see :func:`splitsec.devices.devices_named`.
        listener: hears of each check as it begins and ends.

    Returns:
        The result of each check. A plug-in that cannot be loaded has one result, which says why.

    Raises:
        UsageError: no plug-in has that name or path, several kinds have it, or there is no such
            parameter, check or device.
    """
    place = devices_named(device)[0]
    requests = parse_plugins(str(spec))
    if len(requests) != 1:
        raise UsageError(f"{str(spec)!r} names {len(requests)} plug-ins; check one at a time")
    (request,) = requests
    unloaded = Report(kind=kind, name=plain_name(request.spec), spec=request.spec)
    changes: set[str] = set()
    start = time.perf_counter()
    listener = listener or CheckListener()
    listener.begun(_LOADS)
    settle()
    try:
        with seeing_changes(changes):
            kind = kind or only_kind(request.spec, "check")
            configured = configure(kind, request)
    except PluginError as error:
        failed = _finding(_LOADS, Outcome("failed", str(error)), start)
        listener.ended(failed)
        return _found(unloaded, [failed])
    module: ModuleType = importlib.import_module(f"splitsec.running.contract.check_{kind}")
    known = [check.name for check in module.CHECKS]
    for name in only:
        if name not in known:
            raise UsageError(unknown_name(f"check of a {kind}:", name, known))
    checks = [check for check in module.CHECKS if not only or check.name in only]
    watch = SurroundingsWatch()

    def watched(one: ConfiguredPlugin) -> ConfiguredPlugin:
        cls = watch.watched(one.plugin.cls, module.WATCHED, module.FREE)
        members = tuple(map(watched, one.members))
        return replace(one, plugin=replace(one.plugin, cls=cls), members=members)

    report = Report(
        kind=kind,
        name=configured.plugin.name,
        spec=request.spec,
        sha256=configured.plugin.sha256,
        parameters=configured.parameters.model_dump(mode="json"),
    )
    findings = [_finding(_LOADS, _loading(changes), start)]
    listener.planned(configured.label, {check.name: check.seconds for check in checks})
    listener.ended(findings[0])
    with tempfile.TemporaryDirectory(prefix="splitsec-check-") as folder:
        subject = Subject(watched(configured), str(spec), Path(folder), watch, place)
        findings += _run(checks, subject, listener)
    return _found(report, findings)


def _loading(changes: set[str]) -> Outcome:
    """Return the outcome for the changes that importing the plug-in made."""
    worse = sorted(changes - {ENVIRONMENT})
    if worse:
        return Outcome(
            "failed", f"importing it changes {', '.join(worse)}; only define things at import"
        )
    if changes:
        return Outcome("warning", "importing it changes the environment variables")
    return Outcome("ok", "it is found and imported, and its parameters are valid")


def _run(
    checks: Sequence[Check], subject: Subject, listener: CheckListener
) -> Iterator[CheckResult]:
    for check in checks:
        listener.begun(check.name)
        start = time.perf_counter()
        try:
            with blaming(subject.configured.label, f"the check {check.name!r}"):
                outcome = check.look(subject)
        except NotApplicable as error:
            outcome = Outcome("skipped", f"it does not apply here: {error}")
        except SplitsecError as error:
            outcome = Outcome("failed", str(error))
        result = _finding(check.name, outcome, start)
        listener.ended(result)
        yield result


def _finding(check: str, outcome: Outcome, start: float) -> CheckResult:
    seconds = round(time.perf_counter() - start, 3)
    return CheckResult(
        check=check, verdict=outcome.verdict, sentence=outcome.sentence, seconds=seconds
    )


def _found(report: Report, findings: Sequence[CheckResult]) -> Report:
    return report.model_copy(update={"findings": tuple(findings)})
