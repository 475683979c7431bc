"""Files that are published whole, on a local disk or any fsspec file system.

`folder` publishes files, `ranges` reads bytes, `retry` repeats what storage refused, and `store` keeps the
tables of one pool: `footers`, `packs` and `compact` make many small parts cheap. `layout` names every path.
Nothing here knows what a sample is.
"""
