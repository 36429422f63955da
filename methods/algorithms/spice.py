"""SPICE-self at work: labels from prototypes, the heads, then the model.

"Release" is the code of the authors of the paper that `methods.spice` cites.
"""

from collections.abc import Mapping
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak
from deep_clustering.methods.learning.best import Best
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, adam, evaluation
from deep_clustering.methods.learning.state import unpack
from deep_clustering.methods.networks.encoders import encoder, wide
from deep_clustering.methods.spice import SPICEConfig

# --- Labels and losses ----------------------------------------------------------------------------


def nearest_to_prototypes(
    features: Tensor, probabilities: Tensor, centres: int, labelled: int
) -> Tensor:
    """The images that each cluster labels.

    Args:
        features: (n, D) unit rows.
        probabilities: (n, K).
        centres: images with the largest probability of a cluster, whose mean is its prototype.
        labelled: images of each cluster, those with the largest product with its prototype.

    Returns:
        (K, labelled) positions, nearest first; an image may be of several clusters.
    """
    surest = probabilities.argsort(dim=0, descending=True, stable=True)[:centres]
    prototypes = features[surest].mean(0)  # (K, D)
    return (prototypes @ features.T).argsort(dim=1, descending=True, stable=True)[:, :labelled]


def label_loss(logits: Tensor, labels: Tensor, double: bool) -> Tensor:
    """Cross-entropy (...) of logits (..., K), or of their softmax taken for logits if `double`.

    The double softmax is never sure: its loss is at least ln(1 + (K - 1) / e).
    """
    scores = logits.softmax(-1) if double else logits
    return -scores.log_softmax(-1).gather(-1, labels[..., None])[..., 0]


# --- The model ------------------------------------------------------------------------------------


