"""What `platform tune ruc` searches: the fields of Fig. 10, and those the paper leaves open."""

from deep_clustering.methods.ruc import RUCConfig
from deep_clustering.search_spaces._space import Choice, Float, Scale, space

SPACE = space(
    RUCConfig,
    strategy=Choice("confidence", "metric", "hybrid"),  # Table 1: the best one differs
    tau1=Choice(0.9, 0.95, 0.98, 0.99, 0.995, 0.999),  # Fig. 10a
    neighbours=Scale(0.1, 5.0, log=True, integer=True, at_most="images"),  # k: Fig. 10b
    tau2=Float(0.8, 0.99),  # in the first epochs; Sec. 4.1 has 0.90
    tau2_step=Float(0.0, 0.05),  # Sec. 4.1 has 0.02
    smoothing=Float(0.0, 0.8),  # epsilon: Sec. 4.1 has 0.5
    unlabelled_weight=Scale(0.25, 4.0, log=True),  # lambda_U: 25, 50 and 100 in Sec. 4.1
    temperature=Float(0.2, 1.0),  # T: 0.5 in the release, 1 does not sharpen
    alpha=Float(0.25, 8.0, log=True),  # 4 in the release
    learning_rate=Scale(0.1, 10.0, log=True),
)
