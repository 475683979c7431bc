"""What operators have to say about some rows of the pool, such as that a list does not fit its captions;
tables of embeddings that another model made; and columns of a network that ran on GPUs and on CPUs.

doubts(session)    -> ["compute.entries: 49 % of 2,000 captions match no entry of ...", ...]
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import polars as pl

from pipeline.errors import ShardError, texts
from pipeline.operator import Operator
from pipeline.plan.passes import runs_a_network
from pipeline.plan.session import Session
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.folder import Folder
from pipeline.storage.layout import NOTE
from pipeline.storage.retry import from_storage
from pipeline.storage.seals import BrokenError, open_json

SHARDS = 4  # that rows are taken from, evenly over the pool
ROWS = 500  # of each


def doubts(session: Session) -> list[str]:
    """A line for each doubt, which begins with the operator's key. Of shards whose samples, and of operators
    whose inputs, are not in the store, there is none."""
    known = [shard.name for shard in session.shards if shard.content]
    chosen = list(islice(known, 0, None, max(1, len(known) // SHARDS)))[:SHARDS]
    said = []
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        found = [*_of_tables(session, operator), *_of_devices(session, name)]
        if type(operator).doubts is not Operator.doubts:
            found += texts(_of_operator(session, operator, chosen), f"{name}: doubts")
        said += [f"compute.{name}: {text}" for text in found]
    return said


def _of_tables(session: Session, operator: Operator) -> Iterator[str]:
    """A doubt for each `export.table` that an operator reads whose embeddings are of another model than those
    of the recipe, as the keys of both say: cosines of two models are small, whatever the pictures show."""
    for _, value in operator.fields_of("file"):
        for path in value.values() if isinstance(value, dict) else (value,):
            column, key = _embedding_of(path)
            for own in operator.inputs():
                maker = owner(own) or ""
                alike = own.partition(".")[2] == column.partition(".")[2]
                if column and alike and session.keys.get(maker, key) != key:
                    yield (
                        f"{path} holds {column} of another model, weights or preprocessing than {own} of this "
                        "recipe, so their cosines say nothing; make both by the same line of `compute`"
                    )


def _embedding_of(path: str) -> tuple[str, str]:
    """The column of embeddings in a table that Winnow wrote, and the key of the operator that made it; empty
    of another file, and of one whose note cannot be read."""
    if not path.endswith(".parquet"):
        return "", ""  # such as a model's weights, far away
    parent, _, name = path.rpartition("/")
    try:
        note = open_json(Folder(parent or ".").read(f"{name}{NOTE}"))
        column = note["embedding"]
        folders = [str(folder) for folder in note["inputs"]]
    except (ValueError, KeyError, TypeError, BrokenError):
        return "", ""
    except Exception as error:
        if not from_storage(error):
            raise
        return "", ""
    if not isinstance(column, str):
        return "", ""
    made = [folder for folder in folders if folder.startswith(layout.columns_folder(owner(column) or "", ""))]
    return (column, made[0].rpartition("-")[2]) if made else ("", "")


def _of_devices(session: Session, name: str) -> Iterator[str]:
    """A doubt if a network computed some shards on a GPU, and others not."""
    if not runs_a_network(session.recipe.operator(name)):
        return
    known = [shard.name for shard in session.shards if shard.content]
    footers = session.store.footers(session.folder(name), known).values()
    on_gpu = sum(layout.ON_GPU in footer.notes for footer in footers)
    if 0 < on_gpu < len(footers):
        yield (
            f"a GPU computed {on_gpu:,} of {len(footers):,} shards, and CPUs the others: a network gives slightly "
            f"different results there; `winnow store forget RECIPE {name}` has all of them computed anew"
        )


def _of_operator(session: Session, operator: Operator, shards: list[str]) -> Sequence[str]:
    """The doubts of one operator. Without its files, or with damaged parts, it has none: others say so."""
    try:
        parts = [next(session.columns.batches(shard, operator.inputs(), ROWS)) for shard in shards]
        return operator.doubts(pl.concat(parts)) if parts else []
    except (OSError, ValueError, ShardError):
        return []
