"""Representations learnt before any clustering.

`configs` are their configurations and `pretraining` is what they share; `moco`, `simclr`, `pretext`
(SCAN's SimCLR), `simsiam`, `byol` (which `siamese` is the base of) and `autoencoder` are the
pretrainings; `representation` is what DPAC keeps learning of them while it clusters. Imports
`compute`, `images`, `networks`, `clustering` and `learning`.
"""
