"""Cells and verdicts of a suite, from runs whose numbers are made up and worked by hand."""

import dataclasses
import math

import polars as pl
import pytest

from deep_clustering.ablations._suite import Claim
from deep_clustering.platform import results
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import cells, claims, plans, suites
from deep_clustering.platform.suites.measured import measured
from support.small import resolved
from support.store_rows import run


class Place:
    """A store, and suites whose runs end as one says."""

    def __init__(self, folder):
        self.folder = folder
        self.store = Store.open(str(folder / "store"))
        self.expansion = None

    def expand(self, suite, datasets, seeds, **asked):
        self.expansion = suites.expand(
            suite,
            datasets,
            range(seeds),
            lambda name, method, features, base: resolved(
                method,
                name,
                root=self.folder,
                base=base,
                outline="missing",
                protocol=suite.protocol,
                **asked,
            ),
        )
        before = self.store.read_plan("suite", suite.name)
        plan = plans.plan_of(self.expansion, before, "2026-01-01T00:00", "platform ablate")
        self.store.write_plan("suite", suite.name, plan)

    def finish(self, row, dataset="digits", **columns):
        """Each column is one value a seed."""
        arm = next(a for a in self.expansion.arms if (a.row.name, a.dataset) == (row, dataset))
        for i, job in enumerate(arm.runs[: len(next(iter(columns.values())))]):
            if self.store.done([job.id]):
                continue
            values = {name: series[i] for name, series in columns.items()}
            about = {
                "dataset": dataset,
                "protocol": job.protocol,
                "stage_id": job.stage,
                "seed": job.seed,
                "status": "ok",
            }
            self.store.commit_run({**run(job.id), **about, **values}, None, None)

    def fail(self, row, seed, reason, dataset="digits"):
        arm = next(a for a in self.expansion.arms if (a.row.name, a.dataset) == (row, dataset))
        job = arm.runs[seed]
        about = {"dataset": dataset, "seed": seed, "status": "failed", "reason": reason}
        lost = {k: v for k, v in run(job.id).items() if k not in ("acc", "ece", "calibration_acc")}
        self.store.record_failure({**lost, **about}, None)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def cell(place, suite, variant, metric, dataset="digits"):
    found = results.cells(suite, place.store).filter(
        pl.col("variant") == variant, pl.col("metric") == metric, pl.col("dataset") == dataset
    )
    return found.collect().row(0, named=True)


def asked(suite, dataset, claim):
    return next(one for one in claims.asked(suite, [dataset]) if one.claim is claim)


def test_a_cell_is_the_mean_of_finished_runs_with_its_interval(place):
    place.expand(suites.made_up("cdc", "random-init", False), ["digits"], 3)
    place.finish("full", acc=[0.90, 0.92, 0.94], ece=[0.1, 0.1, 0.1])
    place.finish("random-init", acc=[0.5], ece=[0.2])
    place.fail("random-init", 1, "diverged at epoch 2")
    full = cell(place, "cdc-random-init", "full", "acc")
    assert (full["n"], full["failed"], full["mark"]) == (3, 0, "measured")
    assert full["mean"] == pytest.approx(0.92)
    assert full["sd"] == pytest.approx(0.02)
    half = 4.302652729911275 * 0.02 / math.sqrt(3)  # t of 97.5 %, 2 degrees of freedom
    assert (full["low"], full["high"]) == (pytest.approx(0.92 - half), pytest.approx(0.92 + half))
    other = cell(place, "cdc-random-init", "random-init", "acc")
    assert (other["n"], other["failed"], other["mean"]) == (1, 1, 0.5)
    assert (other["low"], other["sd"]) == (None, None)
    verdict = results.verdicts("cdc-random-init", place.store).collect()
    assert set(verdict["verdict"]) == {"NOT TESTABLE"}


def test_a_failure_is_never_a_number(place):
    place.expand(suites.made_up("cdc", "random-init", False), ["digits"], 2)
    place.fail("full", 0, "diverged")
    found = cell(place, "cdc-random-init", "full", "acc")
    assert (found["mark"], found["mean"], found["n"], found["failed"]) == ("failed", None, 0, 1)
    assert found["reason"] == "diverged"
    assert cell(place, "cdc-random-init", "random-init", "acc")["mark"] == "not run"


