"""What every operator must do, whoever wrote it. A new operator needs one line in `PARAMETERS`.

Same rows out as in, dtypes as declared; permuting rows permutes the output, splitting a batch changes
nothing; a bad row is null and its neighbours do not notice; it pickles; its key changes with every field
and with nothing else. For a Stat: partials merge in any order and grouping to the same table.
"""

import importlib
import pickle
import random
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from ray import cloudpickle
from safetensors.torch import save_file

import operators
from pipeline.operator import Device, ImageScore, Operator, Score, Stat, Writer
from pipeline.plan.keys import cache_key
from pipeline.recipe.lookup import build, find
from pipeline.recipe.sections import Entry
from pipeline.run.decode import decode
from pipeline.run.stage import StageRunner
from tests.support.samples import picture, samples, uid
from tests.support.tiny_clip import TinyClip
from tests.support.tiny_wordnet import write_wordnet

ROWS = 37  # more than one chunk of a model, and no multiple of one

BALANCE = {"entries": "entries.ids", "counts": "counts", "languages": "at.language"}
BOTH = {"image_embedding": "clip.image_embedding", "text_embedding": "clip.text_embedding"}
OTHER_BOTH = {"image_embedding": "other.image_embedding", "text_embedding": "other.text_embedding"}
DIGITS = {"image_embedding": "clip.image_embedding", "plain": "clip.score"}
FIGURES = {"words": "text.words", "rate": "parrot.rate", "fuzzy_rate": "parrot.fuzzy_rate"}
MASKED = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding"}
REFERENCE = {"embedding": "clip.image_embedding", "normalise": True, "size": 9, "k": 3, "draws": 2}
OUTLIER = {"embedding": "clip.image_embedding", "reference": "reference"}
OTHER_OUTLIER = {"embedding": "other.image_embedding", "reference": "other", "norm": "clip.score"}
OTHER_BALANCE = {"entries": "other.ids", "counts": "others", "languages": "other.language"}


def lists(clip: TinyClip) -> dict[str, str]:
    """Two metadata lists, beside the checkpoint."""
    path = Path(clip.config).with_name("entries.txt")
    path.write_text("dog\nbeach\na\n狗\n", encoding="utf-8")
    return {"en": str(path), "other": str(path)}


def head(clip: TinyClip) -> str:
    """A linear head, beside the checkpoint."""
    path = Path(clip.config).with_name("head.safetensors")
    width = batch(1)[0]["clip.image_embedding"].dtype.shape[0]  # type: ignore[attr-defined]
    save_file({"weight": torch.ones(1, width), "bias": torch.ones(1)}, path)
    return str(path)


def proxies(clip: TinyClip) -> str:
    """Embeddings of a target, beside the checkpoint."""
    path = Path(clip.config).with_name("proxies.npy")
    np.save(path, np.random.default_rng(0).standard_normal((5, 32)).astype(np.float16))
    return str(path)


def subset(clip: TinyClip) -> str:
    """A subset file that asks for every other sample, beside the checkpoint."""
    path = Path(clip.config).with_name("subset.npy")
    rows = [divmod(int(uid("s", row), 16), 2**64) for row in range(0, ROWS, 2)]
    np.save(path, np.sort(np.array(rows, "u8,u8")))
    return str(path)


def clusters(clip: TinyClip) -> dict[str, str]:
    """Centroids, and embeddings near two of them, beside the checkpoint."""
    folder, axes = Path(clip.config).parent, np.eye(32, dtype=np.float32)
    np.save(folder / "centroids.npy", axes[:7])
    np.save(folder / "targets.npy", axes[[1, 1, 4]])
    return {"centroids": str(folder / "centroids.npy"), "targets": str(folder / "targets.npy")}


def entities(clip: TinyClip) -> dict[str, str]:
    """A WordNet, and ids of its dog and its beach, beside the checkpoint."""
    folder = write_wordnet(Path(clip.config).with_name("wordnet"))
    (folder / "ids.txt").write_text("n02084071\nn09217230\n")
    return {"wordnet": str(folder), "ids": str(folder / "ids.txt")}


