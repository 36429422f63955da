"""Where each paper and its released code differ, and which one is the default here: data only.

One file per method. Imports the record `Difference` of `_method` and no room.
"""
