"""Spaces in Optuna's terms, and samplers whose proposals depend on nothing they should not."""

import warnings

import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.metrics.objectives import parse_objective
from deep_clustering.platform.search import samplers as d
from deep_clustering.platform.search.proposals import Proposals
from deep_clustering.platform.search.study import Settings
from deep_clustering.search_spaces._space import Choice, Float, Int, Scale
from support.small import resolved

SPACE = {
    "lr": Float(1e-4, 1e-2, log=True),
    "weight": Float(0, 1),
    "batch": Int(250, 750, step=125),
    "regions": Int(8, 80, log=True),
    "threshold": Choice(None, 0.8, 0.95),
}
SAMPLERS = ("tpe", "random", "grid", pytest.param("gp", marks=pytest.mark.ray))


def contains(values):
    return all(
        v in domain.values if isinstance(domain, Choice) else domain.low <= v <= domain.high
        for v, domain in zip(values.values(), SPACE.values(), strict=True)
    ) and list(values) == list(SPACE)


def loss(values):
    return (values["batch"] - 500) ** 2 / 1e5 + values["weight"] + (values["threshold"] is None)


@pytest.fixture(scope="module", autouse=True)
def request_(tmp_path_factory):
    """What is searched plays no part in what is proposed."""
    global REQUEST
    REQUEST = resolved("kmeans", "digits", root=tmp_path_factory.mktemp("data"))


def settings(name, seed=0, space=SPACE, objective="ece"):
    return Settings(
        request=REQUEST,
        space=space,
        objectives=parse_objective(objective),
        sampler=name,
        scheduler="none",
        seeds=(0,),
        seed=seed,
    )


def asked(study, values, space=SPACE):
    """The next trial of a study, with these values."""
    study.enqueue_trial(values)
    trial = study.ask()
    assert d.suggest(trial, space) == values
    return trial


def numbered(study):
    """The trials of a study by number."""
    return dict(enumerate(study.get_trials()))


def search(name, *, order="forward", generation=3, total=18, seed=0, stop=None, study=None):
    """Proposals of a search in batches of trials, which end in some order."""
    study = study or optuna.create_study()
    proposals = Proposals(settings(name, seed), generation)
    proposed = []
    while len(study.get_trials()) < total:
        first = len(study.get_trials())
        if first == stop:
            break
        begun = []
        for number in range(first, first + generation):
            values = proposals.of(number, numbered(study))
            begun.append((asked(study, values), values))
            proposed.append(values)
            if order == "early" and number == first:
                study.tell(begun[0][0], loss(values))
        ended = begun[1:] if order == "early" else begun
        for trial, values in reversed(ended) if order == "backward" else ended:
            study.tell(trial, loss(values))
    return proposed


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def test_translation():
    assert d.distributions(SPACE) == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "weight": FloatDistribution(0.0, 1.0),
        "batch": IntDistribution(250, 750, step=125),
        "regions": IntDistribution(8, 80, log=True),
        "threshold": CategoricalDistribution((None, 0.8, 0.95)),
    }


@pytest.mark.fault(61)
@pytest.mark.parametrize("use", [d.distributions, d.grid, d.grid_size])
def test_an_empty_space_is_refused(use):
    with pytest.raises(InputError, match="search space is empty"):
        use({})
    with pytest.raises(InputError, match="search space is empty"):
        d.make_sampler("tpe", 0, 0, {})


def test_an_unresolved_range_is_refused():
    with pytest.raises(InputError, match="lr: needs a Float, Int or Choice"):
        d.distributions({"lr": Scale(0.1, 10)})


@pytest.mark.parametrize("name", ["tpee", "GRID", "cmaes"])
def test_unknown_samplers_name_the_nearest(name):
    with pytest.raises(InputError, match=f"no sampler '{name}'.*Known: tpe, random, grid, gp"):
        d.check_sampler(name)
    with pytest.raises(InputError):
        d.make_sampler(name, 0, 0, SPACE)
    if name == "tpee":
        with pytest.raises(InputError, match="Did you mean 'tpe'"):
            d.check_sampler(name)


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_lie_in_the_space_and_warn_of_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search(name, total=15)
    assert len(found) == 15
    assert all(contains(values) for values in found)
    assert len({repr(values) for values in found}) > 12


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("tpe", "backward"),
        ("tpe", "early"),
        ("random", "early"),
        ("grid", "early"),
        pytest.param("gp", "early", marks=pytest.mark.ray),
    ],
)
def test_the_order_in_which_trials_end_does_not_matter(name, order):
    assert search(name, order=order, total=15) == search(name, total=15)


