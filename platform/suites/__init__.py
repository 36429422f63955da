"""Ablation suites: from rows and claims to runs, from runs to cells and verdicts.

May import errors, registry, data, store, request, audit, evaluation, evaluations and run; nothing
further to the right.
"""
