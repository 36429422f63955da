"""What a command asks for: options checked together, configurations, and the jobs they come to.

May import what stands to its left in CONTRIBUTING.md.
"""
