"""What `platform tune cc` searches: temperatures, the entropy's weight, learning rate, batches.

Ranges of the learning rate and batches are relative to the preset of the data set.
"""

from deep_clustering.methods.cc import CCConfig
from deep_clustering.search_spaces._space import Float, Scale, space

SPACE = space(
    CCConfig,
    instance_temperature=Float(0.1, 1.0, log=True),  # 0.5 in Sec. 4.1
    cluster_temperature=Float(0.3, 3.0, log=True),  # 1.0 in Sec. 4.1
    entropy_weight=Float(0.3, 3.0, log=True),  # 1 in Eq. 6; too low merges clusters
    learning_rate=Scale(0.1, 10.0, log=True),
    batch_size=Scale(0.5, 4.0, log=True, integer=True, at_most="images", at_least="clusters"),
)
