"""What a command asks for: options checked together, configurations, and the jobs they come to.

May import errors, registry, data and store; nothing further to the right.
"""
