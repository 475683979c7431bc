"""What a recipe needs, what the store has, and the passes that are missing.

`session` binds a recipe to its pool and store. `keys` names results by what they depend on, `stored` says which
of them exist, `passes` lists the work that is left, and `cluster` places it on machines. Planning is pure: it
reads no sample and starts no process.
"""
