"""From records to HTML: every text is escaped, and every record has a macro."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from deep_clustering.platform.report.charts import bars, chart
from deep_clustering.platform.report.markup import parts, render
from deep_clustering.platform.report.markup.parts import (
    Badge,
    Bold,
    Code,
    Commands,
    Definitions,
    Figure,
    Figures,
    FootnoteMark,
    Footnotes,
    Heading,
    Note,
    Notes,
    Page,
    Paragraph,
    Query,
    Section,
    Sentence,
    Small,
    Svg,
    label,
    number,
    table,
    wide,
)

#: What would run, load or break out of an attribute where it is not escaped.
HOSTILE = (
    "<script>run()</script>",
    "<img src=x onerror=run()>",
    "\"'><svg onload=run()>",
    "' onmouseover='run()",
    "</style></title></pre></code><script>run()</script>",
    "{{ page.title }}{% raw %}",
    "&lt;script&gt;",
)
_TEMPLATES = Path(render.__file__).parent / "templates"


class _Seen(HTMLParser):
    """The elements, attributes and texts of a page, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(text: str) -> Page:
    """A page that has a text at every place that takes one."""
    svg = Svg(alt=text, box="0 0 1 1", inside="<path/>")
    drawn = chart.inline(bars.bars("bars", text, [text], [1.0], x=text))
    query = Query(text)
    pieces = [text, Small(text), Code(text), Bold(text), Badge(text), Sentence(text)]
    every: list[parts.Part] = [
        table(text, [text, text], [[label(pieces), number(text)], [wide(text), number(text)]]),
        Footnotes(prefix="note", texts=[text]),
        Notes(notes=[Note(head=text, text=text, level="bad"), Note(text=text)]),
        query,
        Figures([Figure(svg=s, title=text, caption=text, query=query) for s in (svg, drawn)]),
        Definitions([(text, text)]),
        Paragraph(text),
        Paragraph(text, muted=True),
        Heading(text),
        Commands([text, text]),
    ]
    return Page(title=text, summary=[text, text], sections=[Section(title=text, parts=every)])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_and_never_run(text: str) -> None:
    seen, plain = _Seen(render.render(_page(text))), _Seen(render.render(_page("a name")))
    assert seen.tags == plain.tags
    assert [name for name, _ in seen.attributes] == [name for name, _ in plain.attributes]
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert seen.text.count(text) >= plain.text.count("a name") - 2  # labels of charts are cut
    assert ("aria-label", text) in seen.attributes


def test_only_drawings_and_the_style_sheet_are_taken_as_they_are() -> None:
    templates = {p.name: p.read_text("utf-8") for p in sorted(_TEMPLATES.glob("*.html"))}
    assert len(templates) == 3
    safe = {n: re.findall(r"(\S+)\|\s*safe", text) for n, text in templates.items()}
    assert safe == {"page.html": ["style"], "parts.html": ["svg.inside"], "pieces.html": []}
    assert not [n for n, text in templates.items() if "autoescape" in text or "Markup" in text]


def test_a_macro_shows_each_part_and_each_piece() -> None:
    for template, records in (("parts.html", parts.Part), ("pieces.html", parts.Piece)):
        text = (_TEMPLATES / template).read_text("utf-8")
        macros = re.findall(r"{% macro (\w+)\(", text)
        names = [record.__name__.lower() for record in get_args(records)]
        assert len(names) > 5
        assert set(names) <= set(macros)


def test_a_name_of_a_column_is_set_as_its_cells() -> None:
    made: Any = table("t", ["row", "value"], [[label("a"), number("1")]])
    assert [cell.look for cell in made.heads[0].cells] == [None, "number"]
    assert [cell.heading for cell in made.heads[0].cells] == [True, True]


def test_bad_notes_come_first() -> None:
    notes = Notes(notes=[Note(text="c", level="good"), Note(text="b"), Note(text="a", level="bad")])
    assert [note.text for note in notes.ordered] == ["a", "b", "c"]


def test_a_reference_points_to_its_footnote() -> None:
    cells = [[label("a"), number(["1", FootnoteMark("note", 2)])]]
    made = [table("t", ["", "x"], cells), Footnotes(prefix="note", texts=["first", "second"])]
    text = render.render(Page(title="p", summary=["s"], sections=[Section(title="S", parts=made)]))
    assert '1<sup><a href="#note-2">2</a></sup>' in text
    assert '<li id="note-2">second</li>' in text
