"""Frozen encoders: networks that somebody else has trained, and the features that they give.

`names` says what an encoder is called and what it was trained with, `weights` where its weights
are, `network` computes features with it. May import what stands to its left in CONTRIBUTING.md.
"""
