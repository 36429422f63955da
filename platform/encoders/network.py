"""A frozen encoder at work: its network with its weights, and the features of images."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.images.clean import Clean
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.stacks import Stacks
from deep_clustering.methods.images.view import Draws, View
from deep_clustering.methods.networks.efficientnet import EfficientNetLite0
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.errors import InputError

#: Images of a batch; a fixed number, as results depend on it in the last digits.
BATCH = 64


def load(encoder: Encoder, file: Path) -> nn.Module:
    """The network: normalised images (n, 3, S, S) to features (n, D); in evaluation mode.

    Args:
        file: of its weights, see `weights.obtain`.

    Raises:
        InputError: the file holds something else than weights of this network.
    """
    network, weights = _built(encoder), _read(file)
    own = network.state_dict()
    loose = [n for n, v in own.items() if n not in weights or weights[n].shape != v.shape]
    if loose:
        raise InputError(
            f"--encoder: {file} does not fit {encoder.architecture}: {len(loose)} of its "
            f"{len(own)} tensors are missing or of another shape, first {loose[0]}."
        )
    network.load_state_dict({name: weights[name] for name in own})
    return network.eval().requires_grad_(False)


class Seeing:
    """A frozen encoder at a device, and what it makes of views of images.

    Args:
        encoder: how it sees.
        network: from `load`.
        device: that it computes on.
    """

    def __init__(self, encoder: Encoder, network: nn.Module, device: torch.device) -> None:
        # Depthwise convolutions on the CPU are twice as fast with channels last.
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._mean = torch.tensor(encoder.mean, device=device)
        self._std = torch.tensor(encoder.std, device=device)
        self.clean: View = Clean(side=encoder.side, resize=encoder.side)

    @torch.inference_mode()
    def __call__(self, pictures: Pictures, view: View | None = None, draws: Draws = {}) -> Tensor:  # noqa: B006
        """Features (n, D) float32 of a view of pictures, the clean one unless another is named."""
        seen = (view or self.clean).apply(pictures, draws, self._mean, self._std)
        seen = seen.contiguous(memory_format=torch.channels_last)
        found: Tensor = self._network(seen).flatten(1).float()
        return found


def features(
    seeing: Seeing,
    images: Images,
    index: Tensor,
    view: View | None = None,
    seed: int = 0,
    done: int = 0,
) -> Iterator[Tensor]:
    """Features of the images at `index` (n,), a batch after the other: (at most 64, D) on the CPU.

    Args:
        view: of each image, the clean one unless another is named.
        seed: of what is drawn; every batch has draws of its own, whichever came before it.
        done: batches that are left out, as they are done.
    """
    for number, batch in list(enumerate(index.split(BATCH)))[done:]:
        draws = {}
        if view is not None:
            draws = view.draw(len(batch), generator(seed, f"view of batch {number}"))
        yield seeing(images.take(batch), view, draws).cpu()


class Encoded(Stacks):
    """Images that a frozen encoder sees when they are taken: for predictions of new ones."""

    def __init__(self, seeing: Seeing, images: Images) -> None:
        self._seeing, self._images = seeing, images
        probe = seeing(images.take(torch.zeros(1, dtype=torch.int64)))
        none = torch.zeros(0, dtype=torch.int64)
        empty = probe.new_zeros(0, probe.shape[1])
        super().__init__([empty], index=none, count=len(images), device=images.device)

    def take(self, index: Tensor) -> Pictures:
        """The stacks (n, 1, D) of the images at `index` (n,)."""
        parts = [self._seeing(self._images.take(part)) for part in index.split(BATCH)]
        return Pictures(torch.cat(parts)[:, None].clone())


def _built(encoder: Encoder) -> nn.Module:
    """The network with random weights and without a classifier."""
    if encoder.library == "bundled":
        return EfficientNetLite0()
    if encoder.library == "torchvision":
        return _without_classifier(encoder.model)
    import timm

    config = timm.get_pretrained_cfg(encoder.model)
    free = config is None or not config.fixed_input_size or config.input_size[1] == encoder.side
    sized = {} if free else {"dynamic_img_size": True}
    try:
        built: nn.Module = timm.create_model(encoder.model, num_classes=0, **sized)
    except TypeError as error:
        raise InputError(
            f"--encoder: {encoder.model} sees images of one side only; leave @{encoder.side} out."
        ) from error
    return built


def _without_classifier(model: str) -> nn.Module:
    """A network of torchvision; all end with a linear layer, in whose place nothing is done."""
    from torchvision import models

    network: nn.Module = models.get_model(model, weights=None)
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, name = last.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return network


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; those of a checkpoint may lie one level down."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each library has its own kinds
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--encoder: {file} holds no plain weights ({text}); save them as safetensors."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise InputError(f"--encoder: {file} holds no plain weights; save a state_dict.")
    return {name.removeprefix("module."): value for name, value in held.items()}
