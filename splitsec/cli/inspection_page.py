"""The page of ``splitsec inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from splitsec.data.inspection import Group, Inspection
from splitsec.escaping import for_html
from splitsec.leaderboard.report_pictures import embedded

_SIDE = 96  # pixels of a picture at least
_MOST = 12  # groups, lines of a table, and pictures of a group
_STYLE = """
body { max-width: 52rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; color: #1c1f23;
  font: 1rem/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
h1, h2 { font-family: Charter, Georgia, "Liberation Serif", serif; line-height: 1.2; }
h2 { margin-top: 2rem; border-bottom: 1px solid #d9d9d2; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #d9d9d2; }
td.number { text-align: right; }
.copies { display: flex; flex-wrap: wrap; gap: .75rem; margin: .5rem 0 1rem; }
figure { margin: 0; width: 8rem; font-size: .8rem; color: #5a6068; }
img { width: 100%; image-rendering: pixelated; background: #000; display: block; }
.conflict { border-left: 5px solid #9a3412; padding-left: .75rem; }
"""


def page_of(found: Inspection) -> str:
    """Return the page, which loads nothing."""
    parts = [
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{for_html(found.name)}: inspection</title><link rel='icon' href='data:,'>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{for_html(found.name)}</h1>",
        f"<p>{found.images} images, {_patients(found)}. {_private(found)}</p>",
        *_sentences("What to look at", found.warnings, "Nothing is suspicious."),
        *_sentences("What the data set says", found.disclosures, ""),
        *_table("Classes", ("class", "images"), found.classes),
        *_masks(found),
        *_table("Width x height of the files", ("pixels", "files"), found.sizes),
        *_table("How the files are stored", ("Pillow's mode", "files"), found.modes),
        *_copies(found),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _private(found: Inspection) -> str:
    has = "names of files, and pictures of patients" if found.pictures else "names of files"
    return f"This page may have {has}: it is for you, not for publication."


def _patients(found: Inspection) -> str:
    if found.images_per_patient is None:
        return "one of each patient, as far as is known"
    fewest, median, most = found.images_per_patient
    return f"of {found.patients} patients with {fewest} to {most} images each (median {median:g})"


def _sentences(title: str, said: tuple[str, ...], otherwise: str) -> Iterator[str]:
    if not said and not otherwise:
        return
    yield f"<h2>{title}</h2>"
    if not said:
        yield f"<p>{otherwise}</p>"
        return
    yield "<ul>" + "".join(f"<li>{for_html(one)}</li>" for one in said) + "</ul>"


def _table(title: str, heads: tuple[str, str], rows: Mapping[str, int]) -> Iterator[str]:
    if not rows:
        return
    yield f"<h2>{title}</h2><table><tr>" + "".join(f"<th>{one}</th>" for one in heads) + "</tr>"
    for name, count in list(rows.items())[:_MOST]:
        yield f"<tr><td>{for_html(name)}</td><td class='number'>{count}</td></tr>"
    if len(rows) > _MOST:
        yield f"<tr><td>and {len(rows) - _MOST} others</td><td></td></tr>"
    yield "</table>"


def _masks(found: Inspection) -> Iterator[str]:
    if found.mask_share is not None:
        least, median, most = found.mask_share
        yield "<h2>Masks</h2>"
        said = f"{least:.1%} to {most:.1%} of an image, {median:.1%} in the median"
        yield f"<p>They cover {said}.</p>"


def _copies(found: Inspection) -> Iterator[str]:
    if not found.copies:
        return
    yield "<h2>Copies of one photograph</h2>"
    yield (
        f"<p>{len(found.copies)} photographs have several images. Those with different labels come "
        "first, and are left out of every run.</p>"
    )
    for group in found.copies[:_MOST]:
        kind = " conflict" if group.conflicting else ""
        yield f"<div class='copies{kind}'>{''.join(_figures(group, found))}</div>"


def _figures(group: Group, found: Inspection) -> Iterator[str]:
    for place, row in enumerate(group.rows[:_MOST]):
        if row in found.pictures:
            label = f"<br>{for_html(group.labels[place])}" if group.labels else ""
            name = for_html(group.names[place])
            picture = embedded(found.pictures[row], _SIDE)
            yield (
                f"<figure><img src='{picture}' alt='{name}'>"
                f"<figcaption>{name}{label}</figcaption></figure>"
            )
