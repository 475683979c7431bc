"""Files on a local disk or any fsspec file system, each published whole and sealed.

`folder` publishes and lists files, with `disk` for what only local ones need; `ranges` reads bytes, and `web`
those of web servers; `retry` repeats a request that storage refused, and `faults` says what to do without
storage; `locks/` keeps processes apart, `identity` and `digests` say what a file contains. `store` keeps the
tables of one pool: `layout` names every path, `seals` tell damaged files, and `footers` and `packs` make very
many small parts cheap; `recent` is the cache in memory. `upkeep/` does things to a whole store. Nothing here
knows the contents of a sample.
"""
