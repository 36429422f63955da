"""What several tests need: small datasets, requests, stores and models, and programs to run.

Tests import it as `support`; so do the processes that they start.
"""
