"""What a page consists of: sections of tables, figures, notes and texts, as records.

`templates/parts.html` has a macro for each part and `templates/pieces.html` one for each piece of a
text; a macro has the name of its record in lower case.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

# ---- pieces of a text


@dataclass(frozen=True)
class Small:
    """A remark in small type."""

    text: str


@dataclass(frozen=True)
class Code:
    """A name from code, such as a run id."""

    text: str


@dataclass(frozen=True)
class Bold:
    """The words that matter most."""

    text: str


@dataclass(frozen=True)
class Badge:
    """A verdict or a status in a frame; the style sheet colours those that it knows."""

    text: str

    @property
    def look(self) -> str:
        """Name of its class."""
        return anchor(self.text)


@dataclass(frozen=True)
class Sentence:
    """A sentence on a line of its own."""

    text: str
    muted: bool = False


@dataclass(frozen=True)
class FootnoteMark:
    """A reference to a footnote of the same prefix; `number` counts from 1."""

    prefix: str
    number: int


Piece = str | Small | Code | Bold | Badge | Sentence | FootnoteMark
#: A string, or pieces one after the other.
Text = str | Sequence[Piece]

# ---- tables


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell of a table.

    Attributes:
        content: what it shows.
        heading: it names its row or column.
        columns, rows: how many it spans.
        look: "number" is set to the right, "wide" has room for sentences.
    """

    content: Text
    heading: bool = False
    columns: int = 1
    rows: int = 1
    look: Literal["number", "wide"] | None = None


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of a table; "block" is a heading between rows, "published" a row of printed values."""

    cells: Sequence[TableCell]
    look: Literal["block", "published"] | None = None


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table; it scrolls inside its own box where it is wider than the page."""

    caption: str
    heads: Sequence[TableRow]
    rows: Sequence[TableRow]


def label(content: Text) -> TableCell:
    """The cell that names its row."""
    return TableCell(content=content, heading=True)


def cell(content: Text) -> TableCell:
    """A cell with a word or two."""
    return TableCell(content=content)


def number(content: Text) -> TableCell:
    """A cell with a number, set to the right."""
    return TableCell(content=content, look="number")


def wide(content: Text) -> TableCell:
    """A cell with room for sentences."""
    return TableCell(content=content, look="wide")


def table(caption: str, names: Sequence[str], rows: Sequence[Sequence[TableCell]]) -> PageTable:
    """A table with one row of column names, each set as the cells of the first row below it."""
    heads = [label(name) for name in names]
    if rows:
        heads = [
            replace(name, look="number") if below.look == "number" else name
            for name, below in zip(heads, rows[0], strict=True)
        ]
    return PageTable(
        caption=caption,
        heads=[TableRow(cells=heads)],
        rows=[TableRow(cells=cells) for cells in rows],
    )


# ---- other parts of a section


@dataclass(frozen=True, kw_only=True)
class Footnotes:
    """Numbered remarks that a `FootnoteMark` of the same prefix points to."""

    prefix: str
    texts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that a reader has to know first."""

    text: str
    head: str = ""
    level: Literal["bad", "plain", "good"] = "plain"


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A list of notes."""

    notes: Sequence[Note]

    @property
    def ordered(self) -> list[Note]:
        """The bad ones first, the good ones last."""
        return sorted(self.notes, key=lambda note: ("bad", "plain", "good").index(note.level))


@dataclass(frozen=True)
class Query:
    """A program that prints the numbers above it."""

    program: str


@dataclass(frozen=True, kw_only=True)
class Svg:
    """A drawing.

    Attributes:
        alt: a sentence that says what it shows.
        box: its `viewBox`.
        inside: the elements inside `<svg>`. A page takes them as they are: only `charts` makes
            them, and matplotlib escapes the names in them.
    """

    alt: str
    box: str
    inside: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with its caption and the program of its numbers."""

    svg: Svg
    title: str
    caption: str
    query: Query


@dataclass(frozen=True)
class Figures:
    """Figures, side by side where there is room."""

    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Thumb:
    """A small picture.

    Attributes:
        jpeg: the file.
        alt: what it is called; a file's name is a text like any other.
        text: the line below it.
    """

    jpeg: bytes
    alt: str
    text: str

    @property
    def source(self) -> str:
        """The picture as an address that loads nothing."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Small pictures side by side."""

    title: str
    thumbs: Sequence[Thumb]


@dataclass(frozen=True)
class Definitions:
    """Names and what they stand for."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str
    muted: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Commands:
    """Lines of a terminal."""

    lines: Sequence[str]


Part = (
    PageTable
    | Footnotes
    | Notes
    | Query
    | Figures
    | Sheet
    | Definitions
    | Paragraph
    | Heading
    | Commands
)

# ---- the page


def anchor(title: str) -> str:
    """A title as an id or a class: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that its contents list."""

    title: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """Its id."""
        return anchor(self.title)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page; the first paragraph of its summary is in larger type."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
