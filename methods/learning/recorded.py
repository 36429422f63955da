"""Pieces of a training step that a GPU carries out as one graph, which the host only launches.

A piece computes tensors from tensors, and changes a state in place. What differs from step to step
is a tensor too: an input, or one of its `Numbers`. On a CPU nothing is recorded.
"""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from deep_clustering.methods import _proven
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning.state import Parts, references
from deep_clustering.methods.networks.batchnorm import Counts

#: Calls that are computed plainly at first: they choose kernels and allocate memory.
_WARM = 3
#: Calls after them in which the recorded piece is compared with the plain one. It was recorded with
#: the inputs of the first of these, so that the others show whether it reads its own.
_PROOFS = 3
#: How far what it has changed may be apart, as a share of the change, beside what two plain
#: computations differ by. A number or an input of another step is off by more.
_APART = 0.05
_NOISE = 10.0
#: How far two plain computations may be apart over all of the state, as a share of its change. A
#: piece with a number of its own that moves at every call does not agree with itself.
_UNLIKE = 0.15

Work = Callable[..., tuple[Tensor, ...]]
#: The tensors that a piece makes, and what does the same once more, into the same ones.
Recording = tuple[tuple[Tensor, ...], Callable[[], None]]
Recorder = Callable[[Callable[[], tuple[Tensor, ...]]], Recording]