@pytest.mark.parametrize("name", ["tpe", "random", "grid"])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(name):
    study = optuna.create_study()
    before = search(name, study=study, stop=9)
    after = search(name, study=study)
    assert before + after == search(name)


@pytest.mark.parametrize("name", ["tpe", "random", "grid"])
def test_seeds_differ(name):
    assert search(name, seed=1, total=6) != search(name, seed=2, total=6)


def test_a_trial_learns_from_earlier_ones():
    """Otherwise independence of the order would be no feat."""
    study = optuna.create_study()
    search("tpe", study=study)
    other = optuna.create_study()
    for trial in study.get_trials():
        other.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=-trial.value
            )
        )
    found = [Proposals(settings("tpe"), 3).of(18, numbered(held)) for held in (study, other)]
    assert found[0] != found[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_several_objectives(name):
    study = optuna.create_study(directions=["maximize", "minimize"])
    proposals = Proposals(settings(name, objective="acc,ece"), 1)
    for number in range(12):
        values = proposals.of(number, numbered(study))
        assert contains(values)
        study.tell(asked(study, values), [values["weight"], values["lr"]])


def test_the_gaussian_process_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search("gp", total=12)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_tpe_takes_over_from_the_gaussian_process():
    made = [d.make_sampler("gp", 0, number, SPACE) for number in (0, 199, 200, 9_999)]
    assert [type(s).__name__ for s in made] == ["_GaussianProcess"] * 2 + ["TPESampler"] * 2
    assert d.described("gp", 200) == "gp"
    assert d.described("gp", 201) == "gp, from trial 200 on tpe"
    assert d.described("tpe", 201) == "tpe"


# --- Grid -------------------------------------------------------------------------------------


@pytest.mark.fault(61)
def test_grid_values_hold_both_ends_and_no_duplicates():
    found = d.grid(SPACE, points=3)
    assert found["lr"] == (1e-4, pytest.approx(1e-3), 1e-2)
    assert found["weight"] == (0.0, 0.5, 1.0)
    assert found["batch"] == (250, 500, 750)
    assert found["regions"] == (8, 25, 80)  # the geometric mean is 25.3
    assert found["threshold"] == (None, 0.8, 0.95)
    assert d.grid_size(SPACE) == 3**5
    assert d.grid({"x": Int(1, 3)}, points=5)["x"] == (1, 2, 3)  # five points do not fit
    assert d.grid({"x": Float(2, 2)}, points=4)["x"] == (2.0,)
    with pytest.raises(InputError, match="at least 2 points"):
        d.grid(SPACE, points=1)


def test_a_grid_visits_every_point_once():
    space = {"a": Int(1, 2), "b": Choice("x", None), "c": Float(0, 1)}
    study = optuna.create_study()
    # The first is a point of the grid, the second is none.
    for values in ({"a": 1, "b": None, "c": 0.5}, {"a": 1, "b": None, "c": 0.4}):
        study.tell(asked(study, values, space), 0.0)
    seen = [repr(t.params) for t in study.get_trials()]
    proposals = Proposals(settings("grid", space=space), 4)
    for number in range(2, 13):
        values = proposals.of(number, numbered(study))
        seen.append(repr(values))
        study.tell(asked(study, values, space), 0.0)
    assert d.grid_size(space) == 12
    assert len(set(seen)) == 13  # 12 points and the one that is none
    # Used up: it begins again rather than stopping a search half-way.
    assert repr(proposals.of(13, numbered(study))) in seen


def test_a_grid_that_nobody_finishes_is_refused():
    space = {f"x{i}": Float(0, 1) for i in range(13)}
    with pytest.raises(InputError, match="1594323 points, more than 1000000"):
        d.make_sampler("grid", 0, 0, space)