def test_verdicts_pair_runs_by_pretraining_and_seed(place):
    place.expand(suites.made_up("cdc", "random-init", False), ["digits"], 4)
    place.finish("full", acc=[0.90, 0.80, 0.70, 0.60], ece=[0.1, 0.1, 0.1, 0.1])
    place.finish("random-init", acc=[0.80, 0.71, 0.59, 0.50], ece=[0.1, 0.1, 0.1, 0.1])
    table = results.verdicts("cdc-random-init", place.store).collect()
    acc = table.filter(pl.col("metric") == "acc").row(0, named=True)
    assert (acc["n"], acc["unit"], acc["published"]) == (4, "training", None)
    assert acc["difference"] == pytest.approx(-0.10)
    half = 3.9015 * 0.008164965809277268  # sd of -.10 -.09 -.11 -.10; reach of 4 seeds at 1 / 40
    assert acc["low"] == pytest.approx(-0.10 - half, abs=1e-6)
    assert acc["at_least"] == acc["low"]  # two claims at 1 / 20 each are at 1 / 40
    assert acc["correlation"] == pytest.approx(0.998, abs=1e-3)
    assert acc["verdict"] == "DIRECTION ONLY"  # no published size to compare with
    ece = table.filter(pl.col("metric") == "ece").row(0, named=True)
    assert (ece["difference"], ece["verdict"]) == (0.0, "NOT REPLICATED")  # equal four times


def test_a_doubted_cell_gives_no_verdict_unless_the_suite_says_why_it_may(place):
    suite = suites.find("dpac-table5a")
    claim = next(c for c in suite.claims if c.row == "DPAC-OPA")
    assert "tenth of a point" in claim.harmless
    for harmless, verdict in ((claim.harmless, "REPLICATED"), ("", "NOT TESTABLE")):
        claims_ = (dataclasses.replace(claim, harmless=harmless),)
        of = dataclasses.replace(suite, claims=claims_, name=f"mine{len(harmless)}")
        place.expand(of, ["cifar10"], 8)
        spread = [0.0001 * (-1) ** i for i in range(8)]
        place.finish("DPAC-OPA", "cifar10", acc=[0.908 + s for s in spread])
        place.finish(claim.against, "cifar10", acc=[0.897] * 8)
        found = results.verdicts(of.name, place.store).collect().row(0, named=True)
        assert found["verdict"] == verdict, found["reason"]
    assert "is doubted: 90.7 in table4" in found["reason"]


@pytest.mark.parametrize("name", contract.names())
def test_a_claim_may_stand_on_a_number_of_any_evaluation(place, name):
    # Two things are compared with; the last row is ahead in one of them only. Accuracy, a number of
    # the runs, is judged once.
    record, things = contract.find(name), ("one", "two")
    metric, column = next(iter(record.metrics.items()))
    suite = dataclasses.replace(
        suites.made_up("cdc", "random-init", False),
        metrics=("acc", metric),
        evaluations={name: things},
        claims=tuple(
            Claim(row="random-init", against="full", metric=m, direction="higher", margin=0.01)
            for m in ("acc", metric)
        ),
    )
    suites.check(suite)
    place.expand(suite, ["digits"], 6)
    spread = [0.001, -0.001, 0.002, -0.002, 0.0005, 0.001]
    place.finish("full", acc=[0.5] * 6)
    place.finish("random-init", acc=[0.6 + s for s in spread])
    for arm in place.expansion.arms:
        for job, s in zip(arm.runs, spread, strict=True):
            for thing in things:
                ahead = arm.row.name != "full" and thing == "two"
                about = {"stage_id": f"{job.id[:20]}{thing}", "kind": name}
                about |= {record.label: thing, record.run: job.id}
                place.store.commit_stage({**about, column: 0.3 + s + 0.1 * ahead}, {})
    found = results.verdicts(suite.name, place.store).collect()
    told = found.select("metric", record.label, "n", "difference", "verdict").rows()
    assert [(m, thing, n, verdict) for m, thing, n, _, verdict in told] == [
        ("acc", None, 6, "DIRECTION ONLY"),
        (metric, "one", 6, "NOT REPLICATED"),
        (metric, "two", 6, "DIRECTION ONLY"),
    ]
    assert [d for *_, d, _ in told] == pytest.approx([0.1, 0, 0.1], abs=3e-4)
    cells_ = results.cells(suite.name, place.store).collect()
    assert cells_.select("metric", record.label).unique(maintain_order=True).rows() == [
        ("acc", None), (metric, "one"), (metric, "two"),
    ]  # fmt: skip
    assert set(cells_["n"]) == {6}