def recorder(replicas: Replicas) -> Recorder | None:
    """What records pieces of a step; None where each is computed as it comes.

    Processes that train together are left out: the host of each takes part in their messages.
    """
    if replicas.device.type != "cuda" or replicas.world > 1:
        return None
    device = replicas.device

    def record(work: Callable[[], tuple[Tensor, ...]]) -> Recording:
        gc.collect()  # what only cycles hold would be freed in between
        made, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        with torch.cuda.device(device):
            stream = torch.cuda.Stream(device)
            # Other threads, as one that writes a checkpoint, may use the GPU meanwhile.
            with (
                _left(stream, pool),
                torch.cuda.graph(made, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                outputs = work()
        return outputs, made.replay

    return record


@contextmanager
def _left(stream: torch.cuda.Stream, pool: tuple[int, int]) -> Iterator[None]:
    """Around a recording that may fail: what PyTorch leaves in place then is put in order.

    That is its stream as the current one, and an allocator that waits for the recording to end: it
    would no longer give memory back, and fail where it is asked to.
    """
    with torch.cuda.stream(stream):
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):
                number = torch.cuda.current_device()
                # Refused where the recording came to an end; then the graph gives its memory back.
                torch._C._cuda_endAllocateToPool(number, pool)
                torch._C._cuda_releasePool(number, pool)
            raise


class Numbers:
    """Numbers that change from step to step, such as a learning rate.

    Where steps are recorded each is a 0-d tensor that stays where it is, so that a recorded step
    reads what it is now; elsewhere it is the number itself.
    """

    def __init__(self, device: torch.device, recorded: bool) -> None:
        self._device, self._recorded = device, recorded
        self._values: dict[str, float | Tensor] = {}

    def set(self, **values: float) -> None:
        """What they are from here on."""
        for name, value in values.items():
            known = self._values.get(name)
            if isinstance(known, Tensor):
                known.fill_(value)
            elif self._recorded:
                self._values[name] = torch.tensor(value, device=self._device)
            else:
                self._values[name] = value

    def __getitem__(self, name: str) -> float | Tensor:
        return self._values[name]


class Recorded:
    """A piece of a step: computed as it stands, or replayed on a GPU once that has proven itself.

    The first calls compute it plainly. Then it is recorded, and in the next calls computed plainly
    twice and replayed once, each time from the same state and inputs. It is replayed from then on
    if it changes the state and makes its results as the plain one does, as closely as that agrees
    with itself. If it fails or differs, one warning says so, the plain results of that call stand,
    and all later calls are plain.

    Args:
        name: for the warning.
        work: tensors to tensors; it changes nothing but the `state`, in place.
        state: all modules and optimisers of the learner, whatever else it returns.
        record: see `recorder`.
    """

    def __init__(
        self, name: str, work: Work, state: Callable[[], Parts], record: Recorder | None
    ) -> None:
        self.name = name
        self._work, self._state, self._record = work, state, record
        self._calls = 0
        self._refused = record is None
        self._tape: _Tape | None = None

    @property
    def form(self) -> str:
        """How the next call is computed: "plain", "plain so far", "in proof" or "replayed"."""
        if self._refused or not _proven.allowed():
            return "plain"
        if self._calls < _WARM:
            return "plain so far"
        return "in proof" if self._calls < _WARM + _PROOFS else "replayed"

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        form = self.form
        if form == "plain" or (self._tape is not None and not self._tape.takes(inputs)):
            return self._work(*inputs)
        self._calls += 1
        if form == "plain so far":
            return self._work(*inputs)
        if form == "replayed" and self._tape is not None:
            return self._tape.replayed(inputs)
        return self._in_proof(inputs)

    def _in_proof(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The results of a call, of the replay if that is right."""
        modules, optimisers, _ = self._state()
        held, counts = references(modules, optimisers), Counts(modules.values())
        before = _copies(held)
        results = self._work(*inputs)
        after, counted = _copies(held), counts.read()
        try:
            if self._tape is None:
                assert self._record is not None
                with _capturable(optimisers.values()):
                    self._tape = _Tape(self._work, inputs, counts, self._record)
            _put(held, before)
            twice = self._work(*inputs)
            again = _copies(held)
            _put(held, before)
            replayed = self._tape.replayed(inputs)
            wrong = _differs(
                [*before.values(), *map(torch.zeros_like, results)],
                [*after.values(), *results],
                [*again.values(), *twice],
                [*held.values(), *replayed],
                [*held, *(f"result {i}" for i in range(len(results)))],
            )
        except Exception as error:
            wrong = _cause(error)
        counts.write(counted)
        if wrong is None:
            return replayed
        _put(held, after)
        self._refused, self._tape = True, None
        _proven.warn(self.name, wrong)
        return results


class _Tape:
    """A piece as it was recorded, with the tensors that it reads and writes."""

    def __init__(
        self, work: Work, inputs: Sequence[Tensor], counts: Counts, record: Recorder
    ) -> None:
        self._inputs = [torch.empty_like(x).copy_(x) for x in inputs]
        self._counts, before = counts, counts.read()
        self._outputs, self._again = record(lambda: work(*self._inputs))
        self._counted = [now - then for now, then in zip(counts.read(), before, strict=True)]
        counts.write(before)  # nothing was computed yet

    def takes(self, inputs: Sequence[Tensor]) -> bool:
        """Whether it was recorded for inputs of these shapes."""
        return [(x.shape, x.dtype) for x in inputs] == [(x.shape, x.dtype) for x in self._inputs]

    def replayed(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results, which are the caller's own."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._again()
        self._counts.add(self._counted)
        return tuple(x.clone() for x in self._outputs)


def _cause(error: Exception) -> str:
    """The first of a chain of errors in a line, with its place in the methods.

    A recording that is cut short ends with an error of its own, which says nothing of the reason.
    """
    while isinstance(error.__context__, Exception):
        error = error.__context__
    folder = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    places = [x for x in frames if Path(x.filename).is_relative_to(folder)]
    if not places:
        return _proven.said(error)
    return f"{_proven.said(error)}, at {Path(places[-1].filename).name}:{places[-1].lineno}"


@contextmanager
def _capturable(optimisers: Iterable[torch.optim.Optimizer]) -> Iterator[None]:
    """Inside, optimisers of which that has to be said may be recorded; said always, they warn."""
    groups = [group for x in optimisers for group in x.param_groups if "capturable" in group]
    before = [group["capturable"] for group in groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value


@torch.no_grad()
def _copies(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in held.items()}


@torch.no_grad()
def _put(held: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, x in held.items():
        x.copy_(values[name])


@torch.no_grad()
def _differs(
    before: Sequence[Tensor],
    plain: Sequence[Tensor],
    again: Sequence[Tensor],
    replayed: Sequence[Tensor],
    names: Sequence[str],
) -> str | None:
    """What is wrong with replayed tensors, given two plain computations of them."""

    def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[float]:
        apart = [(a.double() - b.double()).norm() for a, b in zip(one, other, strict=True)]
        return torch.stack(apart).tolist() if apart else []

    changes, noises = distance(plain, before), distance(again, plain)
    if math.hypot(*noises) > _UNLIKE * math.hypot(*changes):
        return "computed plainly twice it comes to different results"
    for name, change, noise, off in zip(
        names, changes, noises, distance(replayed, plain), strict=True
    ):
        if not off <= _APART * change + _NOISE * noise:  # NaN is off as well
            return f"{name} is off by {off:.3g} where it changes by {change:.3g}"
    return None
