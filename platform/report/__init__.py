"""One HTML file about a suite, a study, a run or a whole store; it opens offline.

`report` writes the file and `samples` reads what its programs need of single images. Inside:
`pages/` says what a page says, `charts/` draws its pictures, `markup/` is its look.

May import what stands to its left in CONTRIBUTING.md.
"""
