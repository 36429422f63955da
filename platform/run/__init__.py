"""How work is carried out: a planner hands jobs to lanes, and a lane executes and commits them.

May import what stands to its left in CONTRIBUTING.md.
"""
