"""The variants and suites as data, for every file in `ablations/`."""

import functools

import pytest
import torch

from deep_clustering.ablations import _published, cdc
from deep_clustering.ablations._absent import ABSENT
from deep_clustering.ablations._suite import Claim, Row, Suite, axis, grid
from deep_clustering.ablations._variants import Times, Variant, applied, combined, flat, variants
from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.platform import registry
from deep_clustering.platform.suites import suites
from deep_clustering.platform.suites import variants as declared
from support import trials

METHODS = [name for name in registry.names("ablations") if declared.variants(name)]
SUITES = list(suites.known().values())


def test_what_there_is():
    assert {"cdc", "dpac", "ruc"} <= set(METHODS)
    names = [suite.name for suite in SUITES]
    tables = [f"cdc-table{i}" for i in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)]
    assert [n for n in names if n.startswith("cdc")] == [
        *tables, *(f"cdc-fig{i}" for i in (1, 3, 4, 5, 7, 8, 9, 11)),
    ]  # fmt: skip
    parts = ("table2", "table3", "table4", "table5a", "table5b", "table5c", "table6", "table7")
    assert [n for n in names if n.startswith("dpac")] == [
        *(f"dpac-{part}" for part in parts), "dpac-fig1", "dpac-fig2",
    ]  # fmt: skip
    tables = [f"ruc-table{i}" for i in (1, 2, 3, 5)]
    assert [n for n in names if n.startswith("ruc")] == [
        *tables, *(f"ruc-fig{i}" for i in (3, 4, 5, 9, 10, 11, 12)),
    ]  # fmt: skip
    of_others = {n for n in names if "-cdc-table" in n}
    assert of_others == {
        f"{method}-cdc-table{i}"
        for method, tables in {
            "cc": (1, 4, 10, 11, 14, 15),
            "scan": (1, 4, 10, 11, 12, 14, 15),
            "secu": (1, 4, 14, 15),
            "spice": (1, 4, 14, 15),
        }.items()
        for i in tables
    }
    assert {"single-head", "no-stop-gradient", "fixed-threshold", "random-init"} <= set(
        cdc.VARIANTS
    )


def test_every_table_and_figure_is_a_suite_or_says_why_it_is_none():
    there = {suite.name for suite in SUITES}
    tables = {"cdc": range(1, 16), "dpac": [1, 2, 3, 4, "5a", "5b", "5c", 6, 7], "ruc": range(1, 6)}
    figures = {"cdc": range(1, 12), "dpac": range(1, 3), "ruc": range(1, 14)}
    wanted = {f"{paper}-table{i}" for paper, numbers in tables.items() for i in numbers}
    wanted |= {f"{paper}-fig{i}" for paper, numbers in figures.items() for i in numbers}
    assert wanted <= there | ABSENT.keys()
    assert ABSENT.keys() <= wanted - there


@pytest.mark.parametrize("method", METHODS)
def test_every_variant_changes_the_configuration_and_names_its_source(method):
    config = registry.method(method).config()
    before = flat(config)
    for variant in declared.variants(method).values():
        changed = flat(applied(config, variant.changes))
        assert changed != before, variant.name
        assert {k for k in before if before[k] != changed[k]} <= set(variant.changes)
        assert variant.source


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
def test_every_printed_row_that_a_suite_answers_to_is_in_the_paper(suite):
    if suite.table is None:
        return
    printed = _published.cells(*suite.table)
    for row in suite.rows:
        if row.printed is None:
            continue
        size = len(row.printed)
        found = [c for c in printed if (c.section, c.method, c.setting)[:size] == row.printed]
        assert found, f"{row.name}: no printed row {row.printed}"
        assert {c.dataset for c in found} <= set(suite.datasets)
        only = all(c.statistic == "delta" for c in printed)  # CDC's Table 13
        assert {c.metric for c in found if only or c.statistic != "delta"} & set(suite.metrics)
    metrics = {c.metric for c in printed}
    assert set(suite.metrics) <= metrics | {"mean_confidence"}


