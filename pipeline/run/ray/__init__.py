"""Passes on Ray: what its workers run, and how they get their work.

`data_flow` runs a pass of Scores on Ray Data: in workers that take whole shards, each a plain loop
(`shard_worker`), or as batches that flow from readers through a pool of workers per stage to collectors
(`data_workers`). `task_flow` has the tasks of Stats, Groups and exports; `log` says where log lines go;
`one_machine` leaves out what Ray starts for clusters alone. Only `data_flow` and `one_machine` import Ray
here, and `on_ray.py`, beside this folder, which is the executor.
"""
