"""What `platform tune tsuc` searches: temperatures, the weight of invariance, learning rates.

Ranges of the learning rates are relative to the preset of the data set.
"""

from deep_clustering.methods.tsuc import TSUCConfig
from deep_clustering.search_spaces._space import Float, Scale, space

SPACE = space(
    TSUCConfig,
    temperature=Float(0.05, 0.5, log=True),  # 0.1 in the release
    head_temperature=Float(0.05, 0.5, log=True),  # 0.1 in the release
    spread_weight=Float(0.3, 3.0, log=True),  # 1 in the release
    learning_rate=Scale(0.1, 10.0, log=True),
    cluster_rate=Scale(0.1, 10.0, log=True),
)
