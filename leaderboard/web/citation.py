"""Makes the page's citation from the package's metadata."""

from __future__ import annotations

from importlib import metadata

from splitsec.errors import UsageError
from splitsec.escaping import for_bibtex


def bibtex(versions: list[str], year: str) -> str:
    """Return the project as a BibTeX entry.

    Args:
        versions: versions of splitsec that made the records; the last is cited; may be empty.
        year: year of the latest record.

    Raises:
        UsageError: splitsec was installed from a source without authors.
    """
    about = metadata.metadata("splitsec")
    if about["Author"] is None:
        raise UsageError(
            "splitsec's metadata are older than its code and name no authors; install it again "
            "(pip install -e .)"
        )
    # Inner braces keep the names of groups whole and the case of letters.
    fields = {
        "author": f"{{{about['Author']}}}",
        "title": f"{{splitsec: {about['Summary']}}}",
        **({"version": for_bibtex(versions[-1])} if versions else {}),
        "year": for_bibtex(year),
        "license": about["License-Expression"],
    }
    lines = [f"  {name:<7} = {{{value}}}" for name, value in fields.items()]
    return "@software{splitsec,\n" + ",\n".join(lines) + "\n}"