def test_the_printed_spread_is_the_error_of_the_published_difference(place):
    # Table 10, CIFAR-10: 94.3 +- 0.6 and 78.9 +- 2.3, over at least three runs each.
    suite = suites.find("cdc-table10")
    error = claims.published_error(suite, asked(suite, "cifar10", suite.claims[0]))
    assert error == pytest.approx(math.hypot(0.006, 0.023) / math.sqrt(3))
    single = suites.find("cdc-table2")
    assert claims.published_error(single, asked(single, "cifar10", single.claims[0])) is None


def test_published_values_stand_beside_in_their_order(place):
    suite = suites.find("cdc-table2")
    place.expand(suite, ["cifar10"], 5)
    spread = [-0.002, -0.001, 0.0, 0.001, 0.002]
    place.finish("CDC-Cal", "cifar10", acc=[0.943 + s for s in spread], ece=[0.011] * 5)
    place.finish("w/o Init.+CDC", "cifar10", acc=[0.888 + 2 * s for s in spread], ece=[0.03] * 5)
    table = results.cells("cdc-table2", place.store).filter(pl.col("metric") == "acc").collect()
    assert table["variant"].to_list()[:4] == [
        "After Randomly Init.", "After Proposed Init.", "w/o Init.+CDC", "Fixed Thre. (0.99)",
    ]  # fmt: skip
    assert table["section"].to_list()[:4] == ["I", "I", "I", "II"]
    full = cell(place, "cdc-table2", "CDC-Cal", "acc", "cifar10")
    assert (full["published"], full["printed"], full["statistic"]) == (0.949, "94.9", "single")
    assert full["difference"] == pytest.approx(-0.006)
    assert full["protocol_match"] is True
    verdicts = results.verdicts("cdc-table2", place.store).collect()
    mine = verdicts.filter(pl.col("variant") == "w/o Init.+CDC", pl.col("metric") == "acc")
    line = mine.row(0, named=True)
    assert line["published"] == pytest.approx(-0.055)
    assert line["margin"] == pytest.approx(0.0275)
    assert line["verdict"] == "REPLICATED"
    others = verdicts.filter(pl.col("variant") == "Fixed Thre. (0.99)")
    assert others["verdict"].to_list() == ["NOT TESTABLE"]


def test_another_protocol_is_not_compared(place):
    suite = dataclasses.replace(suites.find("cdc-table2"), protocol="train-test")
    place.expand(suite, ["cifar10"], 2)
    place.finish("CDC-Cal", "cifar10", acc=[0.94, 0.95], ece=[0.01, 0.01])
    place.finish("w/o Init.+CDC", "cifar10", acc=[0.88, 0.89], ece=[0.03, 0.03])
    found = cell(place, "cdc-table2", "CDC-Cal", "acc", "cifar10")
    assert found["protocol_match"] is False
    assert "protocol all" in found["reason"]
    verdicts = results.verdicts("cdc-table2", place.store).collect()
    line = verdicts.filter(pl.col("variant") == "w/o Init.+CDC").row(0, named=True)
    assert line["verdict"] == "NOT TESTABLE"
    assert "protocol mismatch" in line["reason"]


def test_methods_that_are_not_here_are_published_only(place):
    place.expand(suites.find("cdc-table1"), ["cifar10"], 2)
    table = results.cells("cdc-table1", place.store).filter(pl.col("metric") == "acc").collect()
    spice = table.filter(pl.col("variant") == "SPICE-3").row(0, named=True)
    assert (spice["mark"], spice["mean"], spice["n"]) == ("published only", None, 0)
    assert spice["published"] is not None
    assert table.filter(pl.col("variant") == "CDC-Cal")["mark"].item() == "not run"
    place.expand(suites.find("cdc-table13"), ["cifar10"], 2)
    differences = results.cells("cdc-table13", place.store).collect()
    unknown = differences.filter(pl.col("mark") == "published only")
    assert unknown["variant"].unique().to_list() == ["SeCu +CDC"]  # after its self-labelling
    assert set(differences["statistic"]) == {"delta", None}
    printed = differences.filter(pl.col("statistic").is_not_null())
    assert printed.height == 16
    assert set(printed["mark"]) == {"not run", "published only"}


