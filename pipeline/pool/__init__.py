"""Reading a pool: which shards it has, and the samples in each of them.

`listing/` finds the files that the paths of a recipe stand for. `kinds/` is the door to them: one class for
each kind of pool. Behind it, `tar`, `webdataset`, `tar_reader` and `archive/` read tars, `table_reader` and
`text_tables` read tables, and `datacomp/` reads a DataComp folder.
`sample_table` holds the samples once they are read, and `columns` finds a column by its full name. Input is
untrusted: a bad sample becomes a reason, never an exception.
"""
