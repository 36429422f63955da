"""What `platform tune cdc` searches: the fields of CDC's sensitivity tables, and learning rates.

Ranges are relative to the preset of the data set, which is always inside. The number of
mini-clusters is never above the smallest batch of the search.
"""

from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.search_spaces._space import Choice, Float, Scale, space

SPACE = space(
    CDCConfig,
    # K: Table 5 has 0.8 to 1.2; Fig. 5 shows that K far from the preset still works
    mini_clusters=Scale(0.2, 2.0, log=True, integer=True, at_most="batch_size"),
    # B: the range of Table 5; a batch is whole sub-batches and has a candidate for each class
    batch_size=Scale(
        0.5, 1.5, integer=True, step="sub_batch_size", at_most="images", at_least="clusters"
    ),
    entropy_weight=Float(0.1, 10.0, log=True),  # lambda: the range of Table 6 above 0
    encoder_lr=Scale(0.1, 10.0, log=True),  # presets are a factor 5 apart
    head_lr=Scale(0.1, 10.0, log=True),
    hidden=Scale(0.5, 1.5, integer=True, step=8),  # H: the range of Table 6
    fixed_threshold=Choice(None, 0.8, 0.9, 0.95, 0.99),  # Table 2-II; none is Eq. 4
)
