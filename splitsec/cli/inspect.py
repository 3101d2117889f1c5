"""``splitsec inspect``: look at a data set before any run."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_json
from splitsec.errors import UsageError


@click.command("inspect")
@click.argument("data", metavar="DATA")
@click.option(
    "--size", type=click.IntRange(8), default=64, show_default=True, help="Image size, pixels."
)
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("inspection.html"),
    show_default=True,
    help="The page, with pictures and names of files: for you, not for publication.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of the page.")
def command(data: str, size: int, channels: str, output: Path, *, as_json: bool) -> int:
    """Look at the images of DATA before any run.

    DATA is a data set as --data takes it, such as folder:path=scans,csv=labels.csv. Classes and
    patients are counted; copies of a photograph, copies with different labels, empty images and
    empty masks are found; and the page says what decoding and resizing do to the files.
    """
    import sys

    with redirect_stdout(sys.stderr):  # libraries may print
        found = _inspected(data, size, int(channels))
    if as_json:
        say_json(json.dumps(found.as_json()))
        return Exit.OK
    from splitsec.cli.inspection_page import page_of
    from splitsec.files import write_text

    if output.suffix.lower() != ".html":
        raise UsageError(f"--output {output}: the page is a .html file")
    write_text(output, page_of(found))
    for warning in found.warnings:
        say(f"- {warning}")
    say(f"{found.images} images, {found.patients} patients; page: {output}", err=True)
    return Exit.OK


def _inspected(data: str, size: int, channels: int) -> Any:
    from splitsec.cells.configured import configure
    from splitsec.cells.plugin_requests import parse_plugins
    from splitsec.cli.progress_bars import shown
    from splitsec.data.inspection import inspect_data
    from splitsec.plugins.data_spec import DataSpec

    asked = parse_plugins(data)
    if len(asked) != 1:
        raise UsageError(f"{data!r} names {len(asked)} data sets; inspect one at a time")
    configured = configure("data", asked[0])
    spec = DataSpec.model_validate(
        {
            "name": configured.plugin.name,
            "plugin": configured.plugin.spec,
            "parameters": configured.values(),
            "size": size,
            "channels": channels,
        }
    )
    with shown(1) as progress:
        return inspect_data(spec, progress)
