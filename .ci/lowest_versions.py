"""Prints the lowest version of each dependency that pyproject.toml allows, but not torch's."""

import sys
import tomllib
from pathlib import Path

with Path("pyproject.toml").open("rb") as file:
    needed = tomllib.load(file)["project"]["dependencies"]
for one in needed:
    name, bound, version = one.partition(">=")
    if not bound:
        sys.exit(f"pyproject.toml: {one} has no lowest version")
    if name not in ("torch", "torchvision"):  # large, and the same as everywhere else
        sys.stdout.write(f"{name}=={version}\n")
