"""What `platform tune sc` searches: the graph."""

from deep_clustering.methods.sc import SCConfig
from deep_clustering.search_spaces._space import Choice, Int, space

SPACE = space(
    SCConfig,
    neighbours=Int(5, 50, log=True),
    unit=Choice(False, True),  # raw points in DPAC's Table 2, directions in Table 3
)
