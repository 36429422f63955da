"""Learners: networks trained one global batch at a time, and how their state is kept.

`learner` is the base of all that trains, `clusterer` adds heads and predictions, `state` turns
modules, optimisers and generators into named tensors and back; `prototypes` and `selection` prepare
heads and choose samples. Imports `compute`, `images`, `networks` and `clustering`.
"""
