"""Looking ahead: what a job would do, how long it would take, and what would stop it.

`preview` puts the answer of `winnow plan` together, from `checks` of storage and cluster, rates that `measure`
finds on a few shards, and the size of the `upload` to a cluster. Nothing here changes the store.
"""
