"""The papers' numbers: all there, in our units, under protocols that we have."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from deep_clustering.ablations import _published
from deep_clustering.ablations._published import PERCENT, cells, papers
from deep_clustering.platform.data.catalogue import CATALOGUE

EVERY = [cell for paper in papers() for cell in cells(paper)]


def only(paper, table, **wanted):
    found = [
        cell
        for cell in cells(paper, table)
        if all(getattr(cell, name) == value for name, value in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def rows(paper):
    place = Path(_published.__file__).with_name(f"{paper}.csv")
    with open(place, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_count_of_each_paper():
    assert Counter(cell.paper for cell in EVERY) == {"cdc": 1108, "dpac": 413, "ruc": 140}
    assert Counter(cell.table for cell in cells("ruc")) == {
        "table1": 78, "table2": 8, "table3": 27, "table5": 27,
    }  # fmt: skip
    assert len(cells("cdc", "table2")) == 11 * 3 * 4


def test_a_cell_is_named_by_eight_fields():
    names = ["paper", "table", "method", "setting", "dataset", "ood_dataset", "metric", "statistic"]
    assert Counter(
        count for count in Counter(tuple(getattr(c, n) for n in names) for c in EVERY).values()
    ) == {1: len(EVERY)}


def test_percent_become_fractions_and_the_rest_stays():
    mean = only("cdc", "table10", method="CDC-Cal", dataset="cifar20", metric="acc")
    assert (mean.value, mean.std, mean.printed) == (0.594, 0.013, "59.4±1.3")
    single = only("cdc", "table1", method="CDC-Cal (Ours)", dataset="cifar20", metric="acc")
    assert (single.value, single.std, single.printed) == (0.617, None, "61.7")
    less = only("cdc", "table13", method="SeCu-Size +CDC", dataset="cifar10", metric="ece")
    assert (less.value, less.statistic, less.printed) == (-0.005, "delta", "-0.5")
    share = only("cdc", "table9", method="CDC-Cal", dataset="stl10", metric="selected_pct")
    assert share.value == 0.894
    spread = only("cdc", "table5", dataset="cifar20", metric="acc_std")
    assert spread.value == 0.014
    hours = only("cdc", "table7", metric="hours", statistic="single", dataset="cifar10",
                 method="CDC (100 eps)")  # fmt: skip
    assert hours.value == 8.7
    seconds = only("dpac", "table2", method="PAC", dataset="coil100", metric="seconds")
    assert seconds.value == 5179
    memory = only("cdc", "table7", metric="memory_mb", method="CDC", dataset="stl10")
    assert memory.value == 5822


def test_every_cell_against_its_row():
    for paper in papers():
        for cell, row in zip(cells(paper), rows(paper), strict=True):
            scale = 100 if row["metric"] in PERCENT else 1
            assert cell.value * scale == pytest.approx(float(row["value"]), rel=1e-12)
            assert (cell.std is None) == (row["std"] == "")
            assert cell.printed.split("±") == [row["value"], row["std"]][: 1 + bool(row["std"])]
            assert "flag:" not in cell.flag
            assert bool(cell.flag) == ("flag:" in row["note"])
            for name in {*row} - {"value", "std"}:
                assert getattr(cell, name) == row[name]


def test_fractions_are_fractions():
    assert {c.metric for c in EVERY if c.metric in PERCENT} == PERCENT
    assert all(abs(c.value) <= 1 and (c.std or 0) < 1 for c in EVERY if c.metric in PERCENT)
    assert all(c.value >= 0 for c in EVERY if c.statistic != "delta")


def test_flags():
    flags = Counter(cell.paper for cell in EVERY if cell.flag)
    assert flags == {
        paper: sum("flag:" in row["note"] for row in rows(paper)) for paper in papers()
    }
    assert min(flags.values()) == 2
    cell = only("ruc", "table5", method="Metric", dataset="cifar20", metric="f1")
    assert cell.flag == "precision 41.8 and recall 90.3 give F1 57.1"
    assert cell.note.startswith("quality of the selected clean set; flag: ")


def test_protocols_are_those_of_the_data_set():
    named = {(c.dataset, c.protocol) for c in EVERY if c.protocol is not None}
    assert len(named) > 9
    for dataset, protocol in named:
        assert protocol in CATALOGUE[dataset].protocols
    assert not {c.protocol for c in EVERY if c.dataset not in CATALOGUE} - {None}


@pytest.mark.parametrize(
    ("paper", "table", "method", "dataset", "metric", "protocol", "with_labels"),
    [
        ("cdc", "table1", "CDC-Cal (Ours)", "cifar10", "acc", "all", False),
        ("cdc", "table1", "CDC-Cal (Ours)", "imagenet10", "acc", "train", False),
        ("cdc", "table1", "Supervised", "cifar10", "acc", "train-test", False),
        ("cdc", "table1", "Supervised", "imagenet10", "acc", "train", False),
        ("cdc", "table1", "Supervised", "tiny-imagenet", "acc", None, False),
        ("cdc", "table1", "TCC", "cifar10", "acc", None, False),
        ("cdc", "table1", "ProPos", "cifar10", "acc", "all", False),
        ("cdc", "table12", "SCAN-3", "imagenet50", "acc", "train-val", True),
        ("cdc", "table12", "CDC-Cal", "imagenet50", "acc", "train-val", False),
        ("dpac", "table4", "DPAC^{opa}", "cifar20", "acc", "all", False),
        ("dpac", "table4", "SCAN†", "stl10", "acc", "train-test", True),
        ("dpac", "table4", "SPICE†", "stl10", "acc", None, False),
        ("dpac", "table5b", "AE+OPA", "mnist", "acc", "all", False),
        ("ruc", "table1", "SCAN + RUC (Hybrid)", "cifar10", "last_acc", "train", False),
        ("ruc", "table1", "SCAN + RUC (Hybrid)", "cifar10", "best_acc", "train", True),
        ("ruc", "table1", "SCAN + RUC (Hybrid)", "stl10", "last_acc", "all", False),
        ("ruc", "table1", "SCAN†", "cifar10", "acc", "train", True),
        ("ruc", "table1", "SCAN†", "stl10", "acc", None, True),
        ("ruc", "table1", "TSUC†", "stl10", "acc", "all", False),
        ("ruc", "table1", "IIC", "cifar10", "acc", None, False),
    ],
)
def test_protocol_of_a_number(paper, table, method, dataset, metric, protocol, with_labels):
    cell = only(paper, table, method=method, dataset=dataset, metric=metric)
    assert (cell.protocol, cell.with_labels) == (protocol, with_labels)


def test_every_exception_is_met_by_the_names_it_gives():
    for one in _published._EXCEPTIONS:
        met = [row for row in rows(one.paper) if one.holds(row)]
        assert met
        for column in ("table", "section", "method", "metric"):
            assert getattr(one, f"{column}s") <= {row[column] for row in met}


def test_unknown_names():
    with pytest.raises(ValueError, match=r"no paper 'cdd'\. Did you mean 'cdc'\? Known: cdc, dpac"):
        cells("cdd")
    with pytest.raises(ValueError, match=r"no table of ruc 'table4'\. Did you mean 'table"):
        cells("ruc", "table4")
