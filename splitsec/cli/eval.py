"""``splitsec eval``: run a grid of cells."""

from __future__ import annotations

from typing import Any

import click

from splitsec.cli.execution import execute, execution_options, take_execution
from splitsec.cli.exit_codes import Exit
from splitsec.cli.request_options import request_options, take_request
from splitsec.cli.saying import say
from splitsec.isolation import Isolation


@click.command("eval")
@request_options
@execution_options
def command(**options: Any) -> int:
    """Mount attacks on split models behind defenses, and record what leaks.

    Every list-valued option makes a grid: --attack fsha --defense none,dcor --seeds 3 is six
    cells. Results go to stdout, progress to stderr.

    Exits 0 if every cell ran, 1 if some failed or could not be
    written, 2 if interrupted or told to end (SIGTERM, SIGHUP), 4 if the request is wrong.
    """
    request = take_request(options)
    if not request.seed:
        say("the grid is empty: --seeds 0 gives no cell", err=True)
        return Exit.EMPTY
    execution = take_execution(options)

    def cells(isolation: Isolation | None) -> list[Any]:
        # Importing torch takes seconds, so errors in options are found first.
        from splitsec.cells.resolve import resolve

        return resolve(request, isolation)

    return execute(cells, execution)
