"""Findings in the papers' tables: those known by hand, and constructed tables with and without."""

import io
import math
from collections import Counter

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binomtest, chi2, t

from deep_clustering.ablations import _names
from deep_clustering.ablations._published import PublishedCell, cells, papers
from deep_clustering.platform.audit import _spreads, audit
from deep_clustering.platform.errors import InputError


@pytest.fixture(scope="module")
def found():
    return {paper: audit.findings(paper) for paper in papers()}


def sentences(found, paper, kind, *parts):
    """Sentences of a kind that hold all the parts."""
    return [
        finding.sentence
        for finding in found[paper]
        if finding.kind == kind and all(part in finding.sentence for part in parts)
    ]


# --- what is known about the papers by hand ------------------------------------------------------

KNOWN = {
    ("cdc", "single run"): [
        # (61.7 - 59.4) / 1.3 = 1.769; (79.2 - 75.5) / 2.0 = 1.85; (94.9 - 94.3) / 0.6 = 1
        "CDC-Cal, cifar20: acc 61.7 (table 1) lies 1.77 sd above its own 59.4±1.3 (table 10)",
        "CDC-Cal, imagenet-dogs: acc 79.2 (table 1) lies 1.85 sd above its own 75.5±2.0",
        "CDC-Cal, cifar10: acc 94.9 (table 1) lies 1.00 sd above its own 94.3±0.6",
        # (84.1 - 87.3) / 1.6 = -2; (42.4 - 46.4) / 2.3 = -1.739
        "SCAN-2, cifar10: acc 84.1 (table 1) lies 2.00 sd below its own 87.3±1.6",
        "CC, cifar20: acc 42.4 (table 1) lies 1.74 sd below its own 46.4±2.3",
    ],
    ("cdc", "sides"): [
        # two-sided: 2 (C(22, 18) + ... + C(22, 22)) / 2^22 = 18,218 / 4,194,304
        "CDC-Cal: single runs are better than their own means in 18 of 22 numbers (sign test p = "
        "0.0043).",
        "BYOL: single runs are worse than their own means in 14 of 18",
        "Simsiam: single runs are worse than their own means in 15 of 18",
    ],
    ("cdc", "lead"): [
        "dogs: acc 79.2 of CDC-Cal (Ours) is ahead of ProPos 77.5; its mean of 75.5±2.0 (table 11)",
        "cifar20: acc 61.7 of CDC-Cal (Ours) is ahead of ProPos 61.4 and CoNR 60.4; its mean of 59",
    ],
    ("cdc", "ahead of the full method"): [
        "Table 9, CDC+FreeMatch, cifar20: ece 1.4 against 4.9.",
        "Table 2, Fixed Thre. (0.90), stl10: nmi 86.1 against 85.8 and ari 85.7 against 85.6.",
        "Table 8, CDC+PPF, cifar20: acc 62.12 against 61.66",
    ],
    ("cdc", "text"): [
        # 79.2 - 67.5 and 79.2 - 79.4; 93.0 = 93.0 and 79.2 < 79.4 of CoNR
        "imagenet-dogs +11.7 over SPICE-3's 67.5, -0.2 over CoNR's 79.4",
        "CDC-Cal is first in 10, level with another in 1 (stl10 acc 93.0, SPICE-3 93.0) and behind "
        "in 1 (imagenet-dogs acc 79.2, CoNR 79.4)",
        "tiny-imagenet 11.0 beside 3.2 of CC",
        # 58.8 and 62.6 less 61.7; ECE 4.9 and 4.6 less 4.9
        "acc by -2.9 and +0.9 at B=1000, -2.9 and -0.8 at B=500 and -0.9 and -0.8 at B=1500; ece "
        "by 0 and -0.3 at B=1000",
        "they lie between 58.1 and 62.6, -3.6 to +0.9 beside the default's 61.7",
        "Table 1 prints 10.1 and 0.9 on STL-10; the pair 7.8 and 0.8 is that of ImageNet-10",
    ],
    ("dpac", "text"): [
        # 51.6 - 43.8, 92.6 - 74.9, 65.5 - 47.3; 96.2 - 95.8
        "cifar20 +7.8, stl10 +17.7 and imagenet-dogs +18.2",
        "96.2 stands beside a mean of 95.8±0.0, +0.4",
    ],
    ("ruc", "text"): [
        "cifar10 80.2, cifar20 35.5 and stl10 62.0: those of cifar20 are the noisiest"
    ],
    ("cdc", "within the spread"): [
        "Table 2, Single-head (Clu), cifar20: acc 59.7 lies behind the full method's single run of "
        "61.7, but not behind its mean of 59.4±1.3 (table 10)",
        "Table 2, Single-head (Clu+Cal), cifar10: acc 94.8 differs from the full method's 94.9 by "
        "-0.1, smaller than its sd of 0.6 (table 10)",
        "Fixed Thre. (0.80), stl10: acc 93.0 is the full method's",
        "Fixed Thre. (0.90), stl10: acc 93.0 is the full method's",
    ],
    ("cdc", "repeated"): [
        "Table 2: Fixed Thre. (0.90) and Fixed Thre. (0.80) print the same on stl10 acc 93.0, "
        "nmi 86.1, ari 85.7.",
        "Table 8: CDC and CDC+PPF print the same on stl10 acc 93.03, ari 85.57 and cifar20 ari",
    ],
    ("cdc", "sweep"): [
        # over the nine cells the mean is 60.08 and the mean square deviation 1.896
        "Table 5, cifar20 acc over B and K: the sweep's sd is 1.38 beside 1.3 of seeds (table 10)",
        "Table 6, cifar20 acc over H: the default H=512 (61.7) is the highest of 5 cells, tied "
        "with H=256; the sweep's sd is 1.86 beside 1.3 of seeds (table 10).",
        "Table 6, cifar20 acc over lambda: the default lambda=1.0 (61.7) is the highest of 6 "
        "cells; the sweep's sd is 1.62 beside 1.3 of seeds (table 10), no more than seeds alone",
    ],
    ("cdc", "contradiction"): [
        "cifar10 hours: the printed difference +4.1 is not that of 8.7 and 4.7, +4.0; rounding can",
        "stl10 hours: the printed difference -0.1 is not that of 1.3 and 1.3, 0; rounding can",
    ],
    ("cdc", "printed again"): ["acc 61.7 on cifar20 7 times."],
    ("cdc", "protocol"): [
        "Table 1: Supervised and +MoCo-v2 on cifar10, cifar20 and stl10 under the protocol "
        "train-test, the paper's own method under all.",
        "SCAN-3 differs from what dpac prints in 9 of 9 values: acc 90.3 / 51.2 / 91.4 here "
        "(SCAN-3) and 88.3 / 50.7 / 80.9 there (SCAN†)",
        "SeCu differs from what dpac prints in 4 of 9 values",
    ],
    ("cdc", "chosen with labels"): ["12 values of SCAN-2 and SCAN-3 are of the best of several"],
    ("dpac", "repeated"): [
        "Table 3: KM and FCM print the same on cifar10 and imagenet10: 76.8±6.8 and 75.9±2.1.",
        "Table 3: KM and FCM print the same on cifar20 and imagenet-dogs: 41.8±1.7 and 42.3±0.7.",
        "Table 5b: DEC and IDEC print the same on mnist nmi 86.7, acc 88.1.",
    ],
    ("dpac", "contradiction"): [
        "DPAC^{opa}, cifar10: acc is 90.7 in tables 4 and 5c and 90.8 in table 5a.",
        "CC, cifar10: acc is 79.0 in table 4 and 79.2 in table 5c.",
        "DPAC^{opa} CR=with, cifar10: acc 0.1 is below 10.0",
    ],
    ("dpac", "wide spread"): [
        "K-means on SimCLR features, cifar10: acc 80.7 (table 5a) differs from 76.8±6.8 (table 3) "
        "by +3.9, 0.57 sd."
    ],
    ("dpac", "sweep"): ["Table 6 sweeps OPA over 21 cells and leaves out m=1.03"],
    ("dpac", "chosen with labels"): ["9 values of SCAN† are of the best of several runs"],
    ("ruc", "no spread"): [
        "Table 2: 3 rows are single runs and differ from RUC with all components in last_acc from "
        "-1.5 to -0.5 and best_acc from -1.4 to -0.4"
    ],
    ("ruc", "contradiction"): [
        # 2 * 80.9 * 69.9 / 150.8 = 74.999; 2 * 41.8 * 90.3 / 132.1 = 57.146
        "precision 80.9 and recall 69.9 give an F1 of 75.0, and 69.5 is printed.",
        "precision 41.8 and recall 90.3 give an F1 of 57.1, and 85.5 is printed.",
    ],
    ("ruc", "protocol"): [
        "they are under train here and all in cdc on cifar10 and cifar20.",
        "trained and scored under train on cifar10 and cifar20 and all on stl10.",
    ],
    ("ruc", "chosen with labels"): ["18 values of best_acc are of the epoch that labels chose"],
}


