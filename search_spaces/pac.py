"""What `platform tune pac` searches: the exponent, and how distances are measured."""

from deep_clustering.methods.pac import PACConfig
from deep_clustering.search_spaces._space import Choice, Float, space

SPACE = space(
    PACConfig,
    m=Float(1.002, 1.2),  # Fig. 1; with larger ones P stays uniform on most data
    metric=Choice("sqeuclidean", "cosine"),  # paper and release
)
