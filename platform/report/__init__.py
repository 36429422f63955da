"""One HTML file about a suite, a study, a run or a whole store; it opens offline.

May import errors, registry, data, store, request, audit, evaluation, evaluations, run, search,
suites and results; nothing further to the right.
"""