@pytest.mark.parametrize(("paper", "kind"), KNOWN)
def test_known_findings(found, paper, kind):
    for part in KNOWN[paper, kind]:
        assert len(sentences(found, paper, kind, part)) == 1


def test_only_two_f1_do_not_follow(found):
    assert len(sentences(found, "ruc", "contradiction")) == 2


def test_what_is_not_a_finding(found):
    # the same run, printed with two decimals in table 8 and with one elsewhere
    assert not sentences(found, "cdc", "contradiction", "CDC-Cal")
    # both heads of one network, and a sweep whose default is the same run in both blocks
    assert not sentences(found, "cdc", "repeated", "CDC-Clu")
    assert not sentences(found, "cdc", "repeated", "H=512")
    assert not sentences(found, "cdc", "lead", "CDC-Clu")
    assert not sentences(found, "cdc", "lead", "Table 5")
    # 93.1±0.1 and 93.0: rounding alone can make that
    assert not sentences(found, "cdc", "single run", "acc 93.0")
    # the default is not the best of table 5, 62.6 is
    assert not sentences(found, "cdc", "sweep", "Table 5, cifar20 acc", "highest")
    # 61.7 against 59.7 is more than one sd of 1.3
    assert not sentences(found, "cdc", "within the spread", "59.7 differs")
    # TCC and TCL are cited alike
    assert not sentences(found, "cdc", "protocol", "TCC differs")
    assert not sentences(found, "cdc", "protocol", "TCL differs")


