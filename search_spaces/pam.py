"""What `platform tune pam` searches: how distances are measured."""

from deep_clustering.methods.pam import PAMConfig
from deep_clustering.search_spaces._space import Choice, space

SPACE = space(
    PAMConfig,
    metric=Choice("euclidean", "sqeuclidean", "cosine"),
)
