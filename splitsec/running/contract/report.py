"""The report of a plug-in's checks, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

from splitsec.plugins.names import Kind

Verdict = Literal["ok", "warning", "failed", "skipped"]


class Outcome(NamedTuple):
    """The outcome of a check: a verdict, and a sentence that tells the author what to do."""

    verdict: Verdict
    sentence: str


class CheckResult(BaseModel):
    """The result of one check of a plug-in.

    Attributes:
        check: name of the check.
        verdict: a warning does not fail the plug-in.
        sentence: what the check found and what to do, or why it was skipped.
        seconds: duration of the check.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    verdict: Verdict
    sentence: str
    seconds: float


class CheckListener:
    """Hears how checks go; override what you need."""

    def planned(self, label: str, seconds: Mapping[str, float]) -> None:
        """Hear which checks will run.

        Args:
            label: names the plug-in, such as ``"attack 'fsha'"``.
            seconds: name of each check to the seconds that it usually takes.
        """

    def begun(self, check: str) -> None:
        """Hear that a check begins."""

    def ended(self, result: CheckResult) -> None:
        """Hear how a check ended."""


class Report(BaseModel):
    """All checks of one plug-in.

    Attributes:
        kind: attack, defense, target or data; None if unknown.
        name: its plain name.
        spec: its name or path as given.
        sha256: hash of its source; None if it could not be loaded.
        parameters: the parameters of the checks.
        findings: results of all checks, in order.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind | None
    name: str
    spec: str
    sha256: str | None = None
    parameters: dict[str, Any] = {}
    findings: tuple[CheckResult, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # mypy cannot decorate properties
    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not any(one.verdict == "failed" for one in self.findings)

    def to_json(self) -> str:
        """Return the report as one line of JSON."""
        return self.model_dump_json()

    def summary(self) -> str:
        """Return the verdict in one sentence."""
        count = {
            verdict: sum(one.verdict == verdict for one in self.findings)
            for verdict in ("failed", "warning", "skipped")
        }
        named = f"{self.kind or 'plug-in'} {self.name!r}"
        if count["failed"]:
            return (
                f"{named} breaks its contract in {count['failed']} of {len(self.findings)} checks"
            )
        more = [f"{count['warning']} with a warning"] if count["warning"] else []
        more += [f"{count['skipped']} skipped"] if count["skipped"] else []
        return f"{named} keeps its contract{' (' + ', '.join(more) + ')' if more else ''}"

    def __str__(self) -> str:
        lines = [f"{one.verdict:<8} {one.check}: {one.sentence}" for one in self.findings]
        return "\n".join([*lines, self.summary()])