def test_a_printed_difference_is_what_a_claim_about_it_is_held_against(place):
    place.expand(suites.find("cdc-table13"), ["cifar10"], 1)
    table = results.verdicts("cdc-table13", place.store).collect()
    line = table.filter((pl.col("variant") == "SCAN-2 + CDC") & (pl.col("metric") == "ece"))
    assert line["published"].item() == pytest.approx(-0.032)


def test_the_head_of_a_row_gives_its_numbers(place):
    place.expand(suites.find("cdc-table1"), ["digits"], 2)
    place.finish(
        "CDC-Cal", acc=[0.9, 0.8], ece=[0.1, 0.2], ari=[0.7, 0.7],
        clustering_acc=[0.91, 0.81], clustering_ece=[0.3, 0.3], clustering_ari=[0.6, 0.6],
        encoder_kmeans_acc=[0.5, 0.5],
    )  # fmt: skip
    assert cell(place, "cdc-table1", "CDC-Cal", "acc")["mean"] == pytest.approx(0.85)
    assert cell(place, "cdc-table1", "CDC-Clu", "acc")["mean"] == pytest.approx(0.86)
    assert cell(place, "cdc-table1", "MoCo-v2", "acc")["mean"] == pytest.approx(0.5)
    assert cell(place, "cdc-table1", "MoCo-v2", "ece")["mean"] is None  # k-means has none
    kmeans = cell(place, "cdc-table1", "MoCo-v2", "acc")
    assert (kmeans["n"], kmeans["low"], kmeans["unit"]) == (1, None, "pretraining")
    verdicts = results.verdicts("cdc-table1", place.store).filter(pl.col("metric") == "acc")
    line = verdicts.collect().row(0, named=True)  # both were measured on one pretraining
    assert (line["verdict"], line["n"]) == ("NOT TESTABLE", 1)
    assert "--replicate pretraining" in line["reason"]
    rows = results.suite("cdc-table1", place.store)
    means = rows.group_by("variant").agg(pl.col("acc").mean()).sort("variant").collect()
    assert dict(means.iter_rows())["CDC-Clu"] == pytest.approx(0.86)
    assert dict(means.iter_rows())["CDC-Cal"] == pytest.approx(0.85)


def test_seeds_on_pretrainings_of_their_own_replicate_the_pretraining(place):
    suite = suites.find("cdc-table1")
    place.expand(suite, ["digits"], 3, replicate="pretraining")
    place.finish(
        "CDC-Cal", acc=[0.9, 0.8, 0.7], ece=[0.1, 0.2, 0.1], clustering_ece=[0.3, 0.3, 0.3],
        clustering_acc=[0.9, 0.8, 0.7], encoder_kmeans_acc=[0.6, 0.5, 0.55],
    )  # fmt: skip
    found = cell(place, "cdc-table1", "MoCo-v2", "acc")
    assert (found["n"], found["unit"], found["pretrainings"]) == (3, "pretraining", 3)
    assert found["sd"] == pytest.approx(0.05)
    verdict = results.verdicts("cdc-table1", place.store).filter(pl.col("metric") == "acc")
    line = verdict.collect().row(0, named=True)
    assert (line["n"], line["unit"]) == (3, "pretraining")
    assert line["difference"] == pytest.approx(0.25)
    assert "over 3 pretrainings" in line["reason"]


def test_rows_of_different_numbers_of_seeds_are_said_as_a_range():
    def over(*numbers, pretrainings):
        unit = "training" if pretrainings == 1 else "pretraining"
        return [
            cells.Ours(mark="measured", unit=unit, n=n, runs=n, pretrainings=min(n, pretrainings))
            for n in numbers
        ]

    assert cells.replications(over(6, 5, 8, pretrainings=9)) == ["5 to 8 pretrainings"]
    assert cells.replications(over(1, 2, pretrainings=9)) == ["1 to 2 pretrainings"]
    assert cells.replications(over(7, 7, pretrainings=9)) == ["7 pretrainings"]
    assert cells.replications([*over(3, 1, pretrainings=1), cells.Ours(mark="not run")]) == [
        "1 to 3 seeds on one pretraining, conditional on it"
    ]


