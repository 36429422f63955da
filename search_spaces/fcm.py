"""What `platform tune fcm` searches: the exponent, and whether lengths of rows count."""

from deep_clustering.methods.fcm import FCMConfig
from deep_clustering.search_spaces._space import Choice, Float, space

SPACE = space(
    FCMConfig,
    m=Float(1.01, 2.0),  # Fig. 1 of DPAC's paper
    unit=Choice(False, True),  # raw points in DPAC's Table 2, directions in Table 3
)
