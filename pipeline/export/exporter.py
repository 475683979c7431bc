"""The protocol of an exporter, and the types that all exports share.

`exporters.EXPORTERS` lists all exports. A new one is a module in this folder with a class like the Exporter
below and a frozen dataclass for its result, an entry in that tuple, and a field in
`pipeline.recipe.sections.Export`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.plan.session import Session
from pipeline.run.executor import Executor


@dataclass(frozen=True)
class TaskReport:
    """The outcome of one task of an export: samples and bytes written, or why there are none. `contents`:
    size and digest of each file, for the manifest (places/contents.py)."""

    name: str
    rows: int = 0
    bytes: int = 0
    error: str | None = None
    contents: Mapping[str, str] = field(default_factory=dict)


Report = Callable[[TaskReport], None]  # is called once per task that ends
Watch = Callable[[str, int, str], AbstractContextManager[Report]]  # opens a display: work, tasks, their kind


class Result(Protocol):
    """The result of an export: a frozen dataclass, whose fields are the keys of `--json`."""

    @property
    def path(self) -> str:
        """The file or folder that the export wrote."""


class Exporter(Protocol):
    """One kind of export. These steps use it, in this order:

    1. The recipe sets `export.<name>`. The marks on that field (`Destination` and `ColumnName` in
       recipe/sections.py) declare which paths the export writes, which columns it reads, and whether it
       copies images. The checks of the recipe, of the pool and of paths on a cluster follow from the marks,
       and so does the key of the decision. No code of the exporter runs.
    2. `check` is called for every export, before anything is computed.
    3. The decision is computed and stored.
    4. `write` is called in the driver's process. Exporters run one after the other, in the order of
       EXPORTERS.
    """

    @property
    def name(self) -> str:
        """The field of `export` in a recipe, and the key of the result in `--json`."""

    def check(self, session: Session) -> None:
        """Raises RecipeError if something lies at the export's path that Winnow did not write."""

    def write(self, session: Session, executor: Executor, watch: Watch) -> Result:
        """Write the export for the session's decision.

        An export that is complete already may be left alone. An earlier one stays until the new one is whole
        (`places/`), and equal decisions give equal bytes. Work that can run in parallel goes to the executor;
        `watch("export", n, "shards")` shows the progress of n tasks. Raises RecipeError if there is no
        decision yet or the path holds something that Winnow did not write, HeldError if another process is
        writing there, ShardError if shards cannot be read or the session has none, and ChangedError if the
        store changed meanwhile."""
