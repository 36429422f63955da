"""The published tables of a paper held against themselves; nothing is trained.

May import what stands to its left in CONTRIBUTING.md.
"""
