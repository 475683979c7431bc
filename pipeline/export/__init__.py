"""Writing what is kept: filtered shards, subset files, URL lists and FAISS indexes.

`tars`, `subset`, `urls` and `faiss_index` are the exports; the other modules are their parts. `kept` says which
rows a decision keeps. The same decision gives the same bytes, however often an export was interrupted.
"""
