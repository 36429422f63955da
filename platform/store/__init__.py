"""What has been computed: one immutable file per result, on a disk or in an object store.

`store.Store` is the door, and `schema` says which columns the tables have; others import these two.
Behind the door `_rows`, `_plans` and `_segments` read and write, `_repair` cleans up, and `_damage`
says what is wrong with a file. `_files` is what a place for files has to offer, `_local` and
`_remote` are two such places, and `_backends` finds the one that an address belongs to.

May import errors, registry, metrics and data; nothing further to the right.
"""
