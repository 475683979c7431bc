"""Searching an index that `winnow export` wrote: which samples are nearest to some vectors.

`manifest.py` reads what the index says of itself, `index.py` opens its files and searches them, `metadata.py`
finds the samples behind rows, `hits.py` is the result. `samples.py` fetches what the pool holds of hits,
`grid.py` shows their pictures, and `exported.py` writes them as tars or as a subset file.
"""
