"""Whether the rows of new shards can be added to an index that was written before, and why not.

`sources` is what the rows of an index depend on, by shard; `growth` compares that of the earlier index with
what the store holds now.
"""
