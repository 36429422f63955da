"""Lists of names and counts, in sentences and in code."""

from collections.abc import Iterable, Mapping

from deep_clustering.platform.report.markup.parts import anchor

#: Names that a list shows before it says how many more there are.
_LISTED = 8


def listed(names: Iterable[object]) -> str:
    """Names in a sentence; the first few of many."""
    texts = [str(name) for name in names]
    more = len(texts) - _LISTED
    return ", ".join(texts[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def counted(counts: Mapping[str, int]) -> str:
    """ "3 finished, 1 failed", without what there is none of."""
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "none yet"


def sentence(text: str) -> str:
    """A phrase with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def quoted(names: Iterable[str]) -> str:
    """Names as arguments of a call in Python code."""
    return ", ".join(f'"{name}"' for name in names)


def ids(runs: Iterable[str]) -> str:
    """A list of run ids in Python code."""
    return "[" + ", ".join(repr(run) for run in sorted(set(runs))) + "]"


def slug(*words: str) -> str:
    """Words as the name of a file or an id."""
    return anchor("-".join(word for word in words if word))


def percent(share: float | None) -> str:
    """A share for a sentence, on one line; nothing for None."""
    return "" if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
