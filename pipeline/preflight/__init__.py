"""Looking ahead: what a job would do, how long it would take, and what would stop it.

`preview` puts the answer of `winnow plan` together: the `checks` of storage and cluster, the speeds that
`measure` finds on a few shards, the `estimate` that follows from them, and the size of the `upload` to a
cluster. Nothing here changes the store.
"""
