"""How rows that share a key meet: the passes of Groups.

`meet.py` runs a pass, with any executor. Its tasks, which go to workers, are in `tasks.py`; `cells.py` holds
the files between them, `work.py` what a task needs to know, `splitting.py` cuts groups that are too large,
and `reasons.py` says why a row has no result.
"""
