"""Independent streams of random numbers, all derived from one seed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose; different purposes give unrelated ones."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of a run with this seed: the same draws on every device."""
    return torch.Generator().manual_seed(derived(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """PyTorch's own CPU generator seeded for one purpose inside, and as it was afterwards.

    For the default initialisation of layers, which takes no generator. Build on the CPU, then move:
    the weights are then the same on every device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived(seed, purpose))
        yield
