"""Evaluations of finished runs, one file each; a file's name is what a command calls it.

May import errors, registry, data, store, request, audit and evaluation; nothing further to the
right.
"""
