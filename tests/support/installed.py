"""Packages of plug-ins, laid out as pip installs them, but without pip."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.plugins.names import Kind


def install_new(kind: Kind, name: str, site: Path) -> None:
    """Write a package with ``splitsec new`` in the working folder, and lay it out.

    Args:
        kind: kind of its plug-in.
        name: name of the plug-in.
        site: folder of installed packages.
    """
    assert run(["new", kind, name, "--package"]) == Exit.OK
    lay_out(Path(f"splitsec-{name}"), site)


def lay_out(project: Path, site: Path) -> None:
    """Copy a project into a folder of installed packages, with the metadata of its entry points.

    Args:
        project: folder with a pyproject.toml and its packages in ``src``.
        site: folder of installed packages; it counts once it is on the path of modules.
    """
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(project / "src", site, dirs_exist_ok=True)
    name, version = about["name"], about["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in points.items())])
        for group, points in about["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