def test_best_of_five_and_ten(found):
    assert sentences(found, "cdc", "single run", "59.4±1.3 (table 10), further than the best of 10")
    rng = np.random.default_rng(0)
    for n, expected in _spreads.BEST_OF.items():
        measured = rng.normal(size=(200_000, n)).max(1).mean()
        assert float(expected) == pytest.approx(measured, abs=0.01)
        assert str(expected) in audit.KINDS["single run"]


def test_what_seeds_alone_make_of_a_sweep():
    for n, ratio in _spreads.SEEDS_ALONE.items():
        assert float(ratio) == pytest.approx(math.sqrt(chi2.ppf(0.95, n - 1) / n), abs=0.005)


def test_every_flag_of_the_files_is_a_remark(found):
    for paper in papers():
        flagged = [cell for cell in cells(paper) if cell.flag]
        told = [f for f in found[paper] if f.kind == "remark"]
        assert {c for f in told for c in f.cells} == set(flagged)
        assert all(f.cells[0].flag in f.sentence for f in told)


def test_kinds_and_order(found):
    kinds = Counter(f.kind for paper in papers() for f in found[paper])
    assert set(kinds) == set(audit.KINDS)
    for paper in papers():
        places = [list(audit.KINDS).index(f.kind) for f in found[paper]]
        assert places == sorted(places)
        assert all(f.cells and f.sentence.endswith(".") for f in found[paper])
        assert len({f.sentence for f in found[paper]}) == len(found[paper])


