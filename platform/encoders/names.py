"""What a frozen encoder is called, how it sees images, and what it was trained with."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.places import absolute

Triple = tuple[float, float, float]

#: The encoder whose weights come with this package's requirements.
BUNDLED = "efficientnet-lite0"

#: Short names, and the library's name and side (pixels) that each stands for. DINOv2 was trained at
#: 518 pixels; 224 is what its paper evaluates at, and a sixth of the work.
SHORT = {
    "dinov2": "timm:vit_small_patch14_dinov2.lvd142m@224",
    "dinov2-b": "timm:vit_base_patch14_dinov2.lvd142m@224",
    "clip": "timm:vit_base_patch16_clip_224.openai",
    "siglip": "timm:vit_base_patch16_siglip_224.webli",
}

#: What follows a word in the name of weights of timm says what they were trained with.
_WITHOUT_LABELS = ("dino", "lvd142m", "lvd1689m", "mae", "ijepa", "fcmae")
_CAPTIONS = ("openai", "laion", "webli", "datacomp", "dfn", "metaclip")

_SIDES = range(32, 1025)
_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: Labels that decided the weights: "imagenet" stands for all its editions.
Labels = Literal["imagenet", "captions", "none", "unknown"]

#: What each means for a claim, one sentence.
MEANING: Mapping[Labels, str] = {
    "imagenet": "It was trained with the labels of ImageNet: on classes of ImageNet, or like them, "
    "no result that builds on it is free of labels.",
    "captions": "It was trained with texts that people wrote beside pictures: its features know "
    "what people name.",
    "none": "It was trained without labels.",
    "unknown": "What it was trained with is not on record: ask who made it before you call a "
    "result free of labels.",
}


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen encoder.

    Attributes:
        name: as it is asked for.
        architecture: "bundled", "timm:NAME" or "torchvision:NAME".
        file: weights of one's own, absolute; None for published ones.
        side: of the images that it sees, pixels; the centred square of a picture is resized to it.
        mean, std: of images scaled to 0..1, per channel.
        labels: that decided its weights.
    """

    name: str
    architecture: str
    file: str | None = None
    side: int
    mean: Triple
    std: Triple
    labels: Labels

    def as_config(self) -> dict[str, str | int | list[float] | None]:
        """Plain values, of which `from_config` makes an equal encoder."""
        plain = dataclasses.asdict(self)
        return {**plain, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "Encoder":
        """The encoder of values made by `as_config`; others are passed over."""
        own = {field.name: config[field.name] for field in dataclasses.fields(cls)}
        for name in ("mean", "std"):
            values = own[name]
            assert isinstance(values, list)
            own[name] = tuple(values)
        return cls(**own)  # type: ignore[arg-type]

    @property
    def library(self) -> str:
        """Who builds the network: "bundled", "timm" or "torchvision"."""
        return self.architecture.partition(":")[0]

    @property
    def model(self) -> str:
        """The name of the network in its library."""
        return self.architecture.partition(":")[2]


def find(text: str, architecture: str | None = None) -> Encoder:
    """The encoder of a name or of a file of weights; nothing is loaded or downloaded.

    Args:
        text: a short name, "timm:NAME", "torchvision:NAME" or a file, each with "@PIXELS" where the
            side is not to be its own.
        architecture: of the network of a file.

    Raises:
        InputError: no such encoder or file, or a library that is not installed.
    """
    name, at, pixels = text.rpartition("@")
    if not at or not pixels.isdigit():
        name, pixels = text, ""
    full, _, usual = SHORT[name].partition("@") if name in SHORT else (name, "", "")
    side = _side(pixels or usual)
    if _is_published(full):
        if architecture is not None:
            raise InputError(
                f"--architecture says what network a file of weights is for, and --encoder {text} "
                "is no file; leave --architecture out."
            )
        return _published(full, text, side)
    return _own(name, text, architecture, side)


def _is_published(name: str) -> bool:
    return name == BUNDLED or name.startswith(("timm:", "torchvision:"))


def _side(pixels: str) -> int | None:
    if not pixels:
        return None
    if int(pixels) not in _SIDES:
        raise InputError(
            f"--encoder: the side after @ must be {_SIDES[0]} to {_SIDES[-1]} pixels, got {pixels}."
        )
    return int(pixels)


def _published(full: str, text: str, side: int | None) -> Encoder:
    library, _, model = full.partition(":")
    if full == BUNDLED:  # its makers' values: 224 pixels, 127 and 128 of 255
        own = Encoder(
            name=text,
            architecture="bundled",
            side=224,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            labels="imagenet",
        )
    elif library == "timm":
        own = _of_timm(model, text)
    else:
        own = _of_torchvision(model, text)
    return own if side is None else dataclasses.replace(own, side=side)


def _of_timm(model: str, text: str) -> Encoder:
    try:
        import timm
    except ImportError:
        raise InputError(
            f"--encoder {text} needs the package timm: pip install 'deep-clustering[encoders]'. "
            f"{BUNDLED} needs nothing more."
        ) from None
    try:
        config = timm.get_pretrained_cfg(model) if _known(model) else None
    except RuntimeError:  # weights that are none of the network's
        config = None
    if config is None or not config.has_weights:
        having = timm.list_pretrained()
        raise InputError(
            f"--encoder: timm has no weights '{model}'.{nearest(model, having)} Its list: "
            "python -c 'import timm; print(timm.list_pretrained())'"
        )
    name = f"{config.architecture}.{config.tag}"
    _, side, _ = config.input_size
    return Encoder(
        name=text,
        architecture=f"timm:{name}",
        side=side,
        mean=config.mean,
        std=config.std,
        labels=_labels(config.tag or "", config.num_classes),
    )


def _known(model: str) -> bool:
    import timm

    return timm.is_model(model.partition(".")[0])


def _labels(tag: str, classes: int) -> Labels:
    """What decided weights of timm, by their tag and the classes of the classifier they have."""
    words = re.split(r"[_.]", tag)
    if any(word.startswith(_CAPTIONS) for word in words) and "ft" not in words:
        return "captions"
    named = re.search(r"in(1k|12k|21k|22k)", tag) and "ijepa" not in words
    if classes >= 1000 or named:
        return "imagenet"
    if classes == 0 and any(word.startswith(_WITHOUT_LABELS) for word in words):
        return "none"
    return "unknown"


def _of_torchvision(model: str, text: str) -> Encoder:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise InputError(
            f"--encoder: torchvision has no model '{model}'.{nearest(model, known)} Known: "
            f"{', '.join(known[:8])}, ..."
        )
    transforms = models.get_model_weights(model).DEFAULT.transforms()
    return Encoder(
        name=text,
        architecture=f"torchvision:{model}",
        side=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        labels="imagenet",
    )


def _own(name: str, text: str, architecture: str | None, side: int | None) -> Encoder:
    """The encoder of a file of weights."""
    path = absolute(name)
    if not path.is_file():
        known = [BUNDLED, *SHORT]
        raise InputError(
            f"--encoder: there is no encoder and no file '{name}'.{nearest(name, known)} Known: "
            f"{', '.join(known)}, timm:NAME, torchvision:NAME, or a file of weights."
        )
    if architecture is None:
        raise InputError(
            f"--encoder {text} is a file of weights: say with --architecture what network they are "
            f"for, timm:NAME, torchvision:NAME or {BUNDLED}."
        )
    if not _is_published(architecture):
        raise InputError(
            f"--architecture: must be timm:NAME, torchvision:NAME or {BUNDLED}; got "
            f"'{architecture}'."
        )
    if architecture.startswith("timm:"):
        like = _network_of_timm(architecture.removeprefix("timm:"))
    else:
        like = _published(architecture, architecture, None)
    return dataclasses.replace(
        like, name=text, file=str(path.resolve()), side=side or like.side, labels="unknown"
    )


def _network_of_timm(model: str) -> Encoder:
    """A network of timm, whether or not weights of it are published."""
    try:
        return _of_timm(model, f"timm:{model}")
    except InputError:
        if find_spec("timm") is None or not _known(model):
            raise
    mean, std = _IMAGENET
    return Encoder(
        name=model, architecture=f"timm:{model}", side=224, mean=mean, std=std, labels="unknown"
    )
