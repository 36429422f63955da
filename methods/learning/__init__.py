"""Learners: networks trained one global batch at a time, and how their state is kept.

`learner` is the base of all that trains, `clusterer` adds heads and predictions, `state` turns
modules, optimisers and generators into named tensors and back, `recorded` has a GPU replay steps.
`base` and `prototypes` prepare networks and heads, `clean_set` and `selection` choose samples,
`mixmatch` mixes them, `lars` is an optimiser, `best` keeps the weights of an epoch. Imports
`compute`, `images`, `networks` and `clustering`.
"""