def test_names_and_settings_are_those_of_the_files():
    """A name that no cell prints would silently compare nothing."""
    every = [cell for paper in papers() for cell in cells(paper)]
    assert _names._NAMES.keys() <= {(c.paper, c.method) for c in every}
    assert _names._IN_TABLE.keys() <= {(c.paper, c.table, c.method) for c in every}
    assert set(_names.OWN.items()) <= {(c.paper, _names.name(c)) for c in every}
    assert {(c.paper, c.table) for c in every} >= _names.ABLATIONS
    assert {(c.paper, _names.name(c)) for c in every} >= _names.OTHER_HEADS
    swept = {(c.paper, c.table, _names.keys(c.setting)) for c in every}
    assert _names.DEFAULTS.keys() <= swept
    for paper, table in _names.ABLATIONS:
        assert any(_names.name(c) == _names.OWN[paper] for c in cells(paper, table))


def test_unknown_paper():
    with pytest.raises(InputError, match=r"no paper 'dpacc'\. Did you mean 'dpac'\? Known: cdc"):
        audit.findings("dpacc")


@pytest.mark.parametrize("paper", papers())
def test_shown_at_80_columns(found, paper):
    file = io.StringIO()
    audit.show(paper, Console(file=file, width=80, highlight=False))
    lines = file.getvalue().splitlines()
    assert lines[0] == f"{paper}: {len(cells(paper))} printed numbers, {len(found[paper])} findings"
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("      ") for line in lines) >= len(found[paper])
    if paper == "cdc":
        assert "      table 1 · CDC-Cal (Ours) · cifar20 · acc 61.7" in lines


# --- constructed tables --------------------------------------------------------------------------


def cell(table, method, dataset, printed, metric="acc", setting="", statistic="single", **other):
    value, _, std = printed.partition("±")
    given = {
        "paper": "cdc", "section": "", "ood_dataset": "", "note": "", "flag": "",
        "protocol": None, "with_labels": False,
    }  # fmt: skip
    return PublishedCell(
        table=table, method=method, dataset=dataset, printed=printed, metric=metric,
        setting=setting, statistic="mean" if std else statistic, value=float(value) / 100,
        std=float(std) / 100 if std else None, **(given | other),
    )  # fmt: skip


def clean():
    """Three methods on three data sets, with means that the single runs are close to."""
    values = {
        "CDC-Cal (Ours)": (90.1, 80.2, 70.3),
        "one": (85.4, 75.6, 65.9),
        "two": (82.7, 71.8, 61.2),
    }
    found = []
    for method, row in values.items():
        for dataset, value in zip(("a", "b", "c"), row, strict=True):
            found.append(cell("table1", method, dataset, f"{value}"))
            found.append(cell("table10", method, dataset, f"{value - 0.4:.1f}±1.0"))
    return found


def test_a_clean_table_gives_no_finding():
    assert audit.examine(clean()) == []


def test_a_repeated_column():
    repeating = [
        cell("table3", method, dataset, printed)
        for method, row in {
            "x": ("50.1", "50.1"),
            "y": ("40.2", "40.2"),
            "z": ("7.3", "8.3"),
        }.items()
        for dataset, printed in zip(("a", "b"), row, strict=True)
    ]
    (finding,) = audit.examine(clean() + repeating)
    assert finding.kind == "repeated"
    assert finding.sentence == "Table 3: x and y print the same on a and b: 50.1 and 40.2."
    assert finding.cells == tuple(repeating[:4])


def test_one_equal_cell_is_no_repetition():
    once = [
        cell("table3", method, dataset, printed)
        for method, row in (("x", ("50.1", "50.1")), ("y", ("40.2", "40.3")))
        for dataset, printed in zip(("a", "b"), row, strict=True)
    ]
    assert audit.examine(once) == []


