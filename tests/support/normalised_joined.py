"""The layer of batch normalisation in a group of two processes, for a GPU: see `ranks`."""

import torch

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks import batchnorm
from support import joined, ranks


def everything(replicas: Replicas) -> ranks.Results:
    """What the layer computes, and on a GPU whether its kernels have proven themselves."""
    found = {"normalised": joined.normalised(replicas)}
    if replicas.device.type == "cuda":
        ones, zeros = (torch.full((4,), x, device=replicas.device) for x in (1.0, 0.0))
        running = batchnorm.Running(zeros.clone(), ones.clone(), 0.1, 1e-5)
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(6, 4, 3, 3, device=replicas.device).to(dtype)
            wrong = batchnorm.differs(x, ones, zeros, running)
            found[str(dtype)] = {wrong or "right": torch.zeros(())}
    return found


if __name__ == "__main__":
    ranks.join(everything)
