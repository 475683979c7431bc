"""Planning: compares what a recipe needs with what the store has, and lists the passes that are missing.

`open_pool` lists and checks the pool. `session` binds a recipe to its pool and store. `keys` names results
by what they depend on, `stored` says which of them exist, `passes` lists the missing work, and `cluster`
places it on machines. Planning reads no more of the pool than the first samples of a few shards, and starts
no process.
"""
