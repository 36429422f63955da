"""Representations learnt before any clustering.

`configs` are their configurations and `pretraining` is what they share; `moco`, `simclr`, `pretext`
and `autoencoder` are the pretrainings; `representation` is what DPAC keeps learning of them while
it clusters. Imports `compute`, `images`, `networks`, `clustering` and `learning`.
"""
