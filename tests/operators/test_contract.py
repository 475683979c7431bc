"""The contract that every operator fulfils, whoever wrote it. A new operator needs an entry in
contract_parameters.py and one in contract_changes.py.

Same rows out as in, dtypes as declared; permuting rows permutes the output, splitting a batch changes
nothing; a bad row is null and its neighbours do not notice; it pickles; its key changes with every field
and with nothing else. For a Stat: partials merge in any order and grouping to the same table. What a Group
must do is in test_groups.py.
"""

import importlib
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from ray import cloudpickle

import operators
from operators.algorithms.captions import ReadsCaptions
from pipeline.operator import BytesScore, Device, Group, ImageScore, Operator, Score, Stat, Writer
from pipeline.plan.keys import cache_key
from pipeline.recipe.lookup import build, find
from pipeline.recipe.sections import Entry
from pipeline.run.stage.runner import StageRunner
from tests.operators.contract_changes import CHANGES
from tests.operators.contract_files import ROWS
from tests.operators.contract_parameters import PARAMETERS
from tests.operators.contract_rows import STATS, bad, batch, exactly, run
from tests.support.merging import any_cuts, merged_anyhow
from tests.support.samples import picture
from tests.support.tiny_clip import TinyClip

FOLDER = Path(operators.__path__[0])


def defined(module: str) -> list[str]:
    """`module.Class` of every operator a module of `operators` defines."""
    found = [c for c in vars(importlib.import_module(f"operators.{module}")).values() if isinstance(c, type)]
    own = [c for c in found if c.__module__ == f"operators.{module}"]
    return [f"{module}.{c.__name__}" for c in own if issubclass(c, Writer | Stat)]


MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
FOUND = [use for module in MODULES for use in defined(module)]
TOTALS = ["planted.Histogram", *(use for use in FOUND if issubclass(find(use, "", ())[0], Stat))]
GROUPS = [use for use in FOUND if issubclass(find(use, "", ())[0], Group)]
SCORES = [use for use in PARAMETERS if use not in (*TOTALS, *GROUPS)]


def test_every_operator_is_under_contract():
    missing = set(FOUND) - PARAMETERS.keys()
    where = (
        "contract_parameters.py, such as `lambda clip: {}`, and its fields, if any, to contract_changes.py"
    )
    assert not missing, f"add {sorted(missing)} to tests/operators/{where}"


@pytest.fixture
def entry(tiny_clip: TinyClip, planted: str) -> Callable[..., Entry]:
    def make(use: str, **changes: Any) -> Entry:
        return build("it", {"use": use, **PARAMETERS[use](tiny_clip), **changes}, [planted])

    return make


@pytest.fixture
def operator(entry: Callable[..., Entry]) -> Callable[[str], Any]:
    """A fresh operator, set up. Without a package that it needs, the test is skipped."""

    def make(use: str) -> Any:
        made = entry(use).operator.model_copy()
        if lacking := made.lacks():
            pytest.skip(lacking[0])
        if isinstance(made, Writer):
            made.setup(STATS, Device())
        return made

    return make


@pytest.fixture(scope="module")
def results() -> dict[str, pl.DataFrame]:
    """What `whole` has computed."""
    return {}


@pytest.fixture
def whole(operator: Callable[[str], Any], results: dict[str, pl.DataFrame]) -> Callable[[str], pl.DataFrame]:
    """What an operator makes of `batch()` as a whole; each is asked once, since some take seconds."""

    def made(use: str) -> pl.DataFrame:
        if use not in results:
            results[use] = run(operator(use), *batch())
        return results[use]

    return made


# --- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", SCORES)
def test_rows_and_types(use, operator):
    made = operator(use)
    frame, images = batch()
    result = run(made, frame, images)
    assert len(result) == ROWS
    assert set(result.columns) - {"error"} == set(made.writes)
    for name, dtype in made.writes.items():
        assert result[name].dtype == dtype
    assert result.select(pl.all().exclude("error").is_not_null().any()).row(0) == (True,) * len(made.writes)


