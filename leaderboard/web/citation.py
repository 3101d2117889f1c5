"""How the page is cited, from the package's own metadata."""

from __future__ import annotations

from importlib import metadata

from splitsec.errors import UsageError


def bibtex(versions: list[str], year: str) -> str:
    """Return the project as a BibTeX entry.

    Args:
        versions: of splitsec that made the records, the last one of which is cited; may be empty.
        year: of the latest record.

    Raises:
        UsageError: splitsec was installed from a source without authors.
    """
    about = metadata.metadata("splitsec")
    if about["Author"] is None:
        raise UsageError(
            "splitsec's metadata are older than its code and name no authors; install it again "
            "(pip install -e .)"
        )
    # Inner braces keep names of groups whole, and letters as they are.
    fields = {
        "author": f"{{{about['Author']}}}",
        "title": f"{{splitsec: {about['Summary']}}}",
        **({"version": versions[-1]} if versions else {}),
        "year": year,
        "license": about["License-Expression"],
    }
    lines = [f"  {name:<7} = {{{value}}}" for name, value in fields.items()]
    return "@software{splitsec,\n" + ",\n".join(lines) + "\n}"
