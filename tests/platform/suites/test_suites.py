"""Suites by name, from files and from the command line; the runs they share; their plans."""

import dataclasses
import json

import pytest

from deep_clustering.ablations._variants import Times
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.store._plans import united
from deep_clustering.platform.store.store import Plan
from deep_clustering.platform.suites import plans, suites
from support.small import SETS, images, resolved

TOML = """
method = "cdc"
datasets = ["digits"]
seeds = 3

[[rows]]
name = "full"

[[rows]]
name = "small batch"
variants = ["single-head"]
changes = { batch_size = { times = 0.5 }, pretrain = { epochs = 3 } }

[[claims]]
row = "small batch"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
"""


def outlined(tmp_path):
    return lambda name, method, features, base: resolved(
        method, name, root=tmp_path, features=features, base=base, outline="missing"
    )


def test_variants_of_a_method_that_starts_from_a_run_have_a_base():
    suite = suites.made_up("ruc", "metric", False)
    assert suite.base == "scan"  # as in the method's own suites
    other = suites.altered(suite, [], None, None, "cdc epochs=2")
    assert (other.base, other.name != suite.name) == ("cdc epochs=2", True)
    assert suites.altered(suite, [], None, None, "scan") is suite
    with pytest.raises(InputError, match=r"--base: no row of cdc-table2 starts from a run"):
        suites.altered(suites.find("cdc-table2"), [], None, None, "scan")


def test_suites_share_their_runs(tmp_path):
    # Tables 2, 5, 6, 8, 9 and 10 ask for 9 + 9 + 11 + 3 + 5 + 1 trainings on CIFAR-20; the full
    # method is in all six, and in Table 6 twice.
    asked, distinct, stages = 0, set(), set()
    for table in (2, 5, 6, 8, 9, 10):
        suite = suites.find(f"cdc-table{table}")
        found = suites.expand(suite, ["cifar20"], [0], outlined(tmp_path))
        trained = [a for a in found.arms if "untrained" not in a.row.variants]
        trained = [a for a in trained if a.row.name != "MoCo-v2" and a.row.method is None]
        asked += sum(len(arm.runs) for arm in trained)
        distinct |= {job.id for arm in trained for job in arm.runs}
        stages |= {job.id for job in found.wanted.jobs if job.kind == "encoder"}
    assert (asked, len(distinct), len(stages)) == (38, 32, 3)  # SimSiam and BYOL too


def test_rows_of_one_training_are_one_run(tmp_path):
    found = suites.expand(suites.find("cdc-table1"), ["cifar10"], range(2), outlined(tmp_path))
    assert [a.row.name for a in found.arms] == ["MoCo-v2", "CDC-Clu", "CDC-Cal"]
    assert len(found.runs) == 2
    assert {tuple(job.id for job in a.runs) for a in found.arms} == {
        tuple(job.id for job in found.runs)
    }


def test_relative_values_follow_the_data_set(tmp_path):
    suite = suites.find("cdc-table5")
    for dataset, expected in (
        ("cifar20", (1500, 48)),
        ("stl10", (1500, 180)),
        ("digits", (750, 240)),
    ):
        found = suites.expand(suite, [dataset], [0], outlined(tmp_path))
        last = found.arms[-1].runs[0].config
        assert (last["batch_size"], last["mini_clusters"]) == expected


def test_a_row_that_is_not_possible_on_a_data_set_says_why(tmp_path):
    suite = suites.find("cdc-table9")
    row = dataclasses.replace(suite.rows[0], changes={"mini_clusters": 501})
    suite = dataclasses.replace(suite, rows=(row, *suite.rows[1:]))
    found = suites.expand(suite, ["digits"], [0], outlined(tmp_path))
    assert "mini_clusters: must be at most batch_size (500), got 501" in found.arms[0].impossible
    assert not found.arms[0].runs
    assert all(arm.runs for arm in found.arms[1:])
    with pytest.raises(InputError, match="cdc-table9 on digits: mini_clusters"):
        suites.expand(
            dataclasses.replace(suite, rows=(row,), claims=()), ["digits"], [0], outlined(tmp_path)
        )


