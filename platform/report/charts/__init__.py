"""The charts of a report, drawn with matplotlib.

One file for each kind of chart; `chart` turns them into SVG for a page, or into files.
"""
