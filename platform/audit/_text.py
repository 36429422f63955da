"""Sentences of the papers' text beside the numbers that they speak of.

Which sentences is data here, copied by hand; what is said of them is computed from printed cells.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from deep_clustering.ablations._published import PublishedCell
from deep_clustering.platform.audit._cells import LOWER, Finding, listed, signed, value_of


class _Printed:
    """Cells by their place; remembers which were asked for."""

    def __init__(self, given: Sequence[PublishedCell]) -> None:
        self._given, self.used = given, dict[int, PublishedCell]()

    def cell(self, table: str, method: str, dataset: str, metric: str) -> PublishedCell:
        """The first cell of a row without a setting, or of the one that is printed first.

        Raises:
            LookupError: it is not among the given cells.
        """
        place = (table, method, dataset, metric)
        for cell in self._given:
            if (cell.table, cell.method, cell.dataset, cell.metric) == place:
                self.used.setdefault(id(cell), cell)
                return cell
        raise LookupError(place)

    def sweep(self, dataset: str, metric: str) -> dict[str, PublishedCell]:
        """The cells of Table 5, by what they set: B=1000;K=-20% and so on."""
        own = (("table5", dataset, metric), "B=")
        return {
            cell.setting: self.tell(cell)
            for cell in self._given
            if ((cell.table, cell.dataset, cell.metric), cell.setting[:2]) == own
        }

    def rivals(self, dataset: str, metric: str) -> list[PublishedCell]:
        """Table 1's methods that use no labels, but for the paper's own, best first."""
        others = [
            cell
            for cell in self._given
            if (cell.table, cell.dataset, cell.metric) == ("table1", dataset, metric)
            and "Ours" not in cell.method
            and cell.method not in _SUPERVISED
        ]
        return sorted(others, key=value_of, reverse=metric not in LOWER)

    def tell(self, cell: PublishedCell) -> PublishedCell:
        """Remember a cell that a sentence names."""
        self.used.setdefault(id(cell), cell)
        return cell


_SUPERVISED = ("Supervised", "+MoCo-v2")
_OWN = "CDC-Cal (Ours)"


def _gains(printed: _Printed) -> str:
    told = []
    for dataset in ("imagenet10", "imagenet-dogs", "tiny-imagenet"):
        own = printed.cell("table1", _OWN, dataset, "acc")
        spice = printed.cell("table1", "SPICE-3", dataset, "acc")
        best = printed.tell(printed.rivals(dataset, "acc")[0])
        told.append(
            f"{dataset} {signed(value_of(own) - value_of(spice))} over SPICE-3's {spice.printed}, "
            f"{signed(value_of(own) - value_of(best))} over {best.method}'s {best.printed}"
        )
    return f"these are the gains over SPICE-3, not over the best: {listed(told)}"


def _first(printed: _Printed) -> str:
    level: list[str] = []
    behind: list[str] = []
    for dataset in ("cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs", "tiny-imagenet"):
        for metric in ("acc", "ari"):
            own = printed.cell("table1", _OWN, dataset, metric)
            best = printed.rivals(dataset, metric)[0]
            if value_of(best) >= value_of(own):
                printed.tell(best)
                there = level if value_of(best) == value_of(own) else behind
                there.append(f"{dataset} {metric} {own.printed}, {best.method} {best.printed}")
    alone = 12 - len(level) - len(behind)
    told = [f"of 12 values of acc and ari in Table 1 CDC-Cal is first in {alone}"]
    told += [f"level with another in {len(level)} ({'; '.join(level)})"] if level else []
    told += [f"behind in {len(behind)} ({'; '.join(behind)})"] if behind else []
    return listed(told)


def _superior(printed: _Printed) -> str:
    told = []
    for dataset, method in (
        ("cifar10", "CDC-Clu (Ours)"),
        ("imagenet10", "SCAN-3"),
        ("tiny-imagenet", "CC"),
    ):
        own = printed.cell("table1", _OWN, dataset, "ece")
        other = printed.cell("table1", method, dataset, "ece")
        told.append(f"{dataset} {own.printed} beside {other.printed} of {method}")
    return f"ECE {listed(told)}"


def _pair(printed: _Printed) -> str:
    own, other = (printed.cell("table1", m, "stl10", "ece") for m in (_OWN, "SPICE-2"))
    there = [printed.cell("table1", m, "imagenet10", "ece") for m in ("SPICE-2", _OWN)]
    return (
        f"Table 1 prints {other.printed} and {own.printed} on STL-10; the pair "
        f"{' and '.join(cell.printed for cell in there)} is that of ImageNet-10"
    )


def _changes(printed: _Printed) -> str:
    told = []
    for metric in ("acc", "ece"):
        cells = printed.sweep("cifar20", metric)
        gaps = [
            f"{signed(_gap(cells, f'B={b};K=-20%', f'B={b};K=0%'))} and "
            f"{signed(_gap(cells, f'B={b};K=+20%', f'B={b};K=0%'))} at B={b}"
            for b in (1000, 500, 1500)
        ]
        told.append(f"{metric} by {listed(gaps)}")
    return f"in Table 5 20 % less and 20 % more of K change {'; '.join(told)}"


def _only(printed: _Printed) -> str:
    cells = printed.sweep("cifar20", "acc")
    default = cells["B=1000;K=0%"]
    low, high = min(cells.values(), key=value_of), max(cells.values(), key=value_of)
    return (
        f"1.4 is the standard deviation of the nine cells of Table 5 on CIFAR-20; they lie between "
        f"{low.printed} and {high.printed}, {signed(value_of(low) - value_of(default))} to "
        f"{signed(value_of(high) - value_of(default))} beside the default's {default.printed}"
    )


def _gap(cells: Mapping[str, PublishedCell], setting: str, other: str) -> Decimal:
    return value_of(cells[setting]) - value_of(cells[other])


def _ten(printed: _Printed) -> str:
    told = []
    for dataset in ("cifar20", "stl10", "imagenet-dogs"):
        own = printed.cell("table4", "DPAC^{opa}", dataset, "acc")
        other = printed.cell("table3", "PAC", dataset, "acc")
        told.append(f"{dataset} {signed(value_of(own) - value_of(other))}")
    return f"acc of DPAC (Table 4) less that of PAC (Table 3): {listed(told)}"


def _every(printed: _Printed) -> str:
    own = printed.cell("table4", "DPAC^{opa}", "imagenet10", "acc")
    other = printed.cell("table3", "PAC", "imagenet10", "acc")
    gain = value_of(own) - value_of(other)
    return (
        f"on imagenet10 a single run of {own.printed} stands beside a mean of {other.printed}, "
        f"{signed(gain)}, and DPAC has no printed spread"
    )


def _noise(printed: _Printed) -> str:
    each = [
        printed.cell("table1", "TSUC†", dataset, "acc")
        for dataset in ("cifar10", "cifar20", "stl10")
    ]
    told = [f"{cell.dataset} {cell.printed}" for cell in each]
    worst = min(each, key=value_of)
    return (
        f"acc of TSUC's pseudo-labels is {listed(told)}: those of {worst.dataset} are the "
        "noisiest, as the next sentence of the paper takes them to be"
    )


@dataclass(frozen=True, kw_only=True)
class _Sentence:
    """What a paper says, and what its tables say of that."""

    paper: str
    place: str
    quote: str
    tables: Callable[[_Printed], str]


_SENTENCES = (
    _Sentence(
        paper="cdc",
        place="Sec. 4.2",
        quote="improvements of 1.4%, 11.7%, and 4.8% on ImageNet-10, ImageNet-Dogs, and "
        "Tiny-ImageNet",
        tables=_gains,
    ),
    _Sentence(
        paper="cdc",
        place="Sec. 4.2",
        quote="our method ranks first in 11 out of 12 cases in all the clustering metrics",
        tables=_first,
    ),
    _Sentence(
        paper="cdc",
        place="Sec. 4.2",
        quote="The calibration error of CDC-Cal is far superior to that of CDC-Clu and all the "
        "compared methods",
        tables=_superior,
    ),
    _Sentence(
        paper="cdc",
        place="Sec. 4.2",
        quote="STL-10 (7.8% to 0.8%) compared to SPICE-2",
        tables=_pair,
    ),
    _Sentence(
        paper="cdc",
        place="Sec. 4.3",
        quote="On CIFAR-20, variations of K by ±20% lead to ACC changes of ±1.3% and ECE changes "
        "of ±0.5%",
        tables=_changes,
    ),
    _Sentence(
        paper="cdc",
        place="App. B.5",
        quote="Variations of K by ±20% and B by ±50% only result in the changes in overall "
        "accuracy of ±1.4%",
        tables=_only,
    ),
    _Sentence(
        paper="dpac",
        place="On Table 4",
        quote="an accuracy exceeding PAC by more than 10% on CIFAR-100, STL-10, and ImageNet-Dogs",
        tables=_ten,
    ),
    _Sentence(
        paper="dpac",
        place="On Table 4",
        quote="DPAC significantly surpasses the performance of SimCLR+PAC across all benchmarks",
        tables=_every,
    ),
    _Sentence(
        paper="ruc",
        place="On Table 2",
        quote="the lowest noise ratio CIFAR-20 pseudo-labels when we set the base model as TSUC",
        tables=_noise,
    ),
)


def findings(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Each sentence of the paper whose numbers are among the cells."""
    paper = given[0].paper if given else ""
    for sentence in _SENTENCES:
        if sentence.paper != paper:
            continue
        printed = _Printed(given)
        try:
            told = sentence.tables(printed)
        except LookupError:  # of a part of a paper
            continue
        yield Finding(
            kind="text",
            sentence=f"{sentence.place}, '{sentence.quote}': {told}.",
            cells=tuple(printed.used.values()),
        )
