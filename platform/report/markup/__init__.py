"""A page as records (`parts`), and how `render` turns them into HTML.

Only this folder knows HTML: the look is in `page.css`, the elements are in `templates/`. Templates
escape every text, so that a name that a user chose is shown and never run.
"""
