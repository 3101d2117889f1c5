"""Check the built documentation: it loads nothing from elsewhere, and works from disk."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_STYLE = re.compile(
    r"url\(\s*['\"]?\s*(?:https?:)?//[^)]*\)|@import\s+['\"]\s*(?:https?:)?//[^;]*", re.I
)
_LOADED = {"src", "srcset", "poster", "data"}
_LEADING = {"canonical", "alternate", "prev", "next", "edit", "author", "license"}  # not fetched


class _Loads(HTMLParser):
    """Collects what a page would fetch when it is opened.

    A link that a person may follow is no such thing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        names = _LOADED if tag != "link" or given.get("rel") in _LEADING else _LOADED | {"href"}
        self.found += [
            value for name, value in given.items() if name in names and _ELSEWHERE.match(value)
        ]
        self.found += _STYLE.findall(given.get("style", ""))


def loads(page: str) -> list[str]:
    """Return the addresses elsewhere that a page of HTML loads."""
    parser = _Loads()
    parser.feed(page)
    return parser.found + [
        found
        for style in re.findall(r"<style.*?</style>", page, re.S)
        for found in _STYLE.findall(style)
    ]


def faults(site: Path, page: Path) -> list[str]:
    """Return what is wrong with a built site, one sentence each.

    Args:
        site: the built folder.
        page: the leaderboard's page, as ``splitsec leaderboard`` writes it.
    """
    found = []
    for file in sorted(site.rglob("*")):
        name = file.relative_to(site)
        if file.suffix == ".html":
            found += [f"{name} loads {one}" for one in loads(file.read_text("utf-8"))]
        elif file.suffix in (".css", ".svg"):
            found += [f"{name} loads {one}" for one in _STYLE.findall(file.read_text("utf-8"))]
    for file in sorted(one for one in page.rglob("*") if one.is_file()):
        copy = site / "leaderboard" / file.relative_to(page)
        if not (copy.is_file() and copy.read_bytes() == file.read_bytes()):
            found.append(
                f"{copy.relative_to(site)} is not the file that splitsec leaderboard writes"
            )
    if not (site / "search" / "search_index.js").is_file():
        found.append("there is no search index that can be read from disk")
    return found


def main(site: str, page: str) -> None:
    """Check a built site.

    Args:
        site: its folder.
        page: folder of the leaderboard's page, made from the same records.
    """
    found = faults(Path(site), Path(page))
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"{site}: loads nothing from elsewhere\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