def test_a_suite_of_ones_own_as_one_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    suite = suites.find(str(path))
    assert (suite.name, suite.seeds, suite.datasets) == ("mine", 3, ("digits",))
    assert suite.rows[1].changes == {"batch_size": Times(factor=0.5), "pretrain.epochs": 3}
    found = suites.expand(suite, suite.datasets, range(3), outlined(tmp_path))
    config = found.arms[1].runs[0].config
    assert (config["batch_size"], config["heads"]) == (250, "single")
    assert config["pretrain.epochs"] == 3

    script = tmp_path / "mine.py"
    script.write_text(
        "from deep_clustering.ablations._suite import Row, Suite\n"
        "SUITE = Suite(name='other', title='x', method='cdc', datasets=('digits',),\n"
        "    rows=(Row(name='full'), Row(name='wide', changes={'hidden': 99})))\n"
    )
    assert suites.find(str(script)).rows[1].changes == {"hidden": 99}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"single-head"', '"singel-head"', "no variant 'singel-head'. Did you mean 'single-head'?"),
        ("batch_size", "batch_siz", "no field 'batch_siz'. Did you mean 'batch_size'?"),
        ('metric = "acc"', 'metric = "akc"', "no metric 'akc'. Did you mean 'acc'?"),
        ('against = "full"', 'against = "ful"', "no row 'ful'. Did you mean 'full'?"),
        ('"lower"', '"downwards"', "must be one of higher, lower, equal; got 'downwards'"),
        ("seeds = 3", "seed = 3", "no key 'seed'. Did you mean 'seeds'?"),
        ('method = "cdc"', 'method = "cdd"', "no method 'cdd'. Did you mean 'cdc'?"),
        ('method = "cdc"', "", "'method' is missing."),
        ("seeds = 3", "seeds = ", "is not TOML"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_name_the_nearest(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(InputError) as caught:
        suites.find(str(path))
    assert message in str(caught.value)


def test_what_is_not_there():
    with pytest.raises(InputError, match=r"no suite 'cdc-tabel2'. Did you mean 'cdc-table2'"):
        suites.find("cdc-tabel2")
    with pytest.raises(InputError, match=r"there is no file nowhere.toml"):
        suites.find("nowhere.toml")


def test_variants_on_the_command_line():
    suite = suites.made_up("cdc", "single-head, random-init, single-head+random-init", False)
    assert [row.name for row in suite.rows] == [
        "full", "single-head", "random-init", "single-head+random-init",
    ]  # fmt: skip
    assert {(c.row, c.metric, c.direction) for c in suite.claims if c.row == "single-head"} == {
        ("single-head", "acc", "lower"), ("single-head", "ece", "higher"),
    }  # fmt: skip
    out = suites.made_up("cdc", None, True)
    assert [row.name for row in out.rows] == [
        "full", "random-init", "fixed-threshold", "single-head", "no-stop-gradient", "no-entropy",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no variant 'singlehead'. Did you mean 'single-head'"):
        suites.made_up("cdc", "singlehead", False)
    with pytest.raises(InputError, match=r"they set fixed_threshold to"):
        suites.made_up("cdc", "fixed-threshold+fixed-threshold-90", False)
    with pytest.raises(InputError, match="say which suite or variants"):
        suites.made_up("cdc", None, False)


def test_fields_set_by_hand_make_another_suite():
    suite = suites.find("cdc-table2")
    assert suites.altered(suite, [], None, None) is suite
    other = suites.altered(suite, ["epochs=2"], None, None)
    assert other.name.startswith("cdc-table2.")
    assert other.mismatch == "set by hand: epochs=2"
    assert suites.altered(suite, ["epochs=3"], None, None).name != other.name


# ---- plans


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = images(tmp_path_factory.mktemp("images"))
    root = tmp_path_factory.mktemp("data")

    def expand(seeds, *sets, **changes):
        suite = suites.made_up("cdc", "random-init", False)
        return suites.expand(
            dataclasses.replace(suite, **changes),
            [f"folder:{folder}"],
            range(seeds),
            lambda name, method, features, base: resolved(
                method, name, root=root, sets=[*SETS, *sets]
            ),
        )

    return expand


def joined(*plans):
    """As the store keeps and joins them."""
    return united(Plan.from_json(json.loads(json.dumps(plan.as_json()))) for plan in plans)


def test_the_same_command_again_adds_nothing_to_the_plan(small):
    first = plans.plan_of(small(2), Plan(), "2026-01-01T00:00", "platform ablate")
    again = plans.plan_of(small(2), first, "2026-01-02T00:00", "platform ablate")
    assert again == first
    now = plans.current(first)
    assert [(run.variant, run.seed) for run in now.runs] == [
        ("full", 0), ("full", 1), ("random-init", 0), ("random-init", 1),
    ]  # fmt: skip
    assert now.remarks == []


def test_seeds_that_were_added_later_are_said(small):
    first = plans.plan_of(small(2), Plan(), "2026-01-01T00:00", "a")
    more = joined(first, plans.plan_of(small(3), first, "2026-01-02T00:00", "b"))
    now = plans.current(more)
    assert len(now.runs) == 6
    assert len(now.remarks) == 1
    assert "seeds were added after the first results; verdicts allow for that" in now.remarks[0]


def test_a_changed_configuration_never_shares_a_cell_with_the_old_one(small):
    first = plans.plan_of(small(3), Plan(), "2026-01-01T00:00", "a")
    new = small(2, "hidden=14")
    plan = joined(first, plans.plan_of(new, first, "2026-01-02T00:00", "b"))
    now = plans.current(plan)
    assert {run.run_id for run in now.runs} == {job.id for job in new.runs}
    # and back again: the old ones count, all three seeds of them
    back = joined(plan, plans.plan_of(small(2), plan, "2026-01-03T00:00", "c"))
    old = {job.id for job in small(3).runs}
    assert set(plans.current(back).run_ids) == old


def test_another_pretraining_adds_runs_to_a_row_and_replaces_none(small):
    first = plans.plan_of(small(2), Plan(), "2026-01-01T00:00", "a")
    new = small(2, "pretrain.seed=7")
    both = joined(first, plans.plan_of(new, first, "2026-01-02T00:00", "b"))
    now = plans.current(both)
    full = [run for run in now.runs if run.variant == "full"]
    assert [(run.variant, run.pretraining, run.seed) for run in full] == [
        ("full", 5, 0), ("full", 5, 1), ("full", 7, 0), ("full", 7, 1),
    ]  # fmt: skip
    again = plans.plan_of(new, both, "2026-01-03T00:00", "c")
    assert joined(both, again).runs == both.runs


def test_the_seed_of_a_pretraining_is_no_setting():
    suite = suites.find("cdc-table2")
    assert suite.replicate == "pretraining"
    assert suites.altered(suite, ["pretrain.seed=none"], None, None) is suite
    assert suites.altered(suite, ["pretrain.seed=3"], None, None) is suite
    other = suites.altered(suite, ["pretrain.seed=3", "epochs=2"], None, None)
    assert other.mismatch == "set by hand: epochs=2"


def test_a_base_gives_its_pretraining_to_the_run(tmp_path):
    suite = suites.find("ruc-table2")

    def runs(replicate):
        expansion = suites.expand(
            suite, ["digits"], range(3),
            lambda name, method, features, base: resolved(
                method, name, root=tmp_path, outline="missing", base=base, replicate=replicate
            ),
        )  # fmt: skip
        plan = plans.plan_of(expansion, Plan(), "2026-01-01T00:00", "a")
        first = suite.rows[0].name
        return [r.pretraining for r in plans.current(plan).runs if r.variant == first]

    assert runs("pretraining") == [0, 1, 2]
    assert runs(None) == [0, 0, 0]  # three seeds of RUC on three of SCAN on one pretraining


def test_a_margin_that_changed_is_said_and_the_newest_counts(small):
    first = plans.plan_of(small(2), Plan(), "2026-01-01T00:00", "a")
    claims = tuple(dataclasses.replace(c, margin=0.2) for c in plans.current(first).suite.claims)
    second = plans.plan_of(small(2, claims=claims), first, "2026-01-02T00:00", "b")
    now = plans.current(joined(first, second))
    assert {c.margin for c in now.suite.claims} == {0.2}
    assert now.remarks == ["the suite's rows, claims or margins changed after it was first run"]
    said = plans.plan_of(small(2, note="other words"), first, "2026-01-02T00:00", "b")
    assert plans.current(joined(first, said)).remarks == []


def test_a_plan_and_its_records_are_inverse(small):
    first = plans.plan_of(small(2), Plan(), "2026-01-01T00:00", "a")
    stored = json.loads(json.dumps(first.as_json()))
    records = plans.SuitePlan.of(Plan.from_json(stored))
    assert records.as_plan().as_json() == stored
    assert plans.SuitePlan.of(records.as_plan()) == records
    assert [run.variant for run in records.runs] == ["full", "full", "random-init", "random-init"]
    odd = plans.SuitePlan(
        impossible=(plans.Impossible(variant="full", dataset="digits", reason="too few images"),),
        datasets=("digits",),
    )
    assert plans.SuitePlan.of(odd.as_plan()) == odd


def test_rows_of_a_strategy_have_it_whatever_the_preset_says(tmp_path):
    for name in ("ruc-table3", "ruc-table5"):
        found = suites.expand(suites.find(name), ["digits"], [0], outlined(tmp_path))
        assert [arm.runs[0].config["strategy"] for arm in found.arms] == [
            "confidence", "metric", "hybrid",
        ]  # fmt: skip


def test_a_definition_survives_the_store():
    for suite in suites.known().values():
        plain = json.loads(json.dumps(plans.definition(suite)))
        assert plans.restored(plain) == dataclasses.replace(suite, seeds=5)
        assert plans.definition(plans.restored(plain)) == plain


def test_a_definition_of_the_first_release_is_read():
    suite = suites.find("cdc-table15")
    plain = plans.definition(suite)
    things = plain.pop("evaluations")
    assert plans.restored({**plain, "ood": things["ood"]}).evaluations == suite.evaluations
    assert plans.restored({**plain, "ood": []}).evaluations == {}
