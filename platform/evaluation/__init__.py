"""How results are measured: metrics, label-free criteria, and finished runs brought back.

May import errors, registry, data, store, request and audit; nothing further to the right.
"""
