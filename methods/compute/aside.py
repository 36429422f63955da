"""Work beside the main stream of a GPU; on the CPU, work that waits until it is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor


class Aside:
    """A result made at its first call from what was there when this was: on CUDA on a side stream.

    The side stream waits for the work queued before this object was made and for none queued
    after it, so the two overlap; the caller's stream then waits for the result.
    """

    def __init__(self, make: Callable[[], Tensor], stream: torch.cuda.Stream | None) -> None:
        self._make = make
        self._stream = stream
        self._result: Tensor | None = None
        self._ready = None if stream is None else _current(stream).record_event()

    def __call__(self) -> Tensor:
        if self._result is None:
            self._result = self._made()
        return self._result

    def _made(self) -> Tensor:
        if self._stream is None or self._ready is None:
            return self._make()
        self._stream.wait_event(self._ready)
        with torch.cuda.stream(self._stream):
            result = self._make()
        _current(self._stream).wait_stream(self._stream)
        result.record_stream(_current(self._stream))
        return result


def _current(stream: torch.cuda.Stream) -> torch.cuda.Stream:
    return torch.cuda.current_stream(stream.device)
