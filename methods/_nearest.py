"""The name that was meant by one that nobody knows, for messages."""

from collections.abc import Iterable
from itertools import takewhile

#: Names of ours, or parts of them, and what others call the same.
_CALLED = {
    "acc": "accuracy",
    "ari": "adjusted rand index",
    "auroc": "roc auc",
    "batch": "batch size",
    "ece": "expected calibration error",
    "lr": "learning rate",
    "nll": "log loss",
    "nmi": "normalised mutual information",
    "sc": "spectral clustering",
}
#: A name may differ by one letter, and by more where these are at most so large a part of it.
_PART = 1 / 3
#: How far, in parts of a name, one is that differs by a letter, is made of the same words, or has
#: the other as a part: up to twice that, by how much it has besides.
_LETTER, _SAME, _HOLDS = 0.1, 0.1, 0.15
#: What a name that is a part of the asked one is further away.
_HELD = 0.05
_SHORT = 4  # letters of a name of which one letter is more than a slip
_BEGINNING = 3  # letters that are enough of a beginning
#: What a name called otherwise is further away.
_OTHERWISE = 0.01


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the known name that was meant, or nothing when none is near.

    Near is what a few letters left out, added, changed or swapped make equal; what is made of some
    of the other's words, or begins with it; and what others call the same thing. Capitals and what
    stands between words (`-`, `_`, `.`) count for nothing. Of equally near ones it is the one that
    begins alike, and then the shortest.
    """
    asked = _plain(name)
    near = [
        (distance, -_alike(asked, _plain(one)), len(one), number, one)
        for number, one in enumerate(known)
        if (distance := min(_distance(asked, x) + off for x, off in _spellings(one))) < 1
    ]
    return f" Did you mean '{min(near)[-1]}'?" if near else ""


def not_one_of(value: object, known: Iterable[object]) -> str:
    """The sentence for a value that is none of the known ones, without its subject."""
    names = [str(one) for one in known]
    near = nearest(str(value), names)
    return f"must be one of {', '.join(names)}; got {value!r}" + (f".{near}" if near else "")


def _plain(name: str) -> str:
    """Words in small letters with a space between them."""
    return " ".join(name.lower().replace("-", " ").replace("_", " ").replace(".", " ").split())


def _spellings(name: str) -> list[tuple[str, float]]:
    """A plain name, and what it is where a part of it is called otherwise, with how far that is."""
    padded = f" {_plain(name)} "
    pairs = [*_CALLED.items(), *((long, short) for short, long in _CALLED.items())]
    other = [padded.replace(f" {a} ", f" {b} ").strip() for a, b in pairs if f" {a} " in padded]
    return [(padded.strip(), 0.0), *((spelling, _OTHERWISE) for spelling in other)]


def _distance(asked: str, known: str) -> float:
    """How far two plain names are, in parts of the longer one; 1 where they are not near."""
    a, b = asked.replace(" ", ""), known.replace(" ", "")
    shorter, longer = sorted((len(a), len(b)))
    edits = _edits(a, b, max(1, int(longer * _PART)))
    distance = 1.0 if edits is None else edits / max(longer, 1)
    if edits == 1 and longer > _SHORT:
        distance = min(distance, _LETTER)
    if sorted(asked.split()) == sorted(known.split()):
        distance = min(distance, _SAME)
    for inner, outer, further in ((asked, known, 0.0), (known, asked, _HELD)):
        words = f" {inner} " in f" {outer} " and shorter > 1
        plain, holding = inner.replace(" ", ""), outer.replace(" ", "")
        if words or (holding.startswith(plain) and shorter >= _BEGINNING):
            distance = min(distance, _HOLDS * (2 - shorter / longer) + further)
    return distance


def _alike(a: str, b: str) -> int:
    """How many letters two words have in common before the first that differs."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _edits(a: str, b: str, most: int) -> int | None:
    """Letters left out, added or changed, and neighbours swapped, between two words.

    That is their optimal string alignment distance; None where it is above `most`.
    """
    if abs(len(a) - len(b)) > most or len(set(a) ^ set(b)) > 2 * most:
        return None
    above: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            edits = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != other))
            if i > 1 < j and letter == b[j - 2] and a[i - 2] == other:
                edits = min(edits, above[j - 2] + 1)
            row.append(edits)
        if min(row) > most:
            return None
        above, last = last, row
    return last[-1] if last[-1] <= most else None
