"""A compiled encoder trains as the plain one, or the plain one goes on.

On the CPU: PyTorch's compiler makes C++ there. Where it takes too long a form stands in for it.
"""

import copy
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deep_clustering.methods._proven import plainly
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning import learner
from deep_clustering.methods.networks import compiled
from deep_clustering.methods.networks.batchnorm import BatchNorm
from deep_clustering.methods.networks.compiled import Compile, Pass
from deep_clustering.methods.networks.encoders import Encoder, autocast, features_of, place
from support import tape, trials

State = dict[str, Tensor]


class Tiny(Encoder):
    """A convolution and a block."""

    dimension = 8

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        alone = Replicas.alone()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, bias=False), BatchNorm(width, replicas=alone)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(width, replicas=alone)
        self.compiles = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        return (self.bn2(self.conv2(x)) + x).relu_().float().mean((2, 3))


def tiny(width: int = 8) -> Tiny:
    torch.manual_seed(0)
    return place(Tiny(width), torch.device("cpu"))  # type: ignore[return-value]


def trained(
    network: Tiny, steps: int = 3, precision: str = "fp32", looks: bool = True
) -> tuple[list[Tensor], State]:
    """Features of two views a step with gradient and before that, if it `looks`, of two without.

    And what the network ends as.
    """
    g = torch.Generator().manual_seed(1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    low, told = autocast(precision, torch.device("cpu")), []
    for _ in range(steps):
        views = torch.randn(2, 12, 3, 8, 8, generator=g)
        with low():
            with torch.no_grad():
                told += [features_of(network, view) for view in views if looks]
            seen = [features_of(network, view) for view in views]
        optimiser.zero_grad()
        (seen[0] * seen[1].square()).mean().backward()
        optimiser.step()
        told += [x.detach() for x in seen]
    return told, network.state_dict()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Compile], None]:
    """What compiles, in place of PyTorch's compiler."""
    return lambda made: monkeypatch.setattr(compiled, "COMPILED", compiled.compiled(made))


# ---- stand-ins


def standing_in(asked: list[Pass]) -> Compile:
    """Compiles nothing, and notes what it is asked to compile."""

    def compile_(function: Pass) -> Pass:
        asked.append(function)
        return function

    return compile_


def test_a_proof_leaves_no_trace_and_networks_of_the_same_layers_share_it(
    use: Callable[[Compile], None],
) -> None:
    plain = tiny()
    plain.compiles = False
    expected, theirs = trained(plain)
    asked: list[Pass] = []
    use(standing_in(asked))
    for _ in range(2):
        told, state = trained(tiny())
        assert all(torch.equal(a, b) for a, b in zip(told, expected, strict=True))
        assert all(torch.equal(state[name], value) for name, value in theirs.items())
        assert list(state) == list(theirs)
        assert int(state["bn1.num_batches_tracked"]) == 12
        assert len(asked) == 2  # with gradient and without
    frozen = copy.deepcopy(tiny()).requires_grad_(False)
    with torch.no_grad():
        features_of(frozen, torch.ones(12, 3, 8, 8))
        assert len(asked) == 3
        features_of(frozen.eval(), torch.ones(12, 3, 8, 8))  # type: ignore[func-returns-value]
        assert len(asked) == 3


def test_a_step_is_recorded_once_its_encoders_are_compiled(
    use: Callable[[Compile], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "recorder", lambda replicas: tape.record)
    with plainly():
        plain = trials.moco()
        expected = trials.stepped(plain, 16, 7)
    asked: list[Pass] = []
    use(standing_in(asked))
    monkeypatch.setattr(learner, "pays", lambda replicas, pixels: True)
    model = trials.moco()
    told = trials.stepped(model, 16, 7)
    assert model.pieces[0].form == "replayed"
    assert len(asked) == 2
    assert all(torch.equal(told[name], value) for name, value in expected.items())
    theirs = plain.state()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state().items())
    assert int(theirs["encoder.bn1.num_batches_tracked"]) == 14


