"""What results are measured by: a record for each metric, and its computation beside it.

`registry` gathers the records of all modules here; columns of the store, objectives of a search,
the live view, tables and the glossary of a report follow from them. A new metric is a function and
a record in this folder, and nothing else. May import what stands to its left in CONTRIBUTING.md.
"""
