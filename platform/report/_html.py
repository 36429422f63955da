"""One self-contained HTML page: sections, tables, figures and notes, without a script.

Texts are escaped wherever they come from; only `Markup` is taken as it is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

Text = str | Markup

#: Name of a colour -> (on light paper, on dark paper). Text reaches a contrast of 4.5 on its
#: paper, lines and areas of charts 3.
COLOURS = {
    "paper": ("#ffffff", "#14171b"),
    "ink": ("#1b1f24", "#e4e8ed"),
    "muted": ("#57606b", "#9ba6b3"),
    "line": ("#d4dae1", "#353c45"),
    "shade": ("#f3f5f8", "#1d2127"),
    "s1": ("#1f6cb4", "#62adef"),
    "s2": ("#c2560f", "#f2955a"),
    "s3": ("#22824f", "#5cc48e"),
    "s4": ("#7d4fb0", "#b691e3"),
    "s5": ("#b8324f", "#ee7d95"),
    "s6": ("#7a6a12", "#cdb94c"),
}

_STYLE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:76rem;padding:1rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.25rem;line-height:1.3;margin:2.5rem 0 .75rem;padding-top:.75rem;
border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}
p,ul,ol{max-width:46rem}
a{color:var(--s1)}
header p{margin:.35rem 0}
.lead{font-size:1.1rem}
.muted,small,figcaption,caption{color:var(--muted)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;list-style:none;padding:0;margin:1rem 0 0}
.notes{list-style:none;padding:0;margin:0}
.notes li{border-left:.25rem solid var(--s1);background:var(--shade);padding:.45rem .75rem;
margin:.4rem 0}
.notes .bad{border-color:var(--s5)}
.notes .good{border-color:var(--s3)}
.notes b:first-child{margin-right:.35rem}
.scroll{overflow-x:auto;max-width:100%;margin:.75rem 0 .25rem;border:1px solid var(--line);
border-radius:.4rem}
.scroll:focus-visible{outline:2px solid var(--s1)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%;
overflow-wrap:normal}
caption{text-align:left;padding:.5rem .65rem;font-weight:600;color:var(--ink)}
th,td{padding:.32rem .65rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
th{font-weight:600}
thead th{vertical-align:bottom;background:var(--shade)}
thead th[colspan]{text-align:center}
.n{text-align:right;white-space:nowrap}
td small{white-space:nowrap}
tbody th{font-weight:400;min-width:7rem}
tbody tr.block th{font-weight:600;background:var(--shade);font-size:.85rem}
tr.published th,tr.published td{color:var(--muted)}
tr.published th{font-style:italic}
.wide{min-width:17rem;max-width:30rem;white-space:normal}
.wide p{margin:.2rem 0 0}
.badge{display:inline-block;font-size:.72rem;font-weight:700;letter-spacing:.02em;
padding:.05rem .4rem;border-radius:.3rem;border:1px solid currentColor;white-space:nowrap;
color:var(--muted)}
.badge.replicated{color:var(--s3)}.badge.direction-only{color:var(--s1)}
.badge.not-replicated{color:var(--s5)}.badge.inconclusive{color:var(--s6)}
.badge.failed{color:var(--s5)}
.footnotes{font-size:.85rem;color:var(--muted);padding-left:1.6rem;margin:.5rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));
gap:1.25rem 2rem;align-items:start}
figure{margin:.5rem 0;min-width:0;max-width:40rem}
figure svg{display:block;width:100%;height:auto;max-width:35rem}
figure svg text{font-family:inherit!important}
figcaption{font-size:.9rem;margin-top:.35rem}
figcaption b{color:var(--ink)}
details{font-size:.85rem;margin:.25rem 0 .75rem;max-width:100%}
summary{cursor:pointer;color:var(--muted);padding:.2rem 0;width:fit-content}
pre{overflow-x:auto;background:var(--shade);border:1px solid var(--line);border-radius:.4rem;
padding:.6rem .75rem;margin:.25rem 0;font:.82rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace;overflow-wrap:normal}
dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.3rem 1rem;margin:.75rem 0;
max-width:56rem}
dt{font-weight:600}dd{margin:0}
@media (max-width:30rem){body{padding:.75rem .75rem 3rem}dl{grid-template-columns:1fr}
dd{margin-bottom:.4rem}}
@media print{.scroll{overflow:visible;border:0}details{display:none}nav{display:none}}
"""


def _root(which: int) -> str:
    return ":root{" + "".join(f"--{n}:{c[which]};" for n, c in COLOURS.items()) + "}"


def element(name: str, *content: Text, **attributes: str | None) -> Markup:
    """An element; `class_` is `class`, `aria_label` is `aria-label`, None is no attribute."""
    given = "".join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(content)
    return Markup(f"<{name}{given}>{inside}</{name}>")


def join(parts: Iterable[Text]) -> Markup:
    """Parts after one another."""
    return Markup("\n").join(parts)


