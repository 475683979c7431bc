"""Running passes, as a plain loop or on Ray, with equal bytes.

`compute` runs the missing passes. `batches` cuts a shard into batches, `stage` runs the operators on a
batch, with pixels from `decode`, and `collector` publishes the new columns. `stats` reduces columns to the
tables of Stats. `executor` holds the plain loop, `on_ray` the same on Ray, with the modules of `ray`. `log`
records how long each run took.
"""
