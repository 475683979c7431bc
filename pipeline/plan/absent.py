"""What passes need and is not there: files that operators name, models that nobody published, GPUs.

    refused = absent_files(session, passes) + absent_gpus(passes, nodes)
    check_present(session, passes, lambda: executor.nodes)

`winnow plan` names them; a command that computes raises a RecipeError before any work. Nothing here asks
a server: the session has looked at every file already, for the operators' keys. An operator itself says
whether a value that is not a file can be used (`Operator.why_missing`), which packages it lacks
(`Operator.lacks`), and whether a file on this machine begins as it must (`Operator.why_broken`): a broken
file is a RecipeError for `winnow plan`, too.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.assets import WEB
from pipeline.errors import RecipeError, printable
from pipeline.plan.cluster import Node
from pipeline.plan.passes import Pass, ScorePass
from pipeline.plan.session import Session
from pipeline.storage.ranges import local_path

DEVICES = Path("/dev")
CUDA_DEVICES = "nvidia[0-9]*"  # one per GPU
OTHER_DEVICES = ("dxg", "kfd", "nvhost-gpu")  # Windows' Linux, AMD, Jetson: they do not tell how many GPUs
VISIBLE = "CUDA_VISIBLE_DEVICES"


def check_present(session: Session, passes: Sequence[Pass], nodes: Callable[[], Sequence[Node]]) -> None:
    """Raises RecipeError with a line for each thing that these passes need and that is not there. `nodes`
    gives the machines on which they are about to run; it is asked only if a pass needs a GPU."""
    check_files(session, passes)
    gpus = absent_gpus(passes, nodes()) if any(map(_asks_gpus, passes)) else []
    if absent := [*absent_files(session, passes), *gpus]:
        raise RecipeError("\n".join(absent))


def check_files(session: Session, passes: Sequence[Pass]) -> None:
    """Raises RecipeError with a line for each file of these passes' operators that is not what it must be, as
    far as its beginning tells."""
    broken = [
        f"compute.{name}.{key}: {reason}"
        for name in _names(passes)
        for field, key, value, is_file in _files(session, name)
        if is_file and (path := local_path(value)) is not None
        if (reason := session.recipe.operator(name).why_broken(field, path))
    ]
    if broken:
        raise RecipeError("\n".join(map(printable, broken)))


def absent_files(session: Session, passes: Sequence[Pass]) -> list[str]:
    """A line for each value of a `File` field of these passes' operators that is neither a file nor anything
    else that the operator knows, and for whatever else an operator lacks on this machine."""
    lines = list[str]()
    for name in _names(passes):
        operator = session.recipe.operator(name)
        for field, key, value, is_file in _files(session, name):
            if not is_file and (reason := operator.why_missing(field, value)):
                lines.append(f"compute.{name}.{key}: {reason}")
        lines += [f"compute.{name}.{line}" for line in operator.lacks()]
    return lines


def absent_gpus(passes: Sequence[Pass], nodes: Sequence[Node]) -> list[str]:
    """A line for each stage whose workers ask for more GPUs than any machine has."""
    most = max((node.gpus for node in nodes), default=0)
    where = "this machine has" if len(nodes) == 1 else "the largest machine has"
    lines = [
        f"{key}.gpus asks for {stage.resources.gpus:g}, {where} {most:g} (on CPU: --set {key}.gpus=0)"
        for planned in passes
        if isinstance(planned, ScorePass)
        for stage in planned.stages
        if stage.resources.gpus > most
        for key in [f"run.{stage.names[0]}"]
    ]
    return list(dict.fromkeys(lines))


def _asks_gpus(planned: Pass) -> bool:
    """Whether a pass has a stage that asks for GPUs."""
    return isinstance(planned, ScorePass) and any(stage.resources.gpus for stage in planned.stages)


def gpus_here() -> float:
    """The GPUs of this machine that a process may use, by the devices that drivers make: to ask CUDA itself
    would take a library and a second. Infinite if the devices do not tell how many there are."""
    visible = os.environ.get(VISIBLE)
    listed = (
        math.inf if visible is None else len([v for v in visible.split(",") if v.strip() not in ("", "-1")])
    )
    if any((DEVICES / name).exists() for name in OTHER_DEVICES):
        return listed
    return min(listed, len(list(DEVICES.glob(CUDA_DEVICES))))


def _names(passes: Sequence[Pass]) -> dict[str, None]:
    """The operators that passes run, each once."""
    return dict.fromkeys(name for planned in passes for name in _operators(planned))


def _operators(planned: Pass) -> tuple[str, ...]:
    """The operators that a pass runs."""
    return planned.names if isinstance(planned, ScorePass) else (planned.name,)


def _files(session: Session, name: str) -> Iterator[tuple[str, str, str, bool]]:
    """(field, its key in the recipe, value, whether it is a file) of each value of an operator's `File`
    fields. A web address is left out: only its download tells whether it is there."""
    contents = session.contents[name]
    for field, named in session.recipe.operator(name).fields_of("file"):
        digests: Any = contents.get(field)
        values = {field: (named, digests)}
        if isinstance(named, dict):
            values = {f"{field}.{key}": (path, digests.get(key)) for key, path in named.items()}
        for key, (value, digest) in values.items():
            if not value.startswith(WEB):
                yield field, key, value, digest not in (None, value)
