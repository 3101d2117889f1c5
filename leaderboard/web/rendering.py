"""Renders templates of pages, whose text is escaped unless it is markup of ours."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from splitsec.escaping import for_html
from splitsec.leaderboard.web.publication import without_folders


def render(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: name of a template of this package.
        **values: what it shows; a value that it does not use is no error, a missing one is.
    """
    environment = Environment(
        loader=PackageLoader("splitsec.leaderboard.web"),
        autoescape=True,
        finalize=_as_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(**values)


def _as_html(value: Any) -> Any:
    """Return what a template puts into the page, escaped unless it is markup of ours."""
    return value if isinstance(value, Markup) else Markup(for_html(without_folders(value)))


def _breakable(name: str) -> Markup:
    """Return a name of a method that may go on in another line before each of its parameters."""
    return Markup(re.sub(r"([:,+])", r"\1<wbr>", str(_as_html(name))))
