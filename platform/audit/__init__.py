"""The published tables of a paper held against themselves; nothing is trained.

May import errors, registry, data and store; nothing further to the right.
"""
