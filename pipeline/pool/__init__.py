"""Reading a pool: which shards it has, and the samples in each of them.

`shards` lists them. Tars are read by `tar`, `webdataset` and `tar_reader`, tables by `table_reader` and
`text_tables`, a DataComp folder by `datacomp` and `npz`. `sample_table` publishes the samples of a shard, and
`columns` finds a column by its full name. Input is untrusted: a bad sample becomes a reason, never an exception.
"""
