"""What `platform tune secu` searches: targets, temperature, the sizes' bound, learning rates.

Ranges of learning rates are relative to the preset of the data set.
"""

from deep_clustering.methods.secu import SeCuConfig
from deep_clustering.search_spaces._space import Float, Scale, space

SPACE = space(
    SeCuConfig,
    own_label=Float(0.05, 0.8),  # tau, 0.2 in the release
    temperature=Float(0.02, 0.2, log=True),  # 0.05 in the release
    size_share=Float(0.4, 1.0),  # 0.9 in the release; too low merges clusters
    learning_rate=Scale(0.1, 3.0, log=True),
    centre_rate=Scale(0.1, 3.0, log=True),
)
