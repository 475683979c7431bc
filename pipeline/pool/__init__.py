"""Reading a pool: which shards it has, and the samples in each of them.

`kinds` is the door: one class for each kind of pool. Behind it, `tar`, `webdataset` and `tar_reader` read
tars, `table_reader` and `text_tables` read tables, and `datacomp/` reads a DataComp folder.
`sample_table` holds the samples once they are read, and `columns` finds a column by its full name. Input is
untrusted: a bad sample becomes a reason, never an exception.
"""
