"""From the records of a page to one HTML file that needs nothing else."""

import functools
from pathlib import Path

import jinja2

from deep_clustering.platform.report.markup.colours import COLOURS
from deep_clustering.platform.report.markup.parts import Page

_HERE = Path(__file__).parent


def render(page: Page) -> str:
    """The text of the file; it loads nothing and has no script."""
    style = (_HERE / "page.css").read_text("utf-8")
    return _templates().get_template("page.html").render(page=page, colours=COLOURS, style=style)


@functools.cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["macro"] = _macro
    return templates


def _macro(record: object) -> str:
    """The macro that shows a record."""
    return type(record).__name__.lower()
