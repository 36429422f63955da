"""What a report says: one file for each kind of page, and one for each thing that pages show.

`suite`, `study`, `run` and `store` build a page; the files with an underscore build its parts.
"""
