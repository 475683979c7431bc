"""The engine of Winnow: reads shards, runs operators, stores columns, decides. Knows no method.

The engine tells what it does to the logger `winnow`, with a child per room (`winnow.run`, `winnow.storage`,
`winnow.export`): INFO for each pass, WARNING for each retry, failed shard and restart. It writes nothing
until a program attaches a handler: the command line does so with `--verbose` (jobs/terminal/log.py), and a
worker process of Ray does so always (run/ray/log.py).
"""

import logging

logging.getLogger("winnow").addHandler(logging.NullHandler())
