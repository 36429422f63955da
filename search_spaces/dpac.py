"""What `platform tune dpac` searches: the exponent of Table 6, learning rates, the batch.

Ranges of learning rates and sizes are relative to the preset of the data set.
"""

from deep_clustering.methods.dpac import DPACConfig
from deep_clustering.search_spaces._space import Float, Scale, space

SPACE = space(
    DPACConfig,
    m=Float(1.005, 1.2),  # Table 6 has 1.01 to 1.2; at 1 the exponent is infinite
    temperature=Float(0.1, 1.0, log=True),  # of Eq. 11: SimCLR's range around 0.5
    encoder_lr=Scale(0.1, 10.0, log=True),
    head_lr=Scale(0.1, 10.0, log=True),
    # B: below about ten samples a cluster the targets are poor
    batch_size=Scale(0.5, 4.0, log=True, integer=True, at_most="images", at_least="clusters"),
    self_label_threshold=Float(0.8, 0.99),  # paper 0.95, release 0.99; read while self-labelling
)
