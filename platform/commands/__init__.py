"""What each subcommand of `platform` does, and what it shows.

May import errors, registry, data, store, request, audit, evaluation, evaluations, run, search,
suites, results and report; nothing further to the right.
"""
