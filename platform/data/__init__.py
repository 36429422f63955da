"""Where samples come from: named datasets, folders of images and tables of vectors.

Each becomes one memory-mapped array with labels kept apart and a fingerprint of its content.

May import errors; nothing further to the right.
"""
