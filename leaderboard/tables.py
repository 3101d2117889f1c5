"""Makes tables over seeds, with means and 95 % t-intervals, from records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from splitsec.escaping import for_csv, for_latex, for_markdown
from splitsec.metrics.figures import limits_of
from splitsec.metrics.intervals import estimate
from splitsec.records.frames import records_frame
from splitsec.records.record import LABELS_SHARED, Record
from splitsec.records.wording import with_interval

_NAMES = {
    "accuracy": "accuracy",
    "auc": "AUC",
    "jaccard": "Jaccard",
    "dice": "Dice",
    "train seconds": "train, s",
    "test seconds": "test, s",
    "leakage": "leakage",
    "structure": "identified by shapes",
    "skill_mse": "MSE skill",
    "defense.alpha": "alpha",
    "defense.sigma": "sigma",
    "attack.gradient_scale": "gradient scale",
    "attack.pairs": "pairs",
    "attack.decoder": "decoder",
}
_SHARES = {"accuracy", "structure"}
_USUAL = {"in-process", LABELS_SHARED}  # of nearly every cell; the page says so once


def load(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per record, with the headline's victims if an attack was scored.

    Args:
        records: any records.

    Returns:
        The columns of :func:`splitsec.records_frame`, with ``train seconds``, ``test seconds``
        and the counts and training settings of the specification.
    """
    frames = []
    for record in records:
        frame = records_frame([record])
        if record.leakage is not None:
            frame = frame[frame["victims"] == record.leakage.victims]
        frame = frame.assign(
            **_over_images(record),
            private=record.spec.private,
            epochs=record.spec.training.epochs,
            **{
                "train seconds": record.timings.get("honest training"),
                "test seconds": record.timings.get("test"),
            },
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _over_images(record: Record) -> dict[str, float]:
    """Return the record's own 95 % interval, which is over held-out images."""
    if record.utility is None:
        return {}
    name = record.utility.measure
    _, low, high = record.utility.estimate(name)
    return {} if low is None or high is None else {f"{name} low": low, f"{name} high": high}


def summarise(frame: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return mean and 95 % t-interval over seeds for each combination of ``rows``.

    Args:
        frame: one row per record, see :func:`load`.
        rows: columns that distinguish the rows of the table.
        columns: measures.

    Returns:
        The ``rows``, ``seeds`` (cells that are ok), ``expected`` (cells), and for each measure
        ``name``, ``name low`` and ``name high``; the interval of a single seed is the record's
        own, over images, or missing. ``flags`` has each flag and its number of cells.
    """
    lines: list[dict[str, Any]] = []
    frame = frame.assign(**{name: None for name in rows if name not in frame})
    for keys, group in frame.groupby(list(rows), sort=False, dropna=False):
        line: dict[str, Any] = dict(zip(rows, keys, strict=True))
        done = group[group["status"] == "ok"]
        line |= {"seeds": len(done), "expected": len(group)}
        for name in columns:
            values = done[name].dropna().tolist() if name in done else []  # unscored: no attack
            mean, low, high = estimate(values, limits_of(name))
            if len(values) == 1:
                low, high = (
                    done[end].iloc[0] if end in done else None
                    for end in (f"{name} low", f"{name} high")
                )
            line |= {name: mean, f"{name} low": low, f"{name} high": high}
        counts = Counter(flag for flags in done["flags"] for flag in flags.split(",") if flag)
        line["flags"] = ", ".join(
            f"{flag} ({count} of {len(done)})"
            for flag, count in counts.items()
            if flag not in _USUAL
        )
        lines.append(line)
    return pd.DataFrame(lines)


def in_words(
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    reported: Sequence[dict[str, Any]] = (),
    report_columns: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a table of text: each measure with its interval, and the report's figures.

    Args:
        table: data frame of :func:`summarise`.
        rows: columns that distinguish the rows.
        columns: measures.
        reported: the report's rows; matched by the ``rows`` that they name.
        report_columns: measures of the report.
    """
    lines, left = [], list(reported)
    for values in table.to_dict("records"):
        line = {name_of(name): _plain(values[name]) for name in rows}
        short = values["seeds"] != values["expected"]
        line["seeds"] = f"{values['seeds']}" + (f" of {values['expected']}" if short else "")
        for name in columns:
            ends = values[f"{name} low"], values[f"{name} high"]
            line[name_of(name)] = with_interval(values[name], *ends, _form(name))
        found = next((one for one in left if _matches(one, values, rows)), None)
        left = [one for one in left if one is not found]  # each row of the report is used once
        for name in report_columns:
            given = None if found is None else found.get(name)
            line[f"report: {name_of(name)}"] = _reported(name, given)
        if table["flags"].any():
            line["flags"] = values["flags"] or "-"
        lines.append(line)
    return pd.DataFrame(lines)


def _matches(reported: dict[str, Any], values: Mapping[Hashable, Any], rows: Sequence[str]) -> bool:
    named = [name for name in rows if name in reported]
    return bool(named) and all(reported[name] == values[name] for name in named)


def label(record: Record, columns: Sequence[str]) -> str:
    """Return a label that distinguishes a record, such as ``dcor, alpha 0.5``.

    Args:
        record: any record.
        columns: columns of :func:`load`; those that the record does not have are left out.
    """
    values = load([record]).iloc[0]
    known = {name: values[name] for name in columns if name in values}
    return described({name: value for name, value in known.items() if not pd.isna(value)})


def described(values: Mapping[str, object]) -> str:
    """Return columns and their values in words, such as ``dcor, alpha 0.5``."""
    words = []
    for name, value in values.items():
        if name in ("attack", "defense"):
            words.append("undefended" if (name, value) == ("defense", "none") else str(value))
        else:
            words.append(f"{name_of(name)} {_plain(value)}")
    return ", ".join(words)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:g}"
    return str(value)


def name_of(column: str) -> str:
    """Return the heading of a column."""
    return _NAMES.get(column, column)


def _form(name: str) -> str:
    """Return the number format of a measure."""
    return ".1%" if name in _SHARES else ".0f" if name.endswith("seconds") else ".3f"


def _reported(name: str, given: float | list[float] | None) -> str:
    if given is None:
        return "-"
    values = given if isinstance(given, list) else [given]
    return ", ".join(f"{value:{_form(name)}}" for value in values)


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table of text as Markdown, in which the text is no markup."""
    return markdown_table(table.map(for_markdown).rename(columns=for_markdown))


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table as Markdown, of which its cells are parts already."""
    head, *body = _lines(table)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, in which no text is a formula for a spreadsheet."""
    safe = table.map(lambda cell: for_csv(cell) if isinstance(cell, str) else cell)
    text: str = safe.rename(columns=for_csv).to_csv(index=False)
    return text


def _lines(table: pd.DataFrame) -> list[list[Any]]:
    return [list(table.columns), *table.values.tolist()]


def to_latex(table: pd.DataFrame) -> str:
    """Return a table of text as a LaTeX tabular."""

    def line(cells: Sequence[object]) -> str:
        return " & ".join(map(for_latex, cells)) + r" \\"

    names, *body = map(line, _lines(table))
    head = [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\hline"]
    parts = [*head, names, r"\hline", *body, r"\hline", r"\end{tabular}"]
    return "\n".join(parts) + "\n"