Parameters = Callable[[TinyClip], dict[str, Any]]
PARAMETERS: Mapping[str, Parameters] = {
    "aesthetic.AestheticScore": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "weights": head(clip),
    },
    "caption.Caption": lambda clip: {},
    "clip.ClipScore": lambda clip: {"model": clip.config, "pretrained": clip.weights},
    "wfpp.WordFrequency": lambda clip: {"minimum_count": 2},
    "wfpp.WordFrequencyScore": lambda clip: {"frequency": "words"},
    "metaclip.EntryMatch": lambda clip: {"metadata": lists(clip), "languages": "at.language"},
    "metaclip.EntryCount": lambda clip: {"entries": "entries.ids"},
    "metaclip.BalanceProbability": lambda clip: {**BALANCE, "t": 9},
    "metaclip.BalanceThreshold": lambda clip: BALANCE,
    "negcliploss.Reference": lambda clip: {**BOTH, "batches": 3, "batch_size": 8},
    "negcliploss.NegClipLoss": lambda clip: {**BOTH, "reference": "batches"},
    "normsim.NormSim": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "proxy": proxies(clip),
        "p": "inf",
    },
    "softcap.ScoreCount": lambda clip: {"logit": "clip.score"},
    "softcap.Repeats": lambda clip: {"logit": "clip.score", "scores": "score_counts", "draws": 60},
    "subset.Copies": lambda clip: {"file": subset(clip)},
    "datacomp.Facts": lambda clip: {},
    "datacomp.Language": lambda clip: {},
    "datacomp.NearestCentroid": lambda clip: {"embedding": "clip.image_embedding", **clusters(clip)},
    "datacomp.TextEntity": lambda clip: entities(clip),
    "digits.NumberFreeScore": lambda clip: {**DIGITS, "model": clip.config, "pretrained": clip.weights},
    "outliers.Reference": lambda clip: REFERENCE,
    "outliers.KDistance": lambda clip: OUTLIER,
    "outliers.Slof": lambda clip: OUTLIER,
    "outliers.Lid": lambda clip: OUTLIER,
    "outliers.Dao": lambda clip: OUTLIER,
    "outliers.IsolationForest": lambda clip: {**OUTLIER, "trees": 10},
    "parrot.CoEmbeddedText": lambda clip: {"words": "text.words", "boxes": "text.boxes"},
    "parrot.MaskEffect": lambda clip: {
        "plain": "clip.score",
        "all": "masked.score",
        "co_embedded": "co.score",
    },
    "parrot.TextFigures": lambda clip: FIGURES,
    "text.TextBoxes": lambda clip: {},
    "text.MaskedClipScore": lambda clip: {"model": clip.config, "pretrained": clip.weights, **MASKED},
    "planted.Length": lambda clip: {"scale": 2},
    "planted.Plus": lambda clip: {"of": "width", "by": 3},
    "planted.Frequency": lambda clip: {"of": "width", "table": "table"},
    "planted.Brightness": lambda clip: {},
    "planted.Redness": lambda clip: {},
    "planted.Histogram": lambda clip: {"of": "width"},
}
CHANGES: Mapping[str, Mapping[str, Any]] = {  # another valid value for each field, or that and others' values
    "aesthetic.AestheticScore": {"image_embedding": "other.image_embedding", "weights": "other.pth"},
    "clip.ClipScore": {"model": "ViT-B-32", "pretrained": "openai"},
    "wfpp.WordFrequency": {"minimum_count": 3},
    "wfpp.WordFrequencyScore": {"frequency": "other", "t": 1e-3, "first": 20, "normalise": False},
    "metaclip.EntryMatch": {"metadata": {"en": ""}, "spacing": "worldwide", "languages": "other.language"},
    "metaclip.EntryCount": {"entries": "other.ids", "languages": "at.language"},
    "metaclip.BalanceProbability": {**OTHER_BALANCE, "t": 8.5, "tail_of": "en"},
    "metaclip.BalanceThreshold": {**OTHER_BALANCE, "seed": 1},
    "negcliploss.Reference": {**OTHER_BOTH, "batches": 2, "batch_size": 9, "seed": 1},
    "negcliploss.NegClipLoss": {**OTHER_BOTH, "reference": "others", "temperature": 0.07},
    "normsim.NormSim": {
        "image_embedding": "other.image_embedding",
        "proxy": {"a": "x.npy"},
        "array": "b32_img",
        "p": 2,
    },
    "softcap.ScoreCount": {"logit": "masked.score"},
    "softcap.Repeats": {
        "logit": "masked.score",
        "scores": "others",
        "draws": 61,
        "penalty": 0.2,
        "most": 15,
        "temperature": 0.01,
        "seed": 1,
    },
    "subset.Copies": {"file": "other.npy"},
    "datacomp.Language": {"detector": "gcld3", "model": "lid.176.bin"},
    "datacomp.NearestCentroid": {
        "embedding": "other.image_embedding",
        "centroids": "other.npy",
        "targets": {"a": "a.npy"},
    },
    "datacomp.TextEntity": {"wordnet": "/usr/share/wordnet", "ids": "other.txt"},
    "digits.NumberFreeScore": {
        "model": "ViT-B-32",
        "pretrained": "openai",
        "combine": "min",
        "image_embedding": "other.image_embedding",
        "plain": "other.score",
    },
    "outliers.Reference": {
        "embedding": "other.image_embedding",
        "normalise": False,
        "text_embedding": "clip.text_embedding",
        "norm": {"norm": "clip.image_norm", "normalise": False},
        "text_norm": {
            "text_norm": "clip.text_norm",
            "norm": "clip.image_norm",
            "normalise": False,
            "text_embedding": "clip.text_embedding",
        },
        "size": 10,
        "k": 4,
        "draws": 3,
        "seed": 1,
        "assumed_rate": 0.1,
    },
    **dict.fromkeys((f"outliers.{name}" for name in ("KDistance", "Slof", "Lid", "Dao")), OTHER_OUTLIER),
    "outliers.IsolationForest": {**OTHER_OUTLIER, "trees": 20, "seed": 1},
    "parrot.CoEmbeddedText": {"words": "other.words", "boxes": "other.boxes", "similarity": 0.5},
    "parrot.MaskEffect": {"plain": "other.score", "all": "other.masked", "co_embedded": ""},
    "parrot.TextFigures": {"words": "other.words", "rate": "other.rate", "fuzzy_rate": "other.fuzzy_rate"},
    "text.TextBoxes": {
        "side": 320,
        "enlarge": 2.0,
        "threshold": 0.5,
        "recognise": False,
        "confidence": 0.75,
    },
    "text.MaskedClipScore": {
        "model": "ViT-B-32",
        "pretrained": "openai",
        "boxes": "parrot.boxes",
        "text_embedding": "other.text_embedding",
        "plain": "clip.score",
        "fill": "telea",
        "ring": 0.2,
    },
    "planted.Length": {"scale": 3},
    "planted.Plus": {"of": "height", "by": 4},
    "planted.Frequency": {"of": "height", "table": "other"},
    "planted.Histogram": {"of": "height"},
}
STATS = {
    "table": pl.DataFrame({"value": [24.0, 25.0], "count": [5, 7]}),
    "words": pl.DataFrame({"word": ["a", "dog", "beach"], "count": [900, 80, 7]}),
    "counts": pl.DataFrame(
        {
            "language": ["en"] * 6,
            "entry": [None, *range(5)],
            "count": [4, 20, 9, 30, 12, 40],
            "texts": [9, *[0] * 5],
        },
        schema={"language": pl.String, "entry": pl.UInt32, "count": pl.UInt64, "texts": pl.UInt64},
    ),
}
STATS["others"] = STATS["counts"]
STATS["score_counts"] = pl.DataFrame({"bin": [0, 2000, 5000], "count": [9, 19, 9]})
STATS["batches"] = pl.DataFrame(
    {"batch": np.arange(20, dtype=np.uint32) // 10, "uid": [uid("s", row * 3) for row in range(20)]}
).with_columns(
    pl.Series(side, np.random.default_rng(seed).standard_normal((20, 32)).astype(np.float16))
    for seed, side in enumerate(BOTH)
)
ROW, BOXES = pl.col("row"), pl.List(pl.List(pl.Float32))
COLUMNS: Mapping[str, pl.Expr] = {  # columns of other operators that some operator reads
    "entries.ids": pl.concat_list(ROW % 3, 3 + ROW % 2).cast(pl.List(pl.UInt32)),
    "at.language": pl.when(ROW % 4 > 0).then(pl.lit("en")).otherwise(pl.lit("de")),
    "clip.image_embedding": pl.concat_list((ROW + d) % 7 / 28 for d in range(32)).cast(
        pl.Array(pl.Float16, 32)
    ),
    "clip.text_embedding": pl.concat_list((ROW + d) % 5 / 19 for d in range(32)).cast(
        pl.Array(pl.Float16, 32)
    ),
    "clip.score": (ROW % 9 / 11).cast(pl.Float32),
    "masked.score": (ROW % 8 / 13).cast(pl.Float32),
    "co.score": (ROW % 5 / 7).cast(pl.Float32),
    "text.words": pl.when(ROW % 3 > 0)
    .then(pl.concat_list(pl.lit("a dog"), pl.lit("Strandd"), (ROW % 2).cast(pl.String)))
    .otherwise(pl.lit([], pl.List(pl.String))),
    "text.boxes": pl.when(ROW % 3 > 0)
    .then(pl.lit([[x, 0.0, 9.0, 0.0, 9.0, 5.0, x, 5.0] for x in range(3)], BOXES))
    .otherwise(pl.lit([], BOXES)),
    "parrot.rate": (ROW % 3 / 3).cast(pl.Float32),
    "parrot.fuzzy_rate": (ROW % 4 / 3).cast(pl.Float32),
}
FOLDER = Path(operators.__path__[0])


def reference() -> pl.DataFrame:
    """Of other rows than those that are scored, and some of them."""
    made = build("it", {"use": "outliers.Reference", **REFERENCE}, []).operator
    assert isinstance(made, Stat)
    rows = (
        samples(50)
        .with_columns(**COLUMNS)
        .with_columns(
            pl.col("clip.image_embedding")
            .arr.to_list()
            .list.eval(pl.element() + 0.1)
            .cast(pl.Array(pl.Float16, 32))
        )
    )
    return made.finish(made.partial(rows[20:]))


STATS["reference"] = reference()


def defined(module: str) -> list[str]:
    """`module.Class` of every operator a module of `operators` defines."""
    found = [c for c in vars(importlib.import_module(f"operators.{module}")).values() if isinstance(c, type)]
    own = [c for c in found if c.__module__ == f"operators.{module}"]
    return [f"{module}.{c.__name__}" for c in own if issubclass(c, Writer | Stat)]


MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
FOUND = [use for module in MODULES for use in defined(module)]
TOTALS = ["planted.Histogram", *(use for use in FOUND if issubclass(find(use, "", ())[0], Stat))]
SCORES = [use for use in PARAMETERS if use not in TOTALS]


def test_every_operator_is_under_contract():
    missing = set(FOUND) - PARAMETERS.keys()
    assert not missing, f"add {sorted(missing)} to PARAMETERS (and its fields to CHANGES)"


@pytest.fixture
def entry(tiny_clip: TinyClip, planted: str) -> Callable[..., Entry]:
    def make(use: str, **changes: Any) -> Entry:
        return build("it", {"use": use, **PARAMETERS[use](tiny_clip), **changes}, [planted])

    return make


@pytest.fixture
def operator(entry: Callable[..., Entry]) -> Callable[[str], Any]:
    """A fresh operator, set up."""

    def make(use: str) -> Any:
        made = entry(use).operator.model_copy()
        if isinstance(made, Writer):
            made.setup(STATS, Device())
        return made

    return make


CAPTIONS = [
    "a dog on a beach",
    "Ein Hund am Strand",
    "沙滩上的一只狗",
    "x",
    "12345",
    "2 dogs, IMG_2041.JPG",
    "a dog " * 60,
    "🐶🏖",
    "A  dog\n\ton a beach ",
    "été",
]


def batch(rows: int = ROWS) -> tuple[pl.DataFrame, list[np.ndarray | None]]:
    """Ordinary rows: every caption and image is there."""
    sizes = [(24 + row % 5, 16 + row % 3) for row in range(rows)]
    frame = samples(
        rows,
        text=[CAPTIONS[row % len(CAPTIONS)] for row in range(rows)],
        width=[width for width, _ in sizes],
        height=[height for _, height in sizes],
        original_width=[48 + row for row in range(rows)],
        original_height=[99] * rows,
        image_length=[100] * rows,
    ).with_columns(**COLUMNS)
    return frame, [decode(picture(row, *size))[0] for row, size in enumerate(sizes)]


def bad(rows: int) -> pl.DataFrame:
    """Rows that have nothing but a name."""
    frame = samples(rows, text=[None] * rows, width=[None] * rows, height=[None] * rows)
    empty = batch(1)[0]
    return frame.with_columns(pl.lit(None, empty.schema[name]).alias(name) for name in COLUMNS)


def run(operator: Any, frame: pl.DataFrame, images: list[np.ndarray | None]) -> pl.DataFrame:
    return operator.score(frame, images) if isinstance(operator, ImageScore) else operator.score(frame)


def exactly(one: pl.DataFrame, two: pl.DataFrame) -> None:
    assert_frame_equal(one, two, check_exact=True)
    for name in one.columns:  # floats compare equal as 0.0 and -0.0; bytes do not
        assert one[name].to_arrow().equals(two[name].to_arrow())


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
def test_permuting_rows_permutes_the_output(use, operator):
    made = operator(use)
    frame, images = batch()
    order = np.random.default_rng(0).permutation(ROWS)
    exactly(run(made, frame[order], [images[row] for row in order]), run(made, frame, images)[order])


@pytest.mark.parametrize("use", SCORES)
@pytest.mark.parametrize("size", [1, 5, 32])
def test_splitting_a_batch_changes_nothing(use, size, operator):
    made = operator(use)
    frame, images = batch()
    parts = [run(made, frame[i : i + size], images[i : i + size]) for i in range(0, ROWS, size)]
    exactly(
        pl.concat(parts, how="vertical_relaxed").cast(run(made, frame, images).schema),
        run(made, frame, images),
    )


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
def test_one_bad_row_is_null_and_leaves_its_neighbours_alone(use, bad, operator):
    made = operator(use)
    frame, images = batch()
    whole = run(made, frame, images)
    lost = pl.col("row") == bad
    holes = frame.with_columns(
        pl.when(~lost).then(pl.col(c)).alias(c)
        for c in frame.columns
        if c not in ("shard", "row", "uid", "key")
    )
    result = run(made, holes, [None if row == bad else image for row, image in enumerate(images)])
    others = [row for row in range(ROWS) if row != bad]
    exactly(result[others].cast(whole.schema), whole[others])
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
    runner = StageRunner({"it": entry(use)}, STATS, Device(threads=2), 8)
    frame, _ = batch(20)
    result, tally = runner.run(frame, [picture(row) for row in range(20)])
    writes = entry(use).operator.writes
    assert result.columns == [*frame.columns, *(f"it.{name}" for name in writes), "it.error"]
    assert tally.rows["it"] == 20


# --- both kinds ------------------------------------------------------------------------------------


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

    changes = CHANGES.get(use, {})
    plain = entry(use).operator
    assert changes.keys() == type(plain).model_fields.keys(), f"CHANGES[{use!r}] must cover every field"
    assert key(entry(use).operator) == key(plain) == key(plain.model_copy())
    together = [  # a field that is only allowed beside others comes with them
        value if isinstance(value, dict) and field in value else {field: value}
        for field, value in changes.items()
    ]
    keys = {key(entry(use, **change).operator) for change in together}
    assert len(keys | {key(plain)}) == 1 + len(changes)
    later = type("Later", (type(plain),), {"version": type(plain).version + 1, "__module__": __name__})
    assert key(later(**plain.model_dump())) not in keys | {key(plain)}
    if isinstance(plain, Writer):
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
    assert len(expected) > 1
    rng = random.Random(0)
    for _ in range(20):
        cuts = sorted({0, 200, *rng.sample(range(200), rng.randrange(1, 9))})
        parts = [made.partial(frame[a:b]) for a, b in pairwise(cuts)]
        rng.shuffle(parts)
        while len(parts) > 1:  # a random tree
            size = rng.randrange(2, len(parts) + 1)
            parts = [*parts[size:], made.merge(pl.concat(parts[:size]))]
            rng.shuffle(parts)
        exactly(made.finish(made.merge(parts[0])), expected)


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
        (Stat, "merge", [None]),
    ):
        with pytest.raises(TypeError, match=rf"^{cls.__name__} must define {method}\(\)$"):
            getattr(cls(), method)(*arguments)
