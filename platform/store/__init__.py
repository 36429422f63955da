"""What has been computed: one immutable file per result, on a disk or in an object store.

`store.Store` is the door; `schema` says which columns its tables have.

May import errors; nothing further to the right.
"""
