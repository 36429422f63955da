"""What each subcommand of `platform` does, and what it shows.

May import what stands to its left in CONTRIBUTING.md.
"""