def paragraph(*content: Text, class_: str | None = None) -> Markup:
    """A paragraph."""
    return element("p", *content, class_=class_)


def anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that its contents list."""

    title: str
    parts: Sequence[Markup]

    def __html__(self) -> str:
        head = element("h2", self.title)
        return element("section", head, *self.parts, id=anchor(self.title))


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something a reader has to know first; `level` is "bad", "good" or "plain"."""

    text: Text
    head: str = ""
    level: str = "plain"


def notes(found: Iterable[Note]) -> Markup:
    """The list of notes, the bad ones first."""
    order = sorted(found, key=lambda n: ("bad", "plain", "good").index(n.level))
    lines = [
        element("li", *([element("b", n.head), " "] if n.head else []), n.text, class_=n.level)
        for n in order
    ]
    return element("ul", *lines, class_="notes")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        content: what it shows.
        heading: it names its row or column.
        columns: how many columns it spans; rows: likewise.
        class_: "n" sets a number to the right, "wide" gives room to sentences.
    """

    content: Text
    heading: bool = False
    columns: int = 1
    rows: int = 1
    class_: str | None = None

    def html(self, scope: str) -> Markup:
        """The cell; `scope` is "col" or "row" where it is a heading."""
        return element(
            "th" if self.heading else "td",
            self.content,
            class_=self.class_,
            scope=scope if self.heading else None,
            colspan=str(self.columns) if self.columns > 1 else None,
            rowspan=str(self.rows) if self.rows > 1 else None,
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table; `class_` is "block" for a heading inside, "published" for printed rows."""

    cells: Sequence[Cell]
    class_: str | None = None


def number(content: Text) -> Cell:
    """A cell that is set to the right."""
    return Cell(content=content, class_="n")


def head(*names: str) -> Row:
    """The row of column names."""
    return Row(cells=[Cell(content=name, heading=True) for name in names])


def table(caption: str, heads: Sequence[Row], rows: Sequence[Row]) -> Markup:
    """A table that scrolls inside its own box where it is too wide."""

    heads = [_aligned(heads[0], rows)] if len(heads) == 1 else heads

    def lines(given: Sequence[Row], scope: str) -> list[Markup]:
        return [
            element("tr", *(cell.html(scope) for cell in row.cells), class_=row.class_)
            for row in given
        ]

    inside = element(
        "table",
        element("caption", caption),
        element("thead", *lines(heads, "col")),
        element("tbody", *lines(rows, "row")),
    )
    return element("div", inside, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _aligned(heads: Row, rows: Sequence[Row]) -> Row:
    """Names of columns above numbers are set to the right as these are."""
    below = next((row.cells for row in rows if len(row.cells) == len(heads.cells)), heads.cells)
    return Row(
        cells=[
            replace(name, class_="n") if cell.class_ == "n" else name
            for name, cell in zip(heads.cells, below, strict=True)
        ]
    )


def footnotes(texts: Sequence[str], prefix: str) -> Markup:
    """Numbered remarks that `mark` refers to."""
    if not texts:
        return Markup("")
    lines = [element("li", text, id=f"{prefix}-{i}") for i, text in enumerate(texts, start=1)]
    return element("ol", *lines, class_="footnotes")


def mark(prefix: str, index: int) -> Markup:
    """The reference to a footnote, counted from 1."""
    return element("sup", element("a", str(index), href=f"#{prefix}-{index}"))


def query(text: str) -> Markup:
    """The code that gives the numbers above it."""
    return element(
        "details",
        element("summary", "The numbers, with polars"),
        element("pre", element("code", text), tabindex="0"),
    )


def figure(svg: Markup, title: str, caption: Text, code: str) -> Markup:
    """A chart with its caption and the code of its numbers."""
    words = element("figcaption", element("b", title), " ", caption)
    return element("figure", svg, words, query(code))


def figures(found: Sequence[Markup]) -> Markup:
    """Charts side by side where there is room."""
    return element("div", *found, class_="figures") if found else Markup("")


def definitions(pairs: Iterable[tuple[str, Text]]) -> Markup:
    """Names and what they stand for."""
    inside = [part for k, v in pairs for part in (element("dt", k), element("dd", v))]
    return element("dl", *inside)


def page(title: str, summary: Sequence[Text], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: of the page, its first heading too.
        summary: paragraphs below it, the first one in larger type.
        sections: in order; the contents link to them.
    """
    dark = f"@media (prefers-color-scheme:dark){{{_root(1)}}}"
    style = f":root{{color-scheme:light dark}}{_root(0)}{dark}{_STYLE}"
    links = [element("li", element("a", s.title, href=f"#{anchor(s.title)}")) for s in sections]
    lead, *rest = summary
    body = [
        element(
            "header",
            element("h1", title),
            paragraph(lead, class_="lead"),
            *(paragraph(text) for text in rest),
            element("nav", element("ul", *links), aria_label="Contents"),
        ),
        element("main", *(Markup(s.__html__()) for s in sections)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{join(body)}\n</body>\n</html>\n"
    )
