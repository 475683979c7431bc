"""Downloading lists of URLs into shards with img2dataset: `winnow ingest`.

`download` fetches one chunk in a process of its own, and `guard` refuses private addresses.
"""
