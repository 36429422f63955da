"""Methods at work: losses in the order of the paper, and what learns by them.

`methods.NAME` says what a method is, its configuration and its record; the file of the same name
here carries it out and is imported when the method is first used. May import every other room, and
the configurations.
"""