def test_a_repeated_row():
    rows = [
        cell("table3", method, "a", printed, metric)
        for method in ("x", "y")
        for metric, printed in (("acc", "50.1"), ("nmi", "44.0"), ("ece", "3.0"))
    ]
    (finding,) = audit.examine(rows)
    assert finding.sentence == "Table 3: x and y print the same on a acc 50.1, nmi 44.0."


def test_a_single_run_against_its_mean():
    (finding,) = audit.examine(
        [cell("table1", "x", "a", "12.0", "ece"), cell("table10", "x", "a", "15.0±1.5", "ece")]
    )
    # lower is better: two sd below is further than the best of ten
    assert finding.sentence == (
        "x, a: ece 12.0 (table 1) lies 2.00 sd below its own 15.0±1.5 (table 10), "
        "further than the best of 10 is expected."
    )
    worse = [cell("table1", "x", "a", "18.0", "ece"), cell("table10", "x", "a", "15.0±1.5", "ece")]
    assert "further" not in audit.examine(worse)[0].sentence


def test_a_spread_of_zero_is_not_divided_by():
    still = [cell("table1", "x", "a", "12.0"), cell("table10", "x", "a", "15.0±0.0")]
    assert audit.examine(still) == []


def test_rounding_is_no_contradiction():
    assert (
        audit.examine([cell("table1", "x", "a", "61.7"), cell("table8", "x", "a", "61.66")]) == []
    )
    (finding,) = audit.examine(
        [cell("table1", "x", "a", "61.7"), cell("table8", "x", "a", "61.64")]
    )
    assert finding.sentence == "x, a: acc is 61.7 in table 1 and 61.64 in table 8."


@pytest.mark.parametrize(
    ("printed", "words"), [("4.0", None), ("4.1", "can"), ("4.2", "cannot"), ("-4.0", "cannot")]
)
def test_printed_differences(printed, words):
    found = audit.examine(
        [
            cell("table7", "x", "a", "8.7", "hours"),
            cell("table7", "y", "a", "4.7", "hours"),
            cell("table7", "x", "a", printed, "hours", statistic="delta"),
        ]
    )
    assert [f.sentence.endswith(f"rounding {words} make that.") for f in found] == (
        [] if words is None else [True]
    )


@pytest.mark.parametrize(("f1", "count"), [("75.0", 0), ("74.9", 0), ("75.1", 1), ("74.8", 1)])
def test_f1_has_room_for_rounding(f1, count):
    """80.85 and 69.85 give 74.949, 80.95 and 69.95 give 75.049."""
    row = [("precision", "80.9"), ("recall", "69.9"), ("f1", f1)]
    given = [cell("table5", "x", "a", printed, metric) for metric, printed in row]
    assert len(audit.examine(given)) == count


def test_best_of_a_sweep_for_metrics_that_fall():
    sweep = {"H=256": "3.0", "H=384": "2.9", "H=512": "2.5", "H=640": "3.9", "H=768": "3.1"}
    given = [cell("table6", "CDC-Cal", "a", v, "ece", setting=s) for s, v in sweep.items()]
    (finding,) = audit.examine(given)
    assert finding.sentence == (
        "Table 6, a ece over H: the default H=512 (2.5) is the lowest of 5 cells."
    )
    given[0] = cell("table6", "CDC-Cal", "a", "2.4", "ece", setting="H=256")
    assert audit.examine(given) == []


@pytest.mark.parametrize(("most", "count"), [(18, 22), (14, 18), (6, 6), (5, 9), (4, 8)])
def test_the_sign_test_equals_scipy(most, count):
    assert _spreads.sign_test(most, count) == pytest.approx(binomtest(most, count).pvalue)


@pytest.mark.parametrize(("n", "share"), [(3, 0.48), (5, 0.41)])
def test_a_single_run_lies_an_sd_from_a_mean_of_few_by_chance(n, share):
    """x - mean over sd is t with n - 1 degrees of freedom, times sqrt(1 + 1 / n)."""
    assert 2 * t.sf(1 / math.sqrt(1 + 1 / n), n - 1) == pytest.approx(share, abs=0.005)
    assert f"{100 * share:.0f} %" in audit.KINDS["single run"]
