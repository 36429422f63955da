"""An encoder's passes in training mode as PyTorch's compiler makes them for a GPU.

As an encoder stands, every normalisation, ReLU and sum reads and writes all activations; compiled,
what lies between two convolutions is one program, forward and backward. Weights, buffers and their
names stay where they are. Compiling takes about a minute, so that only what trains for long is
compiled: `pays`. Evaluation never is: its last batch is shorter than the others.

A piece that a GPU replays (`learning.recorded`) is computed plainly at first; that is when the
encoder is compiled. The graph then consists of the compiled programs.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from deep_clustering.methods._proven import Proven, said
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.batchnorm import BatchNorm, Counts

#: Pixels (height times width) of all images in all epochs from which on compiling pays: 163 epochs
#: of CIFAR-10. An estimate: ten minutes of MoCo with a ResNet-34 for a minute or two of compiling,
#: where a step becomes a fifth faster. `tests/benchmarks/gpu.py --only data,compiled` measures it.
LONG = 10**10
#: How far a tensor of the compiled pass may be from float32, in terms of how far the plain one is,
#: and as a share of its norm beside that. In float32 two right passes of a ResNet-34 have gradients
#: that are 1 % apart, as some ReLUs let through what others do not.
_NOISE = 2.0
_APART = 0.05
#: By how much the compiled pass may have more or less than the plain one of what float32 has: of
#: each tensor, and of all gradients together. bfloat16 leaves the gradients of an untrained
#: ResNet-34 half of what they should be and noise, so that their distance alone says little; of
#: these shares two right passes of 16 images have differed by 0.13, and together by 0.002.
_LEANS = (0.3, 0.05)
#: How names of gradients begin.
_GRADIENT = "gradient of "
#: Compiled passes that are kept, of the cases used last.
_KEPT = 32

#: (network, view (n, 3, S, S)) -> features (n, D).
Pass = Callable[[nn.Module, Tensor], Tensor]
Compile = Callable[[Pass], Pass]


def pays(replicas: Replicas, pixels: int) -> bool:
    """Whether to compile the encoder of a training; the request alone decides, never a clock.

    Processes that train together are left out: the messages of their normalisation would cut the
    network into its layers.

    Args:
        pixels: see `LONG`.
    """
    return replicas.device.type == "cuda" and replicas.world == 1 and pixels >= LONG


def plain(network: nn.Module, view: Tensor) -> Tensor:
    """The pass as the network stands."""
    features: Tensor = network(view)
    return features


def by_inductor(function: Pass) -> Pass:
    """A function as PyTorch compiles it: whole or not at all, for the shapes that it is given."""
    # In this process alone: each of its helpers would take hundreds of MB, and there are as many as
    # cores, for each lane. Programs whose sums depend on it are not chosen by their time.
    options: dict[str, str | int | bool | Callable[..., object]] = {
        "compile_threads": 1,
        "deterministic": True,
    }
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def compiled(compile_: Compile) -> Proven[[nn.Module, Tensor], Tensor]:
    """A pass in training mode, compiled where it agrees with the plain one.

    Networks of the same layers share what is compiled, those of later runs too. If it fails or
    differs for one of them, no pass of such layers is compiled from then on.
    """

    @lru_cache(maxsize=_KEPT)
    def made(case: Hashable) -> Pass:
        def passed(network: nn.Module, view: Tensor) -> Tensor:
            features: Tensor = network(view)
            return features

        # The compiler keeps what it makes with the code of a function, and makes only so much.
        passed.__code__ = passed.__code__.replace()
        return compile_(passed)

    def fast(network: nn.Module, view: Tensor) -> Tensor:
        counts = Counts([network])
        before = counts.read()
        features = made(_case(network, view))(network, view)
        counts.write([count + 1 for count in before])
        return features

    return Proven(
        "the encoder",
        fast=fast,
        plain=plain,
        case=_case,
        differs=partial(differs, fast),
        together=lambda network, view: (_layers(network), view.device),
    )


def differs(fast: Pass, network: nn.Module, view: Tensor) -> str | None:
    """What is wrong with features, gradients and running statistics of a fast pass of a view.

    Both passes are compared with one in float32. The network is left as it was.
    """
    try:
        with _float32(view.device):
            exact = _tried(plain, network, view)
        expected, found = _tried(plain, network, view), _tried(fast, network, view)
    except torch.OutOfMemoryError as error:  # the pass in float32 takes more than the training
        return said(error)
    finally:
        torch.clear_autocast_cache()  # of weights whose gradients have been taken here
    return wrong(exact, expected, found)


def wrong(
    exact: dict[str, Tensor], expected: dict[str, Tensor], found: dict[str, Tensor]
) -> str | None:
    """What is wrong with tensors of a fast pass, given those of a plain one and float32's."""
    shares, energies = [], []
    for name, numbers in _compared(exact, expected, found).items():
        size, noise, off, lean = numbers
        if not off <= _NOISE * noise + _APART * size:  # NaN is off as well
            return f"its {name} is off by {off:.3g} where it is {size:.3g} long"
        if abs(lean) > _LEANS[0] * size**2:
            return f"its {name} is off by {lean / size**2:+.0%} of what it should be"
        if name.startswith(_GRADIENT):
            shares.append(lean)
            energies.append(size**2)
    if abs(sum(shares)) > _LEANS[1] * sum(energies):
        return f"its gradients are off by {sum(shares) / sum(energies):+.0%} of what they should be"
    return None


