"""Hyperparameter search: Optuna proposes, Ray Tune keeps the trials, the lanes train.

May import errors, registry, data, store, request, audit, evaluation, evaluations and run; nothing
further to the right.
"""
