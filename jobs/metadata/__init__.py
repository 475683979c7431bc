"""Making MetaCLIP's metadata lists: `winnow metadata build`.

`wordnet`, `wikipedia`, `words` and `pageviews` read one source each, `sources` runs them with progress and
warnings, and `entries` merges their results into one list.
"""
