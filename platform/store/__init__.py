"""What has been computed: one immutable file per result, on a disk or in an object store.

`store.Store` is the door, and `schema` says which columns the tables have; others import these two.
Behind the door `_runs` and `_stages` hold results, which `_commits` makes exist; `_rows` reads
rows and tables, `_segments` copies of many, `_copies` models and artefacts. `_plans` says what was
asked for, `_mark` which format the store has, `_repair` cleans up, and `_damage` says what is wrong
with a file. `_files` is what a place for files has to offer, `_local` and `_remote` are two such
places, `_backends` finds the one that an address belongs to, and `_names` says which names fit.

May import what stands to its left in CONTRIBUTING.md.
"""
