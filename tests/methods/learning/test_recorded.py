"""Steps that are recorded and replayed train as plain ones, or plain ones go on.

A tape stands in for the graphs of a GPU: see `support.tape`.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from deep_clustering.methods._proven import plainly
from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning import learner
from deep_clustering.methods.learning.recorded import Recorded, Recorder, Work
from deep_clustering.methods.learning.state import Parts, pack
from deep_clustering.methods.networks.batchnorm import BatchNorm
from support import tape, trials

Build = Callable[[], Any]

#: In which both versions of CDC's pieces are used, and all that a schedule moves.
MODELS: dict[str, Build] = {
    "MoCo": lambda: trials.moco(replace(trials.PRETRAIN, projector_norm=True)),
    "CDC": lambda: cdc(),
    "CDC, focal": lambda: cdc(
        calibration_loss="focal", focal_warmup=2, selection="flexmatch", stop_gradient=False
    ),
}
OTHERS: dict[str, Build] = {
    "MoCo, one view": lambda: trials.moco(replace(trials.PRETRAIN, symmetric=False)),
    "MoCo, fp16": lambda: trials.moco(replace(trials.PRETRAIN, precision="fp16")),
    "MoCo, bf16": lambda: trials.moco(replace(trials.PRETRAIN, precision="bf16")),
    "CDC, through": lambda: cdc(stop_gradient=False, filter="gsf"),
    "CDC, one head": lambda: cdc(heads="single", selection="freematch"),
    "CDC, joint": lambda: cdc(heads="single-calibrated", filter="ppf", fixed_threshold=0.4),
    "CDC, bf16": lambda: cdc(precision="bf16", weight_decay=1e-3),
}
USED = {"CDC": {"the passes without gradient", "the clustering step", "the calibration step"}}
STEPS = 7  # the last one is replayed whole


def cdc(**changes: Any) -> CDC:
    return trials.cdc(trials.config(initialisation="random", **changes))


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "recorder", lambda replicas: tape.record)


def trained(build: Build) -> tuple[Any, list[dict[str, float]]]:
    """A model after some steps, and what each step said."""
    model = build()
    batches = trials.batches(model.batch_size, STEPS)
    return model, [{k: v.item() for k, v in model.step(x).items()} for x in batches]


@pytest.mark.parametrize(
    "name", [*MODELS, *(pytest.param(name, marks=pytest.mark.ray) for name in OTHERS)]
)
def test_replayed_steps_are_plain_ones_bit_for_bit(name: str, recording: None) -> None:
    build = (MODELS | OTHERS)[name]
    with plainly():
        plain, expected = trained(build)
    model, told = trained(build)
    forms = {piece.name.split(" of ")[0]: piece.form for piece in model.pieces}
    replayed = {name for name, form in forms.items() if form == "replayed"}
    if name == "MoCo":
        assert replayed == {"the step"}
    if name == "CDC":
        assert replayed == USED["CDC"]
    assert replayed
    assert told == expected
    theirs = plain.state()
    for key, value in model.state().items():
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize("name", list(MODELS))
def test_numbers_on_the_device_change_nothing_but_the_last_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, expected = trained(MODELS[name])
    monkeypatch.setattr(learner, "recorder", lambda replicas: tape.record)
    with plainly():  # the numbers are tensors all the same
        model, told = trained(MODELS[name])
    for one, other in zip(told, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    theirs = plain.state()
    for key, value in model.state().items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-5, msg=key)


def test_a_state_that_is_loaded_is_what_a_replayed_step_goes_on_from(recording: None) -> None:
    model, _ = trained(MODELS["MoCo"])
    saved, (indices,) = model.state(), trials.batches(16, 1, seed=5)
    first = model.step(indices)
    model.step(indices)
    model.load_state(saved)
    again = model.step(indices)
    assert model.pieces[0].form == "replayed"
    assert {k: v.item() for k, v in again.items()} == {k: v.item() for k, v in first.items()}


# ---- what goes wrong


class Mean(nn.Module):
    """A running mean of its inputs that moves by a number of Python's, which grows."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.norm = BatchNorm(2, replicas=Replicas.alone())
        self.weight = 0.5

    def follow(self, x: Tensor) -> tuple[Tensor, ...]:
        self.mean.lerp_(self.norm(x).mean(0) + x.mean(0), self.weight)
        return (self.mean.sum().detach(),)