def _compared(
    exact: dict[str, Tensor], expected: dict[str, Tensor], found: dict[str, Tensor]
) -> dict[str, list[float]]:
    """Norm, distances of the plain and the fast tensor, and what of it the fast one has more."""
    rows = []
    for name, x in exact.items():
        x, plainly, fast = (t.float().flatten() for t in (x, expected[name], found[name]))
        rows += [x.norm(), (plainly - x).norm(), (fast - x).norm(), (fast - plainly) @ x]
    numbers: list[list[float]] = torch.stack(rows).view(-1, 4).tolist()
    return dict(zip(exact, numbers, strict=True))


@contextmanager
def _float32(device: torch.device) -> Iterator[None]:
    """Inside, networks compute in float32, without TF32's shorter numbers."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _tried(form: Pass, network: nn.Module, view: Tensor) -> dict[str, Tensor]:
    """Features, how running statistics move, and the gradients of a sum of the features."""
    counts = Counts([network])
    counted = counts.read()
    buffers = {name: x for name, x in network.named_buffers() if x.is_floating_point()}
    before = {name: x.clone() for name, x in buffers.items()}
    try:
        features = form(network, view)
        found = {"features": features.detach()}
        found |= {f"change of {name}": x - before[name] for name, x in buffers.items()}
        if features.requires_grad:
            taught = {n: p for n, p in network.named_parameters() if p.requires_grad}
            factors = 1 + torch.arange(features.numel(), device=features.device).sin()
            total = (features * factors.view(features.shape)).sum()
            gradients = torch.autograd.grad(total, list(taught.values()))
            found |= {f"{_GRADIENT}{n}": x for n, x in zip(taught, gradients, strict=True)}
        return found
    finally:
        counts.write(counted)
        with torch.no_grad():
            for name, x in buffers.items():
                x.copy_(before[name])


def _case(network: nn.Module, view: Tensor) -> Hashable:
    """All that the compiler makes a pass for."""
    kind = view.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    layers = (x.momentum for x in network.modules() if isinstance(x, BatchNorm))
    gradients = torch.is_grad_enabled(), any(p.requires_grad for p in network.parameters())
    return _layers(network), view.device, view.shape, view.dtype, low, gradients, next(layers, None)


_KNOWN: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def _layers(network: nn.Module) -> str:
    """The layers of a network in words, which do not change."""
    if network not in _KNOWN:
        _KNOWN[network] = repr(network)
    return _KNOWN[network]


#: What `encoders.features_of` uses.
COMPILED = compiled(by_inductor)
