"""Running passes, as a plain loop or on Ray, with equal bytes.

`compute` runs what is missing. `batches` cuts a shard into batches, `decode` makes pixels, `stage` runs the
operators, and `collector` publishes their columns. `executor` is the plain loop, `on_ray` the same on Ray Data.
`on_ray` is the only module that imports Ray.
"""
