"""Evaluations of finished runs, one file each; a file's name is what a command calls it.

Each file ends with `EVALUATION`, a record of `evaluation.contract`. A folder
`deep_clustering/platform/evaluations` elsewhere on Python's path adds its files.

May import what stands to its left in CONTRIBUTING.md.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
