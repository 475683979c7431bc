"""Downloading lists of URLs into shards with img2dataset: `winnow ingest`.

`steps` reads the list and hands out chunks, `download` makes one shard of a chunk in a process of its own,
`guard` keeps downloads away from private addresses, and `books` counts every URL.
"""
