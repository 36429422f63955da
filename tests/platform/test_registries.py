"""What holds of every entry of every registry; a new file is covered without a change here."""

from pathlib import Path

import pytest

from deep_clustering.methods._method import Later, Method, Pretrain
from deep_clustering.platform import registry
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.evaluation.contract import Evaluation
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.request import configs
from deep_clustering.platform.suites import suites

METHODS = registry.names("methods")


def test_how_many_entries_are_found() -> None:
    """A wrong path would pass the tests below as an empty loop."""
    assert len(METHODS) >= 10
    assert len(CATALOGUE) >= 15
    assert len(METRICS) >= 28
    assert len(suites.known()) >= 27
    assert contract.names() == ["attack", "clean", "ood"]
    assert len(registry.names("search_spaces")) >= 8
    for kind in ("methods", "search_spaces", "ablations"):
        files = (Path(__file__).parents[2] / kind).glob("[a-z]*.py")
        assert registry.names(kind) == sorted(file.stem for file in files)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_complete(name: str) -> None:
    method = registry.method(name)
    assert isinstance(method, Method)
    assert 10 < len(method.summary) < 120
    assert method.version >= 1
    assert (method.fit is None) != (method.build is None)
    config = method.config()
    assert configs.build(method.config, configs.flatten(config)) == config


def test_what_a_method_imports_later_is_there() -> None:
    later = [
        function
        for name in METHODS
        for record in [registry.method(name)]
        for function in (
            record.build,
            record.restore,
            record.fit,
            *(need.build for need in record.needs if isinstance(need, Pretrain)),
        )
        if isinstance(function, Later)
    ]
    assert len(later) >= 12
    for function in later:
        assert callable(function.find()), function.where


@pytest.mark.parametrize("name", registry.names("search_spaces"))
def test_a_search_space_has_fields_of_its_method(name: str) -> None:
    space = registry.space(name)
    assert len(space) >= 1
    assert set(space) <= set(configs.fields(registry.method(name).config))


@pytest.mark.parametrize("name", contract.names())
def test_an_evaluation_is_complete(name: str) -> None:
    evaluation = contract.find(name)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.version >= 1