@pytest.mark.parametrize("use", SCORES)
def test_permuting_rows_permutes_the_output(use, operator, whole):
    frame, images = batch()
    order = np.random.default_rng(0).permutation(ROWS)
    exactly(run(operator(use), frame[order], [images[row] for row in order]), whole(use)[order])


@pytest.mark.parametrize("use", SCORES)
@pytest.mark.parametrize("size", [1, 5, 32])
def test_splitting_a_batch_changes_nothing(use, size, operator, whole):
    made = operator(use)
    frame, images = batch()
    parts = [run(made, frame[i : i + size], images[i : i + size]) for i in range(0, ROWS, size)]
    expected = whole(use)
    exactly(pl.concat(parts, how="vertical_relaxed").cast(expected.schema), expected)


@pytest.mark.parametrize("use", SCORES)
def test_an_empty_batch(use, operator):
    made = operator(use)
    result = run(made, batch(2)[0].clear(), [])
    assert len(result) == 0
    assert all(result[name].dtype == dtype for name, dtype in made.writes.items())
    full = run(made, *batch(2))
    assert {n: result.schema[n] for n in made.writes} == {n: full.schema[n] for n in made.writes}


@pytest.mark.parametrize("use", SCORES)
@pytest.mark.parametrize("bad", [0, 17, ROWS - 1])
def test_one_bad_row_is_null_and_leaves_its_neighbours_alone(use, bad, operator, whole):
    made = operator(use)
    frame, images = batch()
    expected = whole(use)
    lost = pl.col("row") == bad
    holes = frame.with_columns(
        pl.when(~lost).then(pl.col(c)).alias(c)
        for c in frame.columns
        if c not in ("shard", "row", "uid", "key")
    )
    result = run(made, holes, [None if row == bad else image for row, image in enumerate(images)])
    others = [row for row in range(ROWS) if row != bad]
    exactly(result[others].cast(expected.schema), expected[others])
    if set(made.inputs()) != {"uid"}:  # of what has only a name, a score can still be known
        assert all(result[name][bad] is None for name in made.writes)


@pytest.mark.parametrize("use", SCORES)
def test_all_rows_bad(use, operator):
    made = operator(use)
    result = run(made, bad(3), [None] * 3)
    if set(made.inputs()) != {"uid"}:
        assert all(result[name].null_count() == 3 for name in made.writes)
    assert all(result[name].dtype == dtype for name, dtype in made.writes.items())


@pytest.mark.parametrize("use", SCORES)
def test_it_leaves_its_input_alone(use, operator):
    frame, images = batch(5)
    before, pixels = frame.clone(), [image.copy() for image in images if image is not None]
    run(operator(use), frame, images)
    assert_frame_equal(frame, before)
    assert all((now == then).all() for now, then in zip(images, pixels, strict=True))


@pytest.mark.parametrize("use", SCORES)
def test_a_stage_accepts_it(use, entry):
    if lacking := entry(use).operator.lacks():
        pytest.skip(lacking[0])
    runner = StageRunner({"it": entry(use)}, STATS, Device(threads=2), 8)
    frame, _ = batch(20)
    result, tally = runner.run(frame, [picture(row) for row in range(20)])
    writes = entry(use).operator.writes
    assert result.columns == [*frame.columns, *(f"it.{name}" for name in writes), "it.error"]
    assert tally.rows["it"] == 20


# --- all kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", PARAMETERS)
def test_pickles(use, entry):
    """As Ray ships it: plugins by value, since no worker can import them."""
    made = entry(use)
    module = sys.modules[type(made.operator).__module__]
    if made.source is not None:
        cloudpickle.register_pickle_by_value(module)
    try:
        back = pickle.loads(cloudpickle.dumps(made))
    finally:
        if made.source is not None:
            cloudpickle.unregister_pickle_by_value(module)
    assert (back.use, back.source, back.operator.model_dump()) == (
        made.use,
        made.source,
        made.operator.model_dump(),
    )