class _Scaled(torch.autograd.Function):
    """The features, whose gradient is 10 % too long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1.1 * gradients[0]


def _lagging(function: Pass) -> Pass:
    def passed(network: nn.Module, view: Tensor) -> Tensor:
        before = network.bn2.running_var.clone()
        features = function(network, view)
        network.bn2.running_var.copy_(before)
        return features

    return passed


def _without_compiler(function: Pass) -> Pass:
    raise RuntimeError("Failed to find C compiler.\nand how to get one")


BROKEN: dict[str, tuple[Compile, str]] = {
    "features": (lambda f: lambda n, x: 1.1 * f(n, x), "its features is off by"),
    "gradients": (lambda f: lambda n, x: _Scaled.apply(f(n, x)), "its gradient of .*conv1.weight"),
    "statistics": (_lagging, "its change of bn2.running_var is off"),
    "nothing": (_without_compiler, "RuntimeError: Failed to find C compiler.\\);"),
    "memory": (lambda f: _full, "OutOfMemoryError: CUDA out of memory"),
}


def _full(network: nn.Module, view: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_wrong_is_refused_once_and_trains_plainly(
    name: str, use: Callable[[Compile], None]
) -> None:
    plain = tiny()
    plain.compiles = False
    expected, theirs = trained(plain)
    make, said = BROKEN[name]
    asked: list[Pass] = []
    use(lambda function: make(standing_in(asked)(function)))
    sentence = f"the fast form of the encoder is not used .{said}"
    with pytest.warns(RuntimeWarning, match=sentence) as caught:
        told, state = trained(tiny())
    assert len(caught) == 1
    before = len(asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(tiny())
    assert len(asked) == before
    assert all(torch.equal(a, b) for a, b in zip(told, expected, strict=True))
    assert all(torch.equal(state[name], value) for name, value in theirs.items())


def test_what_rounding_hides_is_told_by_its_share() -> None:
    g = torch.Generator().manual_seed(0)
    exact = {f"gradient of {i}": torch.randn(1000, generator=g) for i in range(4)}

    def rough(share: float) -> State:
        return {k: share * x + 0.7 * torch.randn(1000, generator=g) for k, x in exact.items()}

    expected, found = rough(0.5), rough(0.5)
    assert compiled.wrong(exact, expected, found) is None
    assert compiled.wrong(exact, exact, exact) is None
    whole = {"gradient of 0": torch.tensor([0.0, 4.0]), "gradient of 1": torch.ones(4)}
    doubled = {name: 2 * x for name, x in whole.items()}
    said = compiled.wrong(whole, whole, doubled)
    assert said == "its gradient of 0 is off by 4 where it is 4 long"
    nothing = found | {"gradient of 2": torch.zeros(1000)}
    said = str(compiled.wrong(exact, expected, nothing))
    assert re.search(r"gradient of 2 is off by -[45]\d% of", said)  # the plain one has a half
    said = str(compiled.wrong(exact, expected, rough(0.6)))
    assert re.search(r"its gradients are off by \+(\d|1\d)% of", said)
    broken = found | {"gradient of 3": torch.full((1000,), torch.nan)}
    assert "gradient of 3 is off by nan" in str(compiled.wrong(exact, expected, broken))


# ---- PyTorch's compiler


def by_tracing(function: Pass) -> Pass:
    """What PyTorch's compiler makes of a function before it writes programs: soon done."""
    return torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")


COMPILER = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


@pytest.mark.ray  # takes seconds
@pytest.mark.parametrize("make", [pytest.param(compiled.by_inductor, marks=COMPILER), by_tracing])
def test_compiled_passes_train_as_plain_ones(
    make: Compile,
    use: Callable[[Compile], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    whole = make is by_tracing  # whose passes without gradient are soon made as well
    precision = "fp32" if whole else "bf16"
    plain = tiny()
    plain.compiles = False
    expected, theirs = trained(plain, precision=precision, looks=whole)
    asked: list[Pass] = []
    use(lambda function: make(standing_in(asked)(function)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        warnings.filterwarnings("error", message="the fast form")
        told, state = trained(tiny(), precision=precision, looks=whole)
        again, _ = trained(tiny(), precision=precision, looks=whole)
    from torch._dynamo.utils import counters

    assert len(asked) == 1 + whole
    assert counters["stats"]["unique_graphs"] == 1 + whole  # no guard failed: none was made anew
    counters.clear()
    assert all(torch.equal(a, b) for a, b in zip(told, again, strict=True))
    apart = 1e-4 if whole else 0.05
    for one, other in zip(told, expected, strict=True):
        assert (one - other).norm() <= apart * other.norm()
    assert list(state) == list(theirs)
    for name, value in theirs.items():
        off = (state[name].float() - value.float()).norm()
        assert off <= apart * value.float().norm(), name
    assert int(state["bn1.num_batches_tracked"]) == (12 if whole else 6)


@pytest.mark.ray  # takes seconds
def test_a_pretraining_with_both_encoders_compiled(
    use: Callable[[Compile], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Pass] = []
    use(lambda function: by_tracing(standing_in(asked)(function)))
    told = []
    for compiles in (False, True):
        monkeypatch.setattr(learner, "pays", lambda replicas, pixels, by=compiles: by)
        model = trials.moco()
        told.append((trials.stepped(model, 16, 4), model.state()))
    (expected, theirs), (losses, state) = told
    assert len(asked) == 2
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-4), name
    for name, value in theirs.items():
        torch.testing.assert_close(state[name], value, rtol=1e-2, atol=1e-4, msg=name)


# ---- when


def test_long_trainings_alone_on_a_gpu_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    cifar = 50_000 * 32**2
    assert compiled.pays(Replicas(0, 1, gpu), 1000 * cifar)
    assert not compiled.pays(Replicas(0, 1, gpu), 100 * cifar)
    assert not compiled.pays(Replicas(0, 2, gpu), 1000 * cifar)
    assert not compiled.pays(Replicas.alone("cpu"), 1000 * cifar)
    asked: list[int] = []

    def noted(replicas: Replicas, pixels: int) -> bool:
        asked.append(pixels)
        return True

    assert not trials.moco()._encoder.compiles
    monkeypatch.setattr(learner, "pays", noted)
    model = trials.moco()
    assert asked == [trials.PRETRAIN.epochs * trials.COUNT * 8**2]
    assert model._encoder.compiles
    assert model._key_encoder.compiles
