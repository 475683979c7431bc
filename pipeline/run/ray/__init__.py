"""Passes on Ray: what its workers run, and how they get their work.

`shard_flow` hands whole shards to workers, each of which is a plain loop (`shard_worker`). `data_flow` lets
batches flow through Ray Data, from readers through a pool of workers per stage (`data_workers`) to
collectors. `task_flow` has the tasks of Stats, Groups and exports; `log` says where log lines go. Only
`data_flow` imports Ray here. `on_ray.py`, beside this folder, chooses among them.
"""
