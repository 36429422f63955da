"""Representations learned before any clustering."""
