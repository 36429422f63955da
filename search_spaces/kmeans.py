"""What `platform tune kmeans` searches: whether lengths of rows count, and how many starts."""

from deep_clustering.methods.kmeans import KMeansConfig
from deep_clustering.search_spaces._space import Choice, Int, space

SPACE = space(
    KMeansConfig,
    unit=Choice(False, True),  # raw points in DPAC's Table 2, directions in Table 3
    restarts=Int(1, 20, log=True),
)