def test_seeds_on_two_pretrainings_are_analysed_as_nested(place):
    suite = suites.find("cdc-table2")
    values = {0: [0.90, 0.92], 1: [0.80, 0.84]}
    for pretraining, acc in values.items():
        place.expand(suite, ["digits"], 2, sets=[f"pretrain.seed={pretraining}"])
        place.finish("CDC-Cal", acc=acc)
        place.finish("Fixed Thre. (0.99)", acc=[a - 0.1 for a in acc])
    found = cell(place, "cdc-table2", "CDC-Cal", "acc")
    assert (found["n"], found["runs"], found["pretrainings"]) == (2, 4, 2)
    assert found["mean"] == pytest.approx((0.91 + 0.82) / 2)
    assert found["sd_within"] == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.02**2) / 2))
    shown = cells.replications(cells.cells_of(measured(place.store, suite.name)))
    assert shown == ["4 seeds on 2 pretrainings"]
    verdicts = results.verdicts("cdc-table2", place.store).filter(
        pl.col("variant") == "Fixed Thre. (0.99)"
    )
    line = verdicts.collect().row(0, named=True)
    assert (line["n"], line["difference"]) == (2, pytest.approx(-0.1))
    assert "over 4 seeds on 2 pretrainings" in line["reason"]


def test_runs_that_collapsed_are_counted_in_their_arm(place):
    place.expand(suites.made_up("cdc", "random-init", False), ["digits"], 3)
    place.finish("full", acc=[0.9, 0.8, 0.1], ece=[0.1] * 3, collapsed=[False, False, True])
    place.finish("random-init", acc=[0.5] * 3, ece=[0.2] * 3)
    found = cell(place, "cdc-random-init", "full", "acc")
    assert (found["collapsed"], found["runs"]) == (1, 3)
    assert cell(place, "cdc-random-init", "random-init", "acc")["collapsed"] == 0
    reason = results.verdicts("cdc-random-init", place.store).collect()["reason"][0]
    assert reason.endswith("; 1 run of full collapsed")


def test_time_memory_and_parameters_in_the_papers_units(place):
    place.expand(suites.find("cdc-table7"), ["cifar10"], 1)
    columns = {"seconds": [7200.0], "peak_memory_mb": [512.0], "parameters": [21_800_000]}
    place.finish("time", "cifar10", **columns)
    assert cell(place, "cdc-table7", "time", "hours", "cifar10")["mean"] == 2.0
    assert cell(place, "cdc-table7", "memory", "memory_mb", "cifar10")["mean"] == 512.0
    found = cell(place, "cdc-table7", "parameters", "params_m", "cifar10")
    assert found["mean"] == 21.8
    assert found["protocol_match"] is False  # another device


def test_a_suite_that_is_not_in_the_store(place):
    place.expand(suites.find("cdc-table7"), ["digits"], 1)
    with pytest.raises(InputError, match=r"no suite 'cdc-table8'.*Did you mean 'cdc-table7'"):
        results.cells("cdc-table8", place.store)


def test_an_impossible_row_is_marked(place):
    suite = suites.find("cdc-table9")
    row = dataclasses.replace(suite.rows[0], changes={"mini_clusters": 501})
    place.expand(dataclasses.replace(suite, rows=(row, *suite.rows[1:])), ["digits"], 2)
    found = cell(place, "cdc-table9", row.name, "acc")
    assert found["mark"] == "not possible"
    assert "mini_clusters" in found["reason"]


def test_the_spread_of_a_claim_is_that_of_its_two_rows(place):
    suite = suites.find("cdc-table2")
    claim = next(c for c in suite.claims if (c.row, c.metric) == ("w/o Init.+CDC", "acc"))
    on_cifar10 = asked(suite, "cifar10", claim)
    printed = claims.spread(None, suite, on_cifar10)
    assert printed == pytest.approx((0.006, 0.006))  # Table 10: 94.3 with 0.6
    place.expand(suite, ["cifar10"], 3)
    place.finish("CDC-Cal", "cifar10", acc=[0.90, 0.92, 0.94])  # sd 0.02
    in_store = measured(place.store, suite.name)
    assert claims.spread(in_store, suite, on_cifar10) == pytest.approx((0.006, 0.02))
    table = suites.find("dpac-table3")
    assert claims.spread(None, table, asked(table, "stl10", table.claims[0])) == pytest.approx(
        (0.026, 0.043)  # PAC 2.6, KM 4.3
    )
    assert claims.spread(in_store, suite, asked(suite, "digits", claim)) is None
