"""The pictures of a run: those of its dataset, where they are here, as small JPEG files."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from deep_clustering.platform.data.catalogue import CATALOGUE, status
from deep_clustering.platform.data.dataset import ImageSet
from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.report.markup.parts import Thumb
from deep_clustering.platform.report.pages._draft import Draft, RunRow

#: Longer side of a thumbnail, pixels.
SIDE = 80
#: Qualities of JPEG that are tried until a thumbnail has at most `LARGEST` bytes: a photograph has
#: about 2,000 at the first, noise five times as many.
_QUALITIES = (78, 60, 40, 20)
LARGEST = 2600


@dataclass(frozen=True)
class Album:
    """The pictures of a dataset."""

    dataset: ImageSet

    def thumbs(self, samples: Iterable[int], texts: Iterable[str]) -> list[Thumb]:
        """Pictures, each with a line below it."""
        paths = self.dataset.paths
        return [
            Thumb(jpeg=self._jpeg(s), alt=str(s) if paths is None else paths[s], text=text)
            for s, text in zip(map(int, samples), texts, strict=True)
        ]

    def _jpeg(self, sample: int) -> bytes:
        pixels = self.dataset.images[sample]
        if self.dataset.sizes is not None:
            height, width = np.minimum(self.dataset.sizes[sample], pixels.shape[-1])
            pixels = pixels[:, :height, :width]
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        scale = SIDE / max(picture.size)
        width, height = (max(1, round(scale * side)) for side in picture.size)
        way = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        small = picture.resize((width, height), way)
        for quality in _QUALITIES:
            sink = io.BytesIO()
            small.save(sink, "JPEG", quality=quality, optimize=True)
            if sink.tell() <= LARGEST:
                break
        return sink.getvalue()


def open_album(draft: Draft, row: RunRow) -> Album | str:
    """The pictures of a run, or why there are none to show."""
    if row["image_side"] is None:
        return "The samples are no pictures."
    entry = CATALOGUE.get(row["dataset"])
    if entry is not None and status(entry, draft.root).kind != "ready":
        return f"The pictures of {row['dataset']} are not here; say where they are with --data."
    try:
        return Album(finished.images_of(draft.store, row, draft.root))
    except PlatformError as error:
        return f"The pictures are not shown: {error}"
