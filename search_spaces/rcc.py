"""What `platform tune rcc` searches: the graph, the pull along it, and what counts as together."""

from deep_clustering.methods.rcc import RCCConfig
from deep_clustering.search_spaces._space import Choice, Float, Int, space

SPACE = space(
    RCCConfig,
    scale=Float(0.1, 100.0, log=True),  # the pull between neighbours grows with it
    neighbours=Int(5, 30, log=True),
    threshold=Float(0.5, 3.0, log=True),
    metric=Choice("cosine", "euclidean"),
)
