"""Runs the grid beside a script of evidence, and gives its records."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from splitsec.records.record import Record
from splitsec.records.store import load_records


def run_grid(script: str, description: str | None) -> list[Record]:
    """Run the cells that the folder on the command line does not have yet, and load all.

    Args:
        script: path of the script; its grid has the same name and ends in ``.toml``.
        description: shown by ``--help``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("results", type=Path, help="folder of the records")
    results = parser.parse_args().results
    command = [sys.executable, "-m", "splitsec", "run", str(Path(script).with_suffix(".toml"))]
    subprocess.run([*command, "--output", str(results)], check=True, stdout=sys.stderr)
    return list(load_records([results]))
