"""Every export has a field of the recipe's `export` and an exporter, and what the field's marks say is all
there is."""

import json
import os
import re
from dataclasses import is_dataclass

import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.app import app
from pipeline.errors import RecipeError
from pipeline.export.exporters import EXPORTERS, requested
from pipeline.plan.cluster import check_paths
from pipeline.recipe.own_names import own_name
from pipeline.recipe.sections import Export
from tests.support.decided_pool import decided, ordinary, recipe
from tests.support.paths import PLUGINS

OPTIONS = {
    "caption",
    "repeats",
    "samples_per_shard",
    "table_embedding",
    "indexes",
}  # not one export each
EVERY = {
    "shards": "shards",
    "subset": "subset.npy",
    "urls": "urls",
    "table": "kept.parquet",
    "index": {"embedding": "vector.embedding", "path": "index"},
    "repeats": "caption.words",
}


def test_fields_and_exporters_are_the_same():
    names = [exporter.name for exporter in EXPORTERS]
    assert sorted(names) == sorted(Export.model_fields.keys() - OPTIONS)
    assert len(set(names)) == len(names)
    assert EVERY.keys() - OPTIONS == set(names)


def test_every_export_declares_one_path():
    export = Export.model_validate(EVERY)
    assert {key: path for key, (path, _) in export.destinations().items()} == {
        "export.shards": "shards",
        "export.subset": "subset.npy",
        "export.urls": "urls",
        "export.table": "kept.parquet",
        "export.index.path": "index",
    }
    assert [key for key, (_, mark) in export.destinations().items() if mark.images] == ["export.shards"]
    assert {key: column for key, (column, _) in export.columns().items()} == {
        "export.repeats": "caption.words",
        "export.index.embedding": "vector.embedding",
    }
    assert (Export().destinations(), Export().columns()) == ({}, {})


@pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda exporter: exporter.name)
def test_one_field_requests_one_exporter(exporter):
    assert requested(Export.model_validate({exporter.name: EVERY[exporter.name]})) == [exporter]


@pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda exporter: exporter.name)
def test_a_relative_path_is_an_error_on_a_cluster(exporter, tmp_path):
    made = recipe(tmp_path, {exporter.name: EVERY[exporter.name]})
    with pytest.raises(RecipeError, match=rf"export\.{exporter.name}.* must be an absolute path"):
        check_paths(made)


def test_a_decision_covers_the_columns_that_exports_read(tmp_path):
    ordinary(tmp_path / "pool")
    plain = decided(tmp_path, {"table": "t.parquet"})
    assert plain.columns_read() == ["caption.characters"]
    reading = decided(tmp_path, {"index": EVERY["index"], "repeats": "caption.words"})
    assert reading.columns_read() == ["caption.characters", "caption.words", "vector.embedding"]
    assert reading.decisions != plain.decisions


def test_every_export_of_one_recipe(tmp_path):
    """The results are dataclasses, of which --json prints the fields."""
    ordinary(tmp_path / "pool")
    export = {name: f"{tmp_path}/{EVERY[name]}" for name in ("shards", "subset", "urls", "table")}
    export |= {"index": {**EVERY["index"], "path": f"{tmp_path}/index"}, "repeats": "caption.words"}
    data = {
        "name": "test",
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "plugins": [str(PLUGINS)],
        "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
        "keep": {"caption.characters": {"min": 3}},
        "export": export,
    }
    (tmp_path / "r.yaml").write_text(json.dumps(data))  # JSON is YAML
    done = CliRunner().invoke(app, ["run", f"{tmp_path}/r.yaml", "--local", "--json"], catch_exceptions=False)
    written = json.loads(done.stdout)["written"]
    assert list(written) == [exporter.name for exporter in EXPORTERS]
    assert (
        written.pop("index").items()
        >= {
            "embedding": "vector.embedding",
            "factory": "auto",
            "metric": "inner_product",
            "key": "Flat",
            "rows": 8,
            "missing": 0,
            "dimension": 8,
            "path": f"{tmp_path}/index",
            "written": True,
        }.items()
    )
    assert written == {  # 8 samples are kept, each of them 3 times by `repeats`
        "shards": {
            "path": f"{tmp_path}/shards",
            "shards": 1,
            "samples": 24,
            "written": 1,
            "skipped": 0,
            "without_caption": 0,
        },
        "subset": {"path": f"{tmp_path}/subset.npy", "rows": 24},
        "urls": {"path": f"{tmp_path}/urls", "files": 1, "rows": 8, "without_url": 0},
        "table": {"path": f"{tmp_path}/kept.parquet", "rows": 8, "written": True},
    }
    assert pl.read_parquet(tmp_path / "kept.parquet").height == 8
    for path, mark in Export.model_validate(export).destinations().values():
        names = os.listdir(path) if mark.files else ()
        assert all(re.fullmatch(mark.files, name) or own_name(name) for name in names), names


def test_results_are_frozen_dataclasses(tmp_path):
    for exporter in EXPORTERS:
        result = exporter.write.__annotations__["return"]
        assert is_dataclass(result)
        assert result.__dataclass_params__.frozen
        assert "path" in result.__dataclass_fields__
