"""The numbers that the papers print, one `PublishedCell` each, from the CSV files beside this one.

    cells("cdc", "table2")      every printed cell of CDC's table 2, in the order of the paper

What a reader has to know:

- Values are in the units of our own tables: what the papers print in percent is a fraction here,
  differences ("delta") as well. `printed` keeps the digits of the paper, without a leading plus
  and without separators of thousands.
- `setting` holds what a row or column sweeps, as key=value joined with ";": "B=500;K=-20%",
  "H=256", "threshold=0.95", "CR=with". K=-20% is relative to the data set's own K.
- `dataset` is our name where we have it. "cifar20" is also what DPAC prints as CIFAR-100: it uses
  the 20 super-classes. In CDC's tables 14 and 15 it is the training set, `ood_dataset` the other.
- CDC's final predictions are "CDC-Cal (Ours)" in tables 1, 2, 4, "CDC-Cal" in 5, 6, 9-12, 14, 15
  and "CDC" in 7, 8; tables 5, 6 and DPAC's 6 print no method name, and "CDC-Cal" and "OPA" are
  filled in. The text of CDC has no captions; its tables are numbered by the running text.
- CDC's table 13 has differences only, against the base method without CDC.
- In DPAC a dagger means fine-tuning by self-labelling, in RUC a re-run of the official code. DPAC's
  columns of seconds are unnamed in the paper and taken in the order of its accuracy columns.
- RUC's tables 3 and 5 describe the selected clean set; `section` is the base model, `method` the
  strategy.
- Networks: ResNet-34 in CDC (ResNet-50 in table 12) and DPAC, ResNet-18 in RUC.
- "single" means that the paper does not speak of averaging; DPAC's means are over 10 runs, CDC's
  over a number that it does not tell.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path

from deep_clustering.methods._nearest import nearest

#: Runs behind a printed mean. DPAC says 10; CDC does not tell, and 3 is the least that is usual.
RUNS: Mapping[str, int] = {"dpac": 10, "cdc": 3}

#: Metrics that the papers print in percent.
PERCENT = frozenset(
    {"acc", "nmi", "ari", "ece", "auroc", "fpr95", "precision", "recall", "f1"}
    | {"last_acc", "best_acc", "acc_std", "ece_std", "selected_pct"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedCell:
    """One printed number.

    Attributes:
        paper: "cdc", "dpac" or "ruc".
        table: "table1" ... "table15", "table5a".
        section: the block of the table, "" without one.
        method: the row's printed name.
        setting: what is swept, "" without a sweep.
        dataset, ood_dataset: our names; the second is "" but in two tables.
        metric: acc nmi ari ece auroc fpr95 precision recall f1 last_acc best_acc acc_std ece_std
            selected_pct, fractions all; hours, seconds, memory_mb, params_m (millions), n_samples,
            n_classes, n_dimensions, image_size (pixels).
        printed: the digits of the paper, "94.3±0.6", "94.9" or "-0.5".
        value, std: the same as numbers in the units above; `std` where the table prints mean ± std.
        statistic: "mean", "single", or "delta" for a signed difference.
        note: remarks, joined with "; ".
        flag: what follows "flag:" in the note, "" without one: the cell looks wrong, or disagrees
            with another.
        protocol: the protocol of ours (all, train-test, train-val, train) under which the number
            was trained and scored; None where that is not known or we have no such protocol.
        with_labels: the number is one of several, and labels chose it.
    """

    paper: str
    table: str
    section: str
    method: str
    setting: str
    dataset: str
    ood_dataset: str
    metric: str
    printed: str
    value: float
    std: float | None
    statistic: str
    note: str
    flag: str
    protocol: str | None
    with_labels: bool


#: Which images a paper trains on and scores. CDC: the same ones, by the counts of its table 3 and
#: its release; for its three largest data sets inferred from the SCAN rows beside, which are SCAN's
#: own on validation images. DPAC: by the counts of its table 1. RUC: what its release loads, the
#: train split of CIFAR but train and test of STL-10.
_PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    "cdc": {
        "cifar10": "all",
        "cifar20": "all",
        "stl10": "all",
        "imagenet10": "train",
        "imagenet-dogs": "train",
        "tiny-imagenet": "train",
        "imagenet50": "train-val",
        "imagenet100": "train-val",
        "imagenet200": "train-val",
    },
    "dpac": {
        "cifar10": "all",
        "cifar20": "all",
        "stl10": "all",
        "imagenet10": "train",
        "imagenet-dogs": "train",
        "coil100": "all",
        "isolet": "all",
        "pendigits": "all",
        "mnist": "test",
    },
    "ruc": {"cifar10": "train", "cifar20": "train", "stl10": "all"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exception:
    """Cells of a paper to which the above does not apply; an empty set means any.

    Attributes:
        protocols: data set -> protocol, unknown where it is missing; None keeps the paper's.
    """

    paper: str
    tables: frozenset[str] = field(default=frozenset())
    sections: frozenset[str] = field(default=frozenset())
    methods: frozenset[str] = field(default=frozenset())
    metrics: frozenset[str] = field(default=frozenset())
    protocols: Mapping[str, str] | None = None
    with_labels: bool = False

    def holds(self, row: Mapping[str, str]) -> bool:
        conditions = (
            (self.tables, row["table"]),
            (self.sections, row["section"]),
            (self.methods, row["method"]),
            (self.metrics, row["metric"]),
        )
        return row["paper"] == self.paper and all(
            not wanted or given in wanted for wanted, given in conditions
        )


_SPLIT = {"cifar10": "train-test", "cifar20": "train-test", "stl10": "train-test"}

#: The first that holds counts.
_EXCEPTIONS = (
    # What DEC's and IDEC's numbers in that table are of: all 70,000 images.
    _Exception(paper="dpac", tables=frozenset({"table5b"}), protocols={"mnist": "all"}),
    # Appendix C.5 does not say which images of the training set stand against the others.
    _Exception(paper="cdc", tables=frozenset({"table14", "table15"}), protocols={}),
    # Appendix B.1. Tiny-ImageNet is scored on validation images, for which we have no protocol.
    _Exception(
        paper="cdc",
        sections=frozenset({"Supervised"}),
        protocols=_SPLIT | {"imagenet10": "train", "imagenet-dogs": "train"},
    ),
    # Appendix C.3: models that SCAN's authors publish, the best of their runs.
    _Exception(
        paper="cdc",
        tables=frozenset({"table12"}),
        methods=frozenset({"SCAN-2", "SCAN-3"}),
        with_labels=True,
    ),
    # Appendix B.1: cited, or published models. ProPos is cited as well, but for the same images.
    _Exception(
        paper="cdc",
        methods=frozenset(
            {"K-means", "DMICC", "CoNR", "DivClust", "TCC", "TCL", "SPICE-2", "SPICE-3"}
        ),
        protocols={},
    ),
    # Equal to what SCAN's authors list for their published models: best run, scored on test images.
    _Exception(
        paper="dpac",
        tables=frozenset({"table4"}),
        methods=frozenset({"SCAN†"}),
        protocols=_SPLIT,
        with_labels=True,
    ),
    # Quoted from the literature, where some score train and test together and some do not.
    _Exception(
        paper="dpac",
        tables=frozenset({"table4"}),
        methods=frozenset(
            {"PICA", "PCL", "IDFD", "NNM", "CC", "GCC", "TCC", "SPICE", "SeCu", "Temu*"}
            | {"SPICE†", "TCL†", "SeCu†"}
        ),
        protocols={},
    ),
    # SCAN's published models, the best of its authors' runs, scored on RUC's images. For STL-10
    # that is train and test of a model trained on the train split, which is no protocol of ours.
    _Exception(
        paper="ruc",
        methods=frozenset({"SCAN†"}),
        protocols={"cifar10": "train", "cifar20": "train"},
        with_labels=True,
    ),
    _Exception(paper="ruc", methods=frozenset({"TSUC†"})),
    # Caption of table 1: excerpted from earlier papers.
    _Exception(paper="ruc", sections=frozenset({"baseline"}), protocols={}),
    # The best epoch, chosen by its accuracy.
    _Exception(paper="ruc", metrics=frozenset({"best_acc"}), with_labels=True),
)


def papers() -> tuple[str, ...]:
    """The papers whose numbers are here."""
    return tuple(_PROTOCOLS)


def cells(paper: str, table: str | None = None) -> tuple[PublishedCell, ...]:
    """The cells of a paper, or of one of its tables, in the order of the paper.

    Raises:
        ValueError: no such paper or table; the sentence names the nearest one.
    """
    if paper not in _PROTOCOLS:
        raise ValueError(_unknown("paper", paper, _PROTOCOLS))
    printed = _read(paper)
    if table is None:
        return printed
    of_table = tuple(cell for cell in printed if cell.table == table)
    if not of_table:
        tables = dict.fromkeys(cell.table for cell in printed)
        raise ValueError(_unknown(f"table of {paper}", table, tables))
    return of_table


@cache
def _read(paper: str) -> tuple[PublishedCell, ...]:
    with open(Path(__file__).with_name(f"{paper}.csv"), newline="", encoding="utf-8") as file:
        return tuple(_cell(row) for row in csv.DictReader(file))


def _cell(row: Mapping[str, str]) -> PublishedCell:
    fits = next((one for one in _EXCEPTIONS if one.holds(row)), None)
    protocols = fits.protocols if fits else None
    if protocols is None:
        protocols = _PROTOCOLS[row["paper"]]
    return PublishedCell(
        paper=row["paper"],
        table=row["table"],
        section=row["section"],
        method=row["method"],
        setting=row["setting"],
        dataset=row["dataset"],
        ood_dataset=row["ood_dataset"],
        metric=row["metric"],
        printed=row["value"] + (f"±{row['std']}" if row["std"] else ""),
        value=_number(row["value"], row["metric"]),
        std=_number(row["std"], row["metric"]) if row["std"] else None,
        statistic=row["statistic"],
        note=row["note"],
        flag=row["note"].partition("flag: ")[2],
        protocol=protocols.get(row["dataset"]),
        with_labels=fits is not None and fits.with_labels,
    )


def _number(printed: str, metric: str) -> float:
    # Decimal, so that 61.7 becomes the float that 0.617 is.
    number = Decimal(printed)
    return float(number / 100 if metric in PERCENT else number)


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"There is no {kind} '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