class Heads(nn.Module):
    """Several perceptrons of one hidden layer on the same features, one of which is selected."""

    selected: Tensor

    def __init__(self, dimension: int, clusters: int, count: int) -> None:
        super().__init__()
        layers = [
            (nn.Linear(dimension, dimension), nn.Linear(dimension, clusters)) for _ in range(count)
        ]
        for i, name in enumerate(("hidden", "output")):
            weight = torch.stack([pair[i].weight.detach().T for pair in layers])
            bias = torch.stack([pair[i].bias.detach()[None] for pair in layers])
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))
        self.register_buffer("selected", torch.tensor(0))

    def every(self, features: Tensor) -> Tensor:
        """Logits (H, n, K) of all heads for features (n, D), or for each head's own (H, n, D)."""
        count = len(self.get_parameter("hidden_weight"))
        x = features.expand(count, -1, -1)
        for name in ("hidden", "output"):
            x = torch.baddbmm(
                self.get_parameter(f"{name}_bias"), x, self.get_parameter(f"{name}_weight")
            )
            x = x.relu() if name == "hidden" else x
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, K) of the selected head for features (n, D)."""
        return self.every(features).index_select(0, self.selected.view(1)).squeeze(0)


class SPICE(Clusterer):
    """Training of heads on a frozen encoder; see `Clusterer`.

    Args:
        config: the method.
        encoder_state: pretrained weights of exactly the configured backbone; None leaves random
            ones.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share, or weights that are not those of the
            backbone.
    """

    _heads: Mapping[str, Heads]

    def __init__(
        self,
        config: SPICEConfig,
        *,
        encoder_state: Mapping[str, Tensor] | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        own = config.pretrain
        super().__init__(
            config,
            {
                "encoder": lambda side, replicas: encoder(
                    own.backbone, side=side, replicas=replicas, stem_padding=own.stem_padding
                )
            },
            side=own.side,
            enlargement=own.enlargement,
            mean=own.mean,
            std=own.std,
            **context,
        )
        if encoder_state is not None:
            unpack(encoder_state, {"": self._encoder})
        self._make_heads(
            ("clustering",),
            lambda name: Heads(self._encoder.dimension, config.clusters, config.heads),
        )
        self._clustering = self._heads["clustering"]
        self._best = Best(self._heads) if config.select_epoch else None
        side = self._side
        self._weak = Weak(side, (config.weak_crop, 1.0), config.weak_flip, own.frame)
        self._strong = Strong(
            side, (1.0, 1.0), config.strong_flip, config.operations, config.cutout, "centre"
        )
        self._generators = {name: generator(self._seed, name) for name in ("weak", "strong")}
        self._order = generator(self._seed, "order of the labelled images")
        self._optimiser = adam(
            (self._clustering.parameters(), config.learning_rate),
            weight_decay=config.weight_decay,
        )

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """Labels for a global batch, then the optimiser's steps on all that is labelled.

        Every rank takes all of them: the heads are small, and the encoder's passes are shared.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `label_loss`, mean over heads and steps; `entropy` of the mean prediction, in nats, and
            mean `confidence`, both of the selected head on the views that label.
        """
        pictures = self._images.take(self._mine(indices))
        with torch.no_grad(), evaluation(self._encoder):
            plain = self._shared(self._encoded(self.clean(pictures)))
            weak = self._shared(self._seen(self._weak, pictures, "weak"))
            strong = self._shared(self._seen(self._strong, pictures, "strong"))
            p = self._clustering.every(weak).softmax(2)
            labelled = self._labelled(F.normalize(plain, dim=1), p)
        losses = self._learn(strong, labelled)
        self._steps += 1
        if self._steps % self._per_epoch == 0:
            self._select()
        shown = p[int(self._clustering.selected)]
        return {
            "label_loss": losses,
            "entropy": -negative_entropy(shown.mean(0)),
            "confidence": shown.amax(1).mean(),
        }

    def _seen(self, view: View, pictures: Pictures, name: str) -> Tensor:
        return self._encoded(self._viewed(view, pictures, self._generators[name]))

    def _shared(self, local: Tensor) -> Tensor:
        return self._replicas.gather(wide(local), self._rows, self.batch_size)

    def _labelled(self, features: Tensor, p: Tensor) -> Tensor:
        """Positions (H, K * m) of the images (n, D) that each head's probabilities label.

        Cluster after cluster; p (H, n, K).
        """
        config = self.config
        even = len(features) // config.clusters
        centres = max(1, int(config.centre_share * even))
        labelled = max(1, int(config.label_share * even))
        found = [nearest_to_prototypes(features, one, centres, labelled) for one in p]
        return torch.stack(found).flatten(1)

    def _labels(self, labelled: Tensor) -> Tensor:
        """Labels (K * m,) of positions (H, K * m), the same of every head."""
        clusters = torch.arange(self.config.clusters, device=self._device)
        return clusters.repeat_interleave(labelled.shape[1] // self.config.clusters)

    def _learn(self, features: Tensor, labelled: Tensor) -> Tensor:
        """Adam steps on the labelled images; the mean loss, 0-d."""
        config = self.config
        labels, count = self._labels(labelled), labelled.shape[1]
        size = min(config.sub_batch_size, count)
        total = torch.zeros((), device=self._device)
        for _ in range(config.repeats):
            order = torch.randperm(count, generator=self._order).to(self._device)
            for part in order.split(size)[: count // size]:
                logits = self._clustering.every(features[labelled[:, part]])
                of_heads = labels[part].expand(len(logits), -1)
                loss = label_loss(logits, of_heads, config.double_softmax).mean()
                self._optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self._optimiser.step()
                total += loss.detach()
        return total / (config.repeats * (count // size))

    @torch.no_grad()
    def _select(self) -> None:
        """Selects the head that agrees best with its own labels, by its loss on all images."""
        features = self._of_all(self.features)
        logits = self._clustering.every(features)
        labelled = self._labelled(F.normalize(features, dim=1), logits.softmax(2))
        chosen = logits.gather(1, labelled[..., None].expand(-1, -1, logits.shape[2]))
        labels = self._labels(labelled).expand(len(logits), -1)
        lowest, head = label_loss(chosen, labels, self.config.double_softmax).mean(1).min(0)
        self._clustering.selected.copy_(head)
        if self._best is None:
            return
        self._best.offer(self._heads, lowest)
        if self._steps == self.epochs * self._per_epoch:
            self._best.give_back(self._heads)

    def _parts(self) -> Parts:
        modules: dict[str, nn.Module] = dict(self._networks())
        if self._best is not None:
            modules["best"] = self._best
        generators = {f"generator.{name}": g for name, g in self._generators.items()}
        return modules, {"optimiser": self._optimiser}, {**generators, "order": self._order}