@pytest.mark.parametrize("use", PARAMETERS)
def test_the_key_changes_with_every_field_and_the_version_and_nothing_else(use, entry):
    def key(operator: Operator) -> str:
        return cache_key(use, operator, {}, {})

    plain = entry(use).operator
    captions = {"text": "best.text"} if isinstance(plain, ReadsCaptions) else {}
    changes = {**CHANGES.get(use, {}), **captions}
    other = f"CHANGES[{use!r}] in contract_changes.py must have another value of every field"
    assert changes.keys() == type(plain).model_fields.keys(), other
    assert key(entry(use).operator) == key(plain) == key(plain.model_copy())
    together = [  # a field that is only allowed beside others comes with them
        value if isinstance(value, dict) and field in value else {field: value}
        for field, value in changes.items()
    ]
    keys = {key(entry(use, **change).operator) for change in together}
    assert len(keys | {key(plain)}) == 1 + len(changes)
    later = type("Later", (type(plain),), {"version": type(plain).version + 1, "__module__": __name__})
    assert key(later(**plain.model_dump())) not in keys | {key(plain)}
    if isinstance(plain, Writer) and not plain.lacks():
        ready = plain.model_copy()
        ready.setup(STATS, Device())
        assert key(ready) == key(plain)


@pytest.mark.parametrize("use", PARAMETERS)
def test_fields_are_frozen_and_closed(use, entry):
    made = entry(use).operator
    with pytest.raises(ValueError, match=r"frozen|no field"):
        made.no_such_field = 1
    assert type(made).model_config["extra"] == "forbid"
    assert all(isinstance(name, str) for name in made.inputs())


@pytest.mark.parametrize("module", MODULES)
def test_the_module_says_what_it_measures(module):
    doc = importlib.import_module(f"operators.{module}").__doc__
    first = doc.split("\n")[0]
    assert first.endswith(".") or doc.split("\n\n")[0].rstrip().endswith(".")
    absent = [part for part in ("Columns", "Source", "Differs") if part not in doc]
    assert not absent, f"the docstring of operators/{module}.py lacks {absent}: see CONTRIBUTING.md"
    parts = [doc.index(part) for part in ("Columns", "Source", "Differs")]
    assert parts == sorted(parts)
    for use in defined(module):
        cls = getattr(importlib.import_module(f"operators.{module}"), use.split(".")[1])
        assert cls.__doc__
        assert all(name in doc for name in getattr(cls, "writes", {}))


# --- stats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", TOTALS)
def test_partials_merge_in_any_order_and_grouping(use, operator):
    made = operator(use)
    frame, _ = batch(200)
    expected = made.finish(made.merge(made.partial(frame)))
    assert len(expected)
    rng = random.Random(0)
    for _ in range(20):
        parts = [made.partial(frame[a:b]) for a, b in any_cuts(rng, 200)]
        exactly(made.finish(made.merge(merged_anyhow(rng, parts, made.merge))), expected)


@pytest.mark.parametrize("use", TOTALS)
def test_empty_and_bad_rows_add_nothing(use, operator):
    made = operator(use)
    frame, _ = batch(50)
    parts = [made.partial(frame.clear()), made.partial(frame), made.partial(bad(5))]
    assert parts[0].schema == parts[1].schema == parts[2].schema
    exactly(made.finish(made.merge(pl.concat(parts))), made.finish(made.merge(made.partial(frame))))


def test_the_bases_ask_for_their_methods():
    for cls, method, arguments in (
        (Score, "score", [None]),
        (ImageScore, "score", [None, []]),
        (BytesScore, "score", [None, []]),
        (Group, "group", [None]),
        (Stat, "merge", [None]),
    ):
        with pytest.raises(TypeError, match=rf"^{cls.__name__} must define {method}\(\)$"):
            getattr(cls(), method)(*arguments)
