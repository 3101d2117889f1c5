"""Check a wheel: it adds one name to site-packages, and works from where it is installed."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

EXPECTED = {"splitsec"}
ROOT = Path(__file__).parents[1]
ROOMS = ("attacks", "defenses", "targets", "leaderboard")


def modules() -> set[str]:
    """Return the path in the wheel of every module in the checkout."""
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "splitsec").rglob("*.py")}
    rooms = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    return own | {f"splitsec/{path.relative_to(ROOT).as_posix()}" for path in rooms}


def main(wheel: str) -> None:
    """Unpack a wheel and use it.

    Args:
        wheel: path of the wheel.
    """
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        names = {path.name for path in Path(folder).iterdir() if path.suffix != ".dist-info"}
        if names != EXPECTED:
            sys.exit(f"the wheel adds {sorted(names)} to site-packages, not {sorted(EXPECTED)}")
        missing = sorted(modules() - set(archive.namelist()))
        if missing:
            sys.exit(f"the wheel lacks {', '.join(missing)}; pyproject.toml lists the packages")
        code = (
            f"import sys; sys.path.insert(0, {folder!r})\n"
            "import splitsec; from splitsec.plugins.names import KINDS\n"
            "from splitsec.plugins.loading import list_plugins, load_plugin\n"
            f"assert splitsec.__file__.startswith({folder!r}), splitsec.__file__\n"
            "[load_plugin(k, one.name) for k in KINDS for one in list_plugins(k)]\n"
            "from splitsec.cells.profiles import load_profiles; assert 'quick' in load_profiles()\n"
            "from splitsec.datasets.medmnist.sets import official_sets; assert official_sets()\n"
            "from importlib.resources import files; page = files('splitsec.leaderboard.web')\n"
            "assert (page / 'templates/index.html.j2').is_file()\n"
            "assert (page / 'assets/style.css').is_file()\n"
            "from splitsec.plugins.scaffold.writing import plan_scaffold, write_scaffold\n"
            "import pathlib\n"
            "for k in KINDS: write_scaffold(plan_scaffold(k, 'mine', True, pathlib.Path(k)))\n"
            "import importlib.util as u; assert u.find_spec('attacks') is None\n"
        )
        # -P and -I keep the checkout, and an editable install's finder, out of the way.
        subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=folder)
    sys.stdout.write(f"{Path(wheel).name}: adds only splitsec\n")


if __name__ == "__main__":
    main(sys.argv[1])
