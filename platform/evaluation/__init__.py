"""How results are measured: predictions beside labels, and what evaluations of finished runs need.

May import what stands to its left in CONTRIBUTING.md.
"""