def moving(module: Mean) -> Work:
    def work(x: Tensor) -> tuple[Tensor, ...]:
        module.weight *= 0.5
        return module.follow(x)

    return work


def stepped(module: Mean) -> Work:
    """Its number is that of the input's, as if the host had set it before."""

    def work(x: Tensor) -> tuple[Tensor, ...]:
        module.weight = 1 / (1 + x.numpy().max())
        return module.follow(x)

    return work


def looking(module: Mean) -> Work:
    return lambda x: module.follow(x * float(x.max() > 0))


def misfit(module: Mean) -> Work:
    """Fails in the layer, where it is recorded."""

    def work(x: Tensor) -> tuple[Tensor, ...]:
        recorded = isinstance(_get_current_dispatch_mode(), tape.Tape)
        return module.follow(x[:, :1] if recorded else x)

    return work


def none_left(work: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


def cut_short(work: Callable[[], tuple[Tensor, ...]]) -> Any:
    """Ends as a GPU ends a recording in which something was refused."""
    try:
        return tape.record(work)
    except RuntimeError:
        raise torch.AcceleratorError("operation failed due to a previous error")  # noqa: B904


BROKEN: dict[str, tuple[Callable[[Mean], Work], Recorder, str]] = {
    "a number of its own": (moving, tape.record, "(computed plainly twice|mean.mean is off)"),
    "a number from outside": (stepped, tape.record, "mean.mean is off by .* where it changes by"),
    "a look at a value": (looking, tape.record, "RuntimeError: _local_scalar_dense: operation not"),
    "a look at a value, on a GPU": (looking, cut_short, "RuntimeError: _local_scalar_dense"),
    "a layer that refuses": (misfit, tape.record, r"RuntimeError: .*, at batchnorm.py:\d+"),
    "no memory": (lambda module: module.follow, none_left, "OutOfMemoryError: CUDA out of memory"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_cannot_be_replayed_is_computed_plainly(name: str) -> None:
    make, record, said = BROKEN[name]

    def carried_out(record: Recorder | None) -> tuple[list[float], dict[str, Tensor], Recorded]:
        module = Mean()
        parts: Parts = ({"mean": module}, {}, {})
        piece = Recorded("the piece of a test", make(module), lambda: parts, record)
        g = torch.Generator().manual_seed(0)
        told = [piece(torch.randn(8, 2, generator=g) + 1)[0].item() for _ in range(9)]
        return told, pack(parts[0]), piece

    with pytest.warns(RuntimeWarning, match=f"the piece of a test is not used .{said}") as caught:
        told, state, piece = carried_out(record)
    assert len(caught) == 1
    assert piece.form == "plain"
    if name != "a number of its own":  # which moved on in the proof as well
        expected, theirs, _ = carried_out(None)
        assert told == expected
        assert all(torch.equal(state[key], value) for key, value in theirs.items())


def test_inputs_of_another_shape_are_computed_plainly() -> None:
    module = Mean()
    parts: Parts = ({"mean": module}, {}, {})
    piece = Recorded("the piece of a test", module.follow, lambda: parts, tape.record)
    for _ in range(8):
        piece(torch.ones(4, 2))
    before = module.mean.clone()
    piece(torch.full((6, 2), 9.0))
    assert piece.form == "replayed"
    torch.testing.assert_close(module.mean, before.lerp(torch.full((2,), 9.0), 0.5))
    assert int(pack(parts[0])["mean.norm.num_batches_tracked"]) == 9


def test_without_a_gpu_nothing_is_recorded() -> None:
    model, _ = trained(MODELS["CDC"])
    assert {piece.form for piece in model.pieces} == {"plain"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert learner.recorder(Replicas.alone("cpu")) is None
        assert learner.recorder(Replicas(0, 2, torch.device("cuda"))) is None
    assert learner.recorder(Replicas(0, 1, torch.device("cuda"))) is not None
