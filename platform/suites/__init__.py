"""Ablation suites: from rows and claims to runs, from runs to cells and verdicts.

May import what stands to its left in CONTRIBUTING.md.
"""
