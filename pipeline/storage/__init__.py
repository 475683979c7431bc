"""Files on a local disk or any fsspec file system, each published whole.

`folder` publishes and lists files, `ranges` reads bytes, `retry` repeats a request that storage refused,
`digests` hashes the files that operators name. `store` keeps the tables of one pool: `layout` names every
path, and `footers`, `packs` and `compact` make very many small parts cheap; `recent` is the cache in memory.
Nothing here knows the contents of a sample.
"""
