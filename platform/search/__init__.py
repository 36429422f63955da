"""Hyperparameter search: Optuna proposes, Ray Tune keeps the trials, the lanes train.

May import what stands to its left in CONTRIBUTING.md.
"""
