"""Writing the kept samples: filtered shards, subset files, URL lists, FAISS indexes.

`exporters` lists all exports, and `exporter` says what one is. `kept` says which rows a decision keeps. The
same decision gives the same bytes, however often an export was interrupted.
"""
