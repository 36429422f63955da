"""What `platform tune spice` searches: shares of the clusters, learning rate, passes.

The range of the learning rate is relative to the preset of the data set. The pretraining stays, so
that all trials stand on the same one.
"""

from deep_clustering.methods.spice import SPICEConfig
from deep_clustering.search_spaces._space import Choice, Float, Scale, space

SPACE = space(
    SPICEConfig,
    centre_share=Float(0.1, 1.0),  # 0.5 in the release
    label_share=Float(0.3, 1.0),  # 1 in the release
    learning_rate=Scale(0.1, 10.0, log=True),
    repeats=Choice(1, 2, 4, 8),  # 8 in the release
)
