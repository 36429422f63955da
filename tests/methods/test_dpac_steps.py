"""DPAC's joint step, several times over, against one written from the formulas in float64.

The reference shares nothing with the project but the views: convolutions, batch normalisation,
targets, losses and Adam are written out below, from Eqs. 9 to 12 of the paper and the definitions
of the layers.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods.dpac import METHOD
from support import dpac_trials, trials

BATCH, STEPS = 32, 3
STRIDES = {"conv1": 1, "conv2": 2, "conv3": 2}


class Reference:
    """The networks as a dictionary of tensors, and Adam's two moments of each."""

    def __init__(self, state: dict[str, Tensor], *, joined: bool) -> None:
        self.values = {name: value.double().clone() for name, value in state.items()}
        self.learnt = [n for n in state if n.endswith(("weight", "bias"))]
        for name in self.learnt:
            self.values[name].requires_grad_()
        self.moments = {n: (torch.zeros_like(self.values[n]),) * 2 for n in self.learnt}
        self.joined = joined  # weak and strong rows pass the clustering head together
        self.steps = 0

    def normalised(self, name: str, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(variance + 1e-5) over all but the channels, and running values."""
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean = x.mean(axes)
        variance = (x - mean.view(shape)).square().mean(axes)
        count = x.numel() / x.shape[1]
        for key, now in (("mean", mean), ("var", variance * count / (count - 1))):
            running = self.values[f"{name}.running_{key}"]
            self.values[f"{name}.running_{key}"] = 0.9 * running + 0.1 * now.detach()
        unit = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        weight, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        return unit * weight.view(shape) + bias.view(shape)

    def features(self, x: Tensor) -> Tensor:
        for number, (name, stride) in enumerate(STRIDES.items(), 1):
            weight = self.values[f"encoder.{name}.weight"]
            x = F.conv2d(x, weight, stride=stride, padding=1)
            x = self.normalised(f"encoder.bn{number}", x).clamp_min(0)
        return x.mean((2, 3))

    def perceptron(self, name: str, x: Tensor) -> Tensor:
        for layer in (0, 3, 6):
            weight, bias = (self.values[f"{name}.{layer}.{part}"] for part in ("weight", "bias"))
            x = x @ weight.T + bias
            if layer < 6:
                x = self.normalised(f"{name}.{layer + 1}", x).clamp_min(0)
        return x

    def loss(self, stacked: Tensor, original: Tensor) -> Tensor:
        """Eq. 12 of views (2B, 3, S, S), the weak ones first, and (B, 3, S, S)."""
        features = self.features(stacked)
        head_input = features if self.joined else features[:BATCH]
        logits = self.perceptron("clustering", head_input)[:BATCH]
        with torch.no_grad():
            x = self.features(original)
            p = self.perceptron("clustering", x).exp()
            p = p / p.sum(1, keepdim=True)
            unit = x / x.norm(dim=1, keepdim=True)
            distances = (1 - unit @ unit.T).fill_diagonal_(0)
            q = (distances @ p) ** (-1 / (1.03 - 1))  # Eq. 9
            q = q / q.sum(1, keepdim=True)
        z = self.perceptron("projector", features)
        z = z / z.norm(dim=1, keepdim=True)
        similar = (z @ z.T / 0.5).exp()
        weights = (1 - p @ p.T).repeat(2, 2).fill_diagonal_(0)  # Eq. 11
        positives = torch.cat([similar.diagonal(BATCH), similar.diagonal(-BATCH)])
        contrast = -(positives / (weights * similar).sum(1)).log().mean()
        log_p = logits - logits.exp().sum(1, keepdim=True).log()
        divergence = (q * (q.log() - log_p)).nan_to_num(0.0).sum(1).mean()  # Eq. 10; 0 log 0 = 0
        return contrast + divergence

    def step(self, stacked: Tensor, original: Tensor) -> None:
        parameters = [self.values[name] for name in self.learnt]
        gradients = torch.autograd.grad(self.loss(stacked, original), parameters)
        self.steps += 1
        for name, gradient in zip(self.learnt, gradients, strict=True):
            value = self.values[name].detach()
            gradient = gradient + 1e-4 * value
            first, second = self.moments[name]
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            self.moments[name] = first, second
            rate = 1e-3 * (first / (1 - 0.9**self.steps))
            rate = rate / ((second / (1 - 0.999**self.steps)).sqrt() + 1e-8)
            self.values[name] = (value - rate).requires_grad_()


@pytest.mark.parametrize("reading", [None, "release"])
def test_three_joint_steps_equal_the_formulas(reading: str | None) -> None:
    changes = {} if reading is None else dict(METHOD.readings[reading])
    changes |= {"batch_size": BATCH}
    settings = dpac_trials.config(**changes)
    model = dpac_trials.dpac(settings, seed=3, dtype=torch.float64)
    modules = model._parts()[0]
    start = {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    reference = Reference(start, joined=reading == "release")
    seen: list[Tensor] = []
    model._encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for indices in trials.batches(BATCH, STEPS):
        model.step(indices)
    for stacked, original in zip(seen[::2], seen[1::2], strict=True):
        assert (len(stacked), len(original)) == (2 * BATCH, BATCH)
        reference.step(stacked, original)
    assert reference.steps == STEPS
    for part, module in modules.items():
        for name, value in module.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                expected = reference.values[f"{part}.{name}"].detach()
                torch.testing.assert_close(value, expected, rtol=0, atol=1e-6, msg=f"{part} {name}")


def test_only_the_head_of_the_training_pass_sees_the_strong_views() -> None:
    """The two readings: the same features and targets, other logits, and gradients further."""
    gradients, losses = {}, {}
    for views in ("first", "all"):
        model = dpac_trials.dpac(dpac_trials.config(head_views=views), dtype=torch.float64)
        features = torch.rand(
            2 * BATCH, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        ).requires_grad_()
        logits = model._clustering(model._passed(features, BATCH))[:BATCH]
        (gradient,) = torch.autograd.grad(logits.square().sum(), features)
        gradients[views] = gradient
        losses[views] = model.step(trials.batches(BATCH, 1)[0])
    other = {name for name, value in losses["first"].items() if value != losses["all"][name]}
    assert other == {"clustering_loss", "entropy"}  # both of the first views' predictions
    assert not gradients["first"][BATCH:].any()
    assert gradients["all"][BATCH:].abs().amax() > 1e-3
