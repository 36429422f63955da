"""How work is carried out: a planner hands jobs to lanes, and a lane executes and commits them.

May import errors, registry, data, store, request, audit, evaluation and evaluations; nothing
further to the right.
"""
