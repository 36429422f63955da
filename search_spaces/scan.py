"""What `platform tune scan` searches: the entropy weight, the threshold, learning rates, batches.

Ranges of learning rates and batches are relative to the preset of the data set. Neighbours and the
pretraining stay, so that all trials stand on the same ones.
"""

from deep_clustering.methods.scan import SCANConfig
from deep_clustering.search_spaces._space import Float, Scale, space

SPACE = space(
    SCANConfig,
    entropy_weight=Float(1.0, 10.0, log=True),  # lambda: 5 in Sec. 3.1; too low merges clusters
    threshold=Float(0.8, 0.999),  # 0.99 in Sec. 3.1
    learning_rate=Scale(0.1, 10.0, log=True),
    self_label_learning_rate=Scale(0.1, 10.0, log=True),
    # the entropy is that of a batch's mean, which has to be well above the number of clusters
    batch_size=Scale(0.5, 4.0, log=True, integer=True, at_most="images", at_least="clusters"),
)
