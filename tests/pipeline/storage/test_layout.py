"""Every path that Winnow writes in a store belongs to a unit, and no other path does."""

import pytest

from pipeline.storage import layout

KEY = "0123456789abcdef"
COLUMNS = layout.columns_folder("my-clip", KEY)
DECISION = layout.decision_folder("a recipe", KEY)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (layout.part(layout.SAMPLES, "a/b c\n"), "samples"),
        (layout.part(COLUMNS, "shards"), COLUMNS),
        (layout.meta(COLUMNS), COLUMNS),
        (layout.stat("words", KEY), f"stats/words-{KEY}"),
        (layout.stat_meta("words", KEY), f"stats/words-{KEY}"),
        (layout.part(DECISION, "a/shards"), DECISION),
        (layout.rules(DECISION), DECISION),
        (layout.decided_shards(DECISION), DECISION),
        (f"{layout.effects_folder(DECISION)}/words/summary.parquet", f"effects/a recipe-{KEY}"),
        (layout.pack_index(COLUMNS), COLUMNS),
        (layout.pack(COLUMNS, 17), COLUMNS),
        (layout.pack("samples", 1_234_567), "samples"),
        (layout.footer_cache("samples"), "samples"),
        (layout.footer_cache(layout.packs_folder(COLUMNS)), COLUMNS),
        (layout.footer_cache(DECISION), DECISION),
        (layout.footer_cache("stats"), "footers/stats.json"),
        (layout.part(layout.pieces_folder(KEY), "a/b/000000100"), f"pieces/{KEY}"),
        (layout.footer_cache(layout.pieces_folder(KEY)), f"pieces/{KEY}"),
        (layout.run_log("20260101T000000-7"), "runs"),
        (layout.damaged(layout.meta(COLUMNS)), "damaged"),
        *((name, name) for name in (layout.DIGESTS, layout.DATACOMP, layout.SOURCES, layout.POOL)),
    ],
)
def test_our_paths(path, unit):
    assert layout.unit_of(path) == unit


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "samples/readme.md",
        "samples.parquet",
        "columns/a.parquet",
        "columns/clip/a.parquet",
        f"columns/clip-{KEY}",
        f"columns/clip-{KEY}/meta.json.bak",
        f"columns/clip-{KEY}0/a.parquet",
        f"stats/words-{KEY}.parquet.tmp",
        f"decisions/a-{KEY}/other.json",
        f"other/samples/{KEY}.parquet",
        f"x/columns/clip-{KEY}/a.parquet",
        "packs/notes.parquet",
        f"packs/samples/{KEY}.parquet",
        "footers/notes.json",
        "store.json.old",
        layout.LOCK,
    ],
)
def test_paths_of_others(path):
    assert layout.unit_of(path) is None


def test_the_pack_of_a_path():
    assert layout.packed_in(layout.pack(COLUMNS, 17)) == (COLUMNS, 17)
    assert layout.packed_in(layout.pack("samples", 1_234_567)) == ("samples", 1_234_567)
    assert layout.packed_in(layout.pack_index(COLUMNS)) is None
    assert layout.packed_in(layout.part(COLUMNS, "000001")) is None
