"""Prints what each kind of the report's cells takes at its own size, without running it whole.

    python tests/evidence/paper.py [NUMBER]

Each kind, in a process of its own: its stages are timed by a few steps, as a dry run does, and a
cell with the same networks and sizes runs to its end, for two exchanges on drawn images. With a
number it measures that kind alone, and prints a list.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from splitsec.progress import Silent
from splitsec.running.measured_costs import measure
from splitsec.running.runs import run_cells
from support.real_size import RealSize, of_the_report

COLUMNS = (
    *("rows of the report", "cell", "exchanges", "s each", "training, h"),
    *("attack, h", "most memory, GB", "outcome"),
)


def measured(kind: RealSize) -> list[str]:
    """Return a kind's row of the table."""
    (found,) = measure([kind.whole])
    with tempfile.TemporaryDirectory() as folder:
        (record,) = run_cells([kind.cut_down], Path(folder), Silent())
    spec = kind.whole.spec
    exchanges = spec.training.epochs * -(-spec.private // spec.training.batch_size)
    trained, attack = found.timings["honest training"], found.timings.get("attack", 0.0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        ", ".join(kind.tracks),
        spec.title(),
        f"{exchanges:,}",
        f"{trained / exchanges:.2f}",
        f"{trained / 3600:.1f}",
        f"{attack / 3600:.1f}",
        f"{most / 1e9:.1f}",
        record.status if record.reason is None else f"{record.status}: {record.reason}",
    ]


def main() -> None:
    kinds = of_the_report()
    if len(sys.argv) > 1:
        print(json.dumps(measured(kinds[int(sys.argv[1])])))
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for number in range(len(kinds)):
        ran = subprocess.run(
            [sys.executable, __file__, str(number)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        row = json.loads(ran.stdout) if ran.returncode == 0 else [f"kind {number} failed"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
