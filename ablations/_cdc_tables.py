"""CDC's tables as they are of the methods that it compares with: which data sets, what is told.

A suite of each of those methods has the rows that are its own. What CDC's own rows are compared
with is a claim of CDC's suites.
"""

from collections.abc import Mapping
from typing import NamedTuple

from deep_clustering.ablations._suite import Claim, Row, Suite

SIX = ("cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs", "tiny-imagenet")
_ALL = ("acc", "nmi", "ari", "ece")
_FAR = ("tiny-imagenet", "svhn", "textures", "places365")


class _Table(NamedTuple):
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    others: tuple[str, ...] = ()  # images that a model of the data set does not know


_TABLES: Mapping[str, _Table] = {
    "table1": _Table(SIX, ("acc", "ari", "ece")),
    "table4": _Table(SIX, ("nmi",)),
    "table10": _Table(SIX[:3], _ALL),
    "table11": _Table(SIX[3:], _ALL),
    "table12": _Table(("imagenet50", "imagenet100", "imagenet200"), ("acc", "ece")),
    "table14": _Table(("cifar10",), ("auroc", "fpr95"), ("cifar100", *_FAR)),
    "table15": _Table(("cifar20",), ("auroc", "fpr95"), ("cifar10", *_FAR)),
}


def unknown_to(table: str) -> tuple[str, ...]:
    """The data sets whose images Table 14 or 15 has found, nearest first."""
    return _TABLES[table].others


def of_cdc(
    method: str,
    table: str,
    *rows: Row,
    mismatch: str,
    datasets: tuple[str, ...] = (),
    claims: tuple[Claim, ...] = (),
) -> Suite:
    """The suite of a method's rows in one of CDC's tables.

    Args:
        method: a registered name.
        table: such as "table1".
        rows: those that are the method's.
        mismatch: why the published values are of another setting.
        datasets: those of the table that the method is printed on; none is all of them.
        claims: of which those whose metric the table has are taken.
    """
    of = _TABLES[table]
    names = " and ".join(row.name for row in rows)
    number = table.removeprefix("table")
    return Suite(
        name=f"{method}-cdc-{table}",
        title=f"{names} in CDC's Table {number}" + (": other images" if of.others else ""),
        method=method,
        datasets=tuple(name for name in of.datasets if not datasets or name in datasets),
        table=("cdc", table),
        rows=rows,
        metrics=of.metrics,
        claims=tuple(claim for claim in claims if claim.metric in of.metrics),
        evaluations={"ood": of.others} if of.others else {},
        mismatch=mismatch,
    )
