"""Attacks: against an analytic gradient, their bounds, and what is kept of them."""

from pathlib import Path

import polars as pl
import pytest
import torch

from deep_clustering.platform import results
from deep_clustering.platform.cli import cli
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluations.attack import attacked
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store
from support.evaluations import evaluated
from support.small import Watcher, jobs, place, request

G = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(3, 12, generator=G)
VIEW = torch.randn(6, 3, 2, 2, generator=G)
OWN = torch.tensor([0, 1, 2, 0, 1, -1])


def logits(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1) @ WEIGHT.T


def test_fgsm_goes_along_the_analytic_gradient() -> None:
    """Of the cross-entropy of a linear model: (p - onehot) W; the last image is left alone."""
    p = logits(VIEW).softmax(1)
    p[torch.arange(5), OWN[:5]] -= 1
    expected = VIEW + 0.1 * (p @ WEIGHT).sign().view_as(VIEW)
    found = attacked(logits, VIEW, OWN, eps=0.1)
    torch.testing.assert_close(found[:5], expected[:5])
    assert torch.equal(found[5], VIEW[5])


def test_bounds_and_special_cases() -> None:
    assert torch.equal(attacked(logits, VIEW, OWN, eps=0.0), VIEW)
    for whole in (False, True):
        found = attacked(logits, VIEW, OWN, eps=0.2, steps=5, whole=whole)
        assert float((found - VIEW).abs().max()) <= 0.2 + 1e-6
    one = attacked(logits, VIEW, OWN, eps=0.2, steps=1, whole=True)
    assert torch.equal(one, attacked(logits, VIEW, OWN, eps=0.2))
    black, white = torch.full((3, 2, 2), -1.0), torch.full((3, 2, 2), 1.0)
    inside = VIEW.clamp(-1, 1)
    found = attacked(logits, inside, OWN, eps=0.1, border=(black, white))
    assert float((found - inside).abs().max()) <= 0.2 + 1e-6  # twice as many normalised units
    assert float(found.abs().max()) <= 1.0


@pytest.fixture(scope="module")
def made(folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    store = Store.open(tmp_path_factory.mktemp("attacked"))
    lane = place(store)
    wanted = jobs(request(folder, root), 0)
    for job in wanted:
        execute(job, lane, Watcher())
    return store, wanted[-1].id


def test_a_curve_of_a_run(made: tuple[Store, str], root: Path) -> None:
    store, run = made
    before = store.model_path(run).read_bytes()
    fgsm, bim = evaluated("attack", store, run, ("fgsm", "bim"), root=root)
    assert fgsm["attack_eps"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert bim["attack_eps"] == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert fgsm["attack_accuracy"] == store.run_row(run)["acc"]
    for row in (fgsm, bim):
        accuracies, drops = row["attack_accuracies"], row["attack_drops"]
        assert isinstance(accuracies, list)
        assert isinstance(drops, list)
        assert drops == [row["attack_accuracy"] - a for a in accuracies]
        assert row["attack_drop"] == pytest.approx(sum(drops) / 5)
        assert min(drops) >= 0
    assert fgsm["attack_drop"] > 0
    assert store.model_path(run).read_bytes() == before


def test_an_unknown_attack_names_the_nearest(made: tuple[Store, str], root: Path) -> None:
    with pytest.raises(InputError, match=r"no attack 'fgsn'. Did you mean .fgsm'"):
        evaluated("attack", *made, ("fgsn",), root=root)


def test_parameters_are_options_of_their_evaluation(
    made: tuple[Store, str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run = made
    words = ["evaluate", run[:10], f"--store={store.uri}", f"--data={root}", "--eps=0.25"]
    with pytest.raises(InputError, match="--eps belongs to --attack; say --attack fgsm"):
        cli.main([*words], standalone_mode=False)
    cli.main([*words, "--eps=0.5", "--attack=fgsm"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "fgsm eps=0.25,0.5" in shown
    stages = results.stages(store.uri).filter(pl.col("attack_name") == "fgsm eps=0.25,0.5")
    assert stages.collect()["attack_eps"].to_list() == [[0.25, 0.5]]