def test_the_claims_about_cdc_agree_in_sign_with_what_is_printed_for_most_data_sets():
    # A claim that points the wrong way everywhere is a slip of the file, not of the paper.
    from deep_clustering.platform.suites.claims import asked, published_difference

    for suite in SUITES:
        for claim in suite.claims:
            every = [one for one in asked(suite, suite.datasets) if one.claim is claim]
            signs = [published_difference(suite, one) for one in every]
            known = [s for s in signs if s is not None]
            if known and claim.direction != "equal":
                right = [s > 0 if claim.direction == "higher" else s < 0 for s in known]
                assert any(right), (suite.name, claim)


@pytest.mark.ray
def test_a_step_of_every_cdc_variant_differs_from_the_full_method():
    @functools.cache
    def full(start):
        return outcome(initialisation=start)

    def outcome(**changes):
        # ten starts, and filters that a model this small has something to admit to
        plain = {"kmeans_restarts": 10, "filter_floor": 0.0, "gsf_score": 0.0}
        model = trials.cdc(trials.config(**plain | changes))
        model.initialise()
        for batch in trials.batches(32, 2):
            model.step(batch)
        return torch.cat([t.flatten().double() for t in model.model_state().values()])

    same = []
    for name, variant in cdc.VARIANTS.items():
        # The quick start, except where the start is what the variant changes.
        start = "prototype" if "initialisation" in variant.changes else "random"
        more = {"focal_warmup": 0} if name == "focal-loss" else {}
        other = outcome(**{"initialisation": start} | variant.changes | more)
        if other.shape == full(start).shape and torch.equal(other, full(start)):
            same.append(name)
    assert same == ["untrained"]  # it differs in how many steps there are


def test_a_misspelt_field_or_value_stops_the_import():
    def row(**changes):
        return Variant(name="x", changes=changes, source="here")

    with pytest.raises(ValueError, match=r"no field 'stop_gradent'. Did you mean 'stop_gradient'"):
        variants(CDCConfig, row(stop_gradent=False))
    with pytest.raises(ValueError, match="x: heads: must be one of"):
        variants(CDCConfig, row(heads="triple"))
    with pytest.raises(ValueError, match="x: is there twice"):
        variants(CDCConfig, row(heads="single"), row(heads="single"))


def test_relative_values():
    config = CDCConfig(batch_size=1000, mini_clusters=500, head_lr=0.5)
    assert applied(config, {"mini_clusters": Times(factor=0.8)}).mini_clusters == 400
    assert (
        applied(config, {"mini_clusters": Times(factor=1, of="batch_size")}).mini_clusters == 1000
    )
    assert applied(config, {"head_lr": Times(factor=0.5)}).head_lr == 0.25
    nested = applied(config, {"pretrain.epochs": 60})
    assert nested.pretrain.epochs == 60
    with pytest.raises(ValueError, match="factor: must be above 0, got 0"):
        Times(factor=0)


def test_variants_combine_unless_they_contradict_each_other():
    there = cdc.VARIANTS
    assert combined([there["single-head"], there["random-init"]]) == {
        "heads": "single", "initialisation": "random",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"set fixed_threshold to 0.95 and to 0.9"):
        combined([there["fixed-threshold"], there["fixed-threshold-90"]])


def test_grids_and_suites_check_themselves():
    found = grid(B=axis("batch_size", {"a": 1, "b": 2}), K=axis("mini_clusters", {"c": 3}))
    assert found == (
        ("B=a;K=c", {"batch_size": 1, "mini_clusters": 3}),
        ("B=b;K=c", {"batch_size": 2, "mini_clusters": 3}),
    )
    claim = Claim(row="a", against="ful", metric="acc", direction="lower", margin=0.01)
    with pytest.raises(ValueError, match=r"no row 'ful'. Did you mean 'full'"):
        Suite(
            name="s", title="", method="cdc", datasets=("digits",),
            rows=(Row(name="full"), Row(name="a")), claims=(claim,),
        )  # fmt: skip
    with pytest.raises(ValueError, match="margin: must be above 0"):
        Claim(row="a", against="b", metric="acc", direction="lower", margin=0)
