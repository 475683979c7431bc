"""Imported by the process whose forks `begun_process` starts, before anything else is."""

from tests.support.warm_imports import warm_up

warm_up()
