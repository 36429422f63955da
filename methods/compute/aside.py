"""Work beside the main stream of a GPU; on the CPU, work that waits until it is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor


class Aside:
    """A result made at its first call from what was there when this was: on CUDA on a side stream.

    The side stream waits for the work queued before this object was made and for none queued
    after it, so the two overlap; the caller's stream then waits for the result.

    Args:
        make: what makes it.
        stream: the side stream; None makes it in place.
        queued: `make` does not wait for the device: the side stream gets it now, before what the
            main one gets from here on. It has to be called for then.
    """

    def __init__(
        self, make: Callable[[], Tensor], stream: torch.cuda.Stream | None, *, queued: bool = False
    ) -> None:
        self._make = make
        self._stream = stream
        self._begun: Tensor | None = None
        self._result: Tensor | None = None
        self._ready = None if stream is None else _current(stream).record_event()
        if queued and stream is not None:
            self._begun = self._beside(stream)

    def __call__(self) -> Tensor:
        if self._result is None:
            self._result = self._made()
        return self._result

    def _made(self) -> Tensor:
        if self._stream is None:
            return self._make()
        result = self._beside(self._stream) if self._begun is None else self._begun
        _current(self._stream).wait_stream(self._stream)
        result.record_stream(_current(self._stream))
        return result

    def _beside(self, stream: torch.cuda.Stream) -> Tensor:
        if self._ready is not None:
            stream.wait_event(self._ready)
        with torch.cuda.stream(stream):
            return self._make()


def side_stream(device: torch.device) -> torch.cuda.Stream | None:
    """On CUDA a stream whose work goes before that of the main one: it is small, and waited for."""
    return torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None


def _current(stream: torch.cuda.Stream) -> torch.cuda.Stream:
    return torch.cuda.current_stream(stream.device)
