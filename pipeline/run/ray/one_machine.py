"""Ray on this machine alone, without the processes that have nothing to do there.

Ray and Ray Data start helper processes beside the workers of a pass. Six of them serve a cluster, and cost
4.4 CPU seconds together. On one machine that Winnow starts Ray on, nothing can be scaled, every worker is on
the same node, there is no dashboard that shows statistics, and no log is copied to the driver. So these are
not started:

    monitor              asks for more machines
    log monitor          copies the workers' logs to drivers; the files themselves are written by the workers
    API server           the dashboard's; without a dashboard it counts usage alone
    autoscaler actor     collects the requests of Ray Data for more machines
    statistics actor     collects what the dashboard shows of Ray Data
    location actor       says on which node each worker of a pool is

Ray has no settings for this. So private functions of Ray 2.60 are replaced. Every other version keeps all of
its helpers, as does a cluster that Winnow connects to.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import ray

KNOWN = "2.60."  # with what the versions begin whose functions these are
DATA = "ray.data._internal."
_SMALL = set[str]()  # nodes that `small_head` started, by id


@contextmanager
def small_head() -> Iterator[None]:
    """A Ray that is started in the block has no monitor, log monitor and API server."""
    names = ("start_monitor", "start_log_monitor", "start_api_server")
    if not ray.__version__.startswith(KNOWN):
        yield
        return
    with _replaced(ray._private.node.Node, dict.fromkeys(names, _nothing)):
        yield
    _SMALL.add(ray.get_runtime_context().get_node_id())


@contextmanager
def few_helpers() -> Iterator[None]:
    """Ray Data starts none of its actors in the block, if `small_head` started Ray."""
    with ExitStack() as stack:
        if _SMALL and ray.get_runtime_context().get_node_id() in _SMALL:
            for module, others in _STAND_INS.items():
                stack.enter_context(_replaced(import_module(DATA + module), others))
        yield


class Nobody:
    """In the place of an actor's handle. Its methods may be called with anything, and nothing happens."""

    def __getattr__(self, name: str) -> "Nobody":
        if name.startswith("__"):  # what pickle asks for
            raise AttributeError(name)
        return self

    def remote(self, *_: Any, **__: Any) -> None:
        """A call of a method."""


def _here(workers: tuple[str, ...]) -> dict[str, str]:
    """The node of each worker."""
    return dict.fromkeys(workers, ray.get_runtime_context().get_node_id())


def _no_autoscaler(*_: Any, **__: Any) -> Any:
    """An autoscaler that asks for nothing. The machine has what Ray was started with."""
    from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution.interfaces import ExecutionResources

    total = ExecutionResources.from_resource_dict(ray.cluster_resources())

    class OneMachine(ClusterAutoscaler):  # type: ignore[misc]
        """See `_no_autoscaler`."""

        try_trigger_scaling = on_executor_shutdown = _nothing

        def get_total_resources(self) -> ExecutionResources:
            """The same always."""
            return total

    return OneMachine()


def _nothing(*_: Any, **__: Any) -> None:
    """Instead of a function that would start something."""


_STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "stats": {"get_or_create_stats_actor": Nobody},
    "execution.streaming_executor": {"create_cluster_autoscaler": _no_autoscaler},
    "execution.operators.actor_pool_map_operator": {
        "get_or_create_actor_location_tracker": Nobody,
        "get_actor_locations": _here,
    },
}


@contextmanager
def _replaced(place: Any, others: Mapping[str, Any]) -> Iterator[None]:
    """Others stand in the place of functions while the block runs."""
    before = {name: getattr(place, name) for name in others}
    for name, other in others.items():
        setattr(place, name, other)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(place, name, function)
