"""Making MetaCLIP metadata lists: `winnow metadata build`.

`wordnet`, `wikipedia`, `words` and `pageviews` read the sources, and `entries` merges them into one list.
"""
