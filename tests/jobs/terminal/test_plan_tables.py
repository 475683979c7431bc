"""`winnow plan` on a terminal, from a preview made by hand."""

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

from jobs.terminal import plan_tables
from jobs.terminal.console import Console
from pipeline.preflight.estimate import MissingPass, StagePool, estimate
from pipeline.preflight.index_cost import PlannedIndex
from pipeline.preflight.measure import MeasuredOn
from pipeline.preflight.preview import IndexTask, Preview
from pipeline.preflight.space import Space

COSTS = {"clip": 7200.0, "read": 1800.0}
PASS = MissingPass(("clip",), "score", "tars, 120 MB", 120_000_000, 2, 2000, 7200.0, COSTS, [])
POOL = StagePool(("clip",), 2, 1.5, 1, 8)


@pytest.fixture
def shown(monkeypatch):
    """shown(preview) -> the lines that are printed."""

    def lines(preview: Preview) -> list[str]:
        console = Console(file=io.StringIO(), width=120)
        monkeypatch.setattr("jobs.terminal.tables.console", console)
        plan_tables.plan(preview)
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]

    return lines


def preview(passes: list[MissingPass], hours: float | None = None, exports: Sequence[Space] = ()) -> Preview:
    whole = estimate(passes, hours)
    on = MeasuredOn(1, 500)
    return Preview(
        *(3, 1, 1000, {}, {}, {}, {}, passes, None, [], whole, on, "", exports, []),
        ["run.clip: too [many] workers"],
    )


def test_the_room_that_exports_need(shown):
    spaces = [
        Space("export.shards", "out/[a]", 12_300_000_000, False, 5_000_000, 900_000_000_000),
        Space("export.subset", "a.npy", None, True, 0, 900_000_000_000),
    ]
    lines = shown(preview([PASS], exports=spaces))
    assert "export path needs earlier one free" in lines
    assert "export.shards out/[a] about 12.3 GB 5.0 MB 900.0 GB" in lines
    assert "export.subset a.npy ? - 900.0 GB" in lines


def test_what_a_run_would_be_refused_for_comes_before_warnings(shown):
    reason = "compute.clip.model: open_clip does not know the model [x]"
    lines = shown(replace(preview([PASS]), refused=[reason]))
    at = lines.index("A run on this machine would be refused:")
    assert lines[at + 1 :] == [reason, "warning run.clip: too [many] workers"]


def test_what_it_costs(shown):
    lines = shown(preview([PASS], hours=2))
    assert lines[0] == "3 shards, read before: 1, with 1,000 samples"
    assert "clip tars, 120 MB 2 2,000 2h 00m" in lines
    assert "operator one worker takes share workers for 2 h" in lines
    assert "clip 2h 00m 80% 1" in lines
    assert "measured here on 500 samples in 1 shard" in lines
    assert (
        "1 pass, 120 MB to read; one worker takes 2h 30m; 2 workers finish within 2 h; bottleneck: clip"
        in lines
    )
    assert lines[-1] == "warning run.clip: too [many] workers"


def test_pools_are_shown_for_a_cluster(shown):
    on_cluster = preview([replace(PASS, pools=[POOL])])
    lines = shown(replace(on_cluster, index=IndexTask(1, 6, 0, 0)))
    assert "clip tars, 120 MB 2 x 1.5 CPUs, 1 GPUs, 8 GiB 2 2,000 2h 00m" in lines
    assert "FAISS index: 1 x 6 CPUs, on the machine with the most memory" in lines


def test_what_an_index_will_be_and_cost(shown):
    known = PlannedIndex(
        key="export.index",
        rows=20_000_000,
        at_most=True,
        dimension=512,
        factory="IVF65536_HNSW32,SQ8",
        bytes=10_500_000_000,
        memory=8,
        parts=40,
        joined=False,
        training_rows=2_621_440,
        train_seconds=600,
        add_seconds=7_500,
        measured=False,
    )
    unknown = dict.fromkeys(("rows", "bytes", "parts", "joined", "training_rows", "train_seconds"))
    grows = replace(known, key="export.indexes.a", remark="adds 1 shard", **unknown)
    lines = shown(replace(preview([]), indexes=[known, grows]))
    assert "export.indexes.a adds 1 shard" in lines
    assert "Indexes, CPU time by known rates; --measure takes those of this machine" in " ".join(lines)
    text = " ".join(lines)
    for part in (
        "IVF65536_HNSW32,SQ8",
        "20,000,000",
        "10.5 GB",
        "40, left",
        "2,621,440",
        "10m 00s",
        "2h 05m",
    ):
        assert part in text, text
    assert "unknown" in text


def test_measure_is_named_where_no_speed_is_known(shown):
    unknown, counts = replace(PASS, seconds=None, costs={}), replace(preview([]), measured=None)
    hint = "How long this takes is not known yet: add --measure 1, which tries what is missing on one shard"
    assert hint in shown(replace(counts, passes=[PASS, unknown]))
    for known in (
        replace(counts, passes=[PASS]),
        counts,  # everything is computed
        preview([unknown]),  # it was measured
    ):
        assert not any("--measure 1" in line for line in shown(known))


def test_nothing_is_known_and_nothing_is_missing(shown):
    unknown = replace(PASS, operators=(), samples=None, seconds=None, costs={})
    lines = shown(replace(preview([unknown]), samples=None, indexed=0))
    assert lines[0] == "3 shards, read before: 0"
    assert "(samples only) tars, 120 MB 2 ? unknown" in lines
    assert not any("bottleneck" in line for line in lines)
    assert "Everything is computed." in shown(preview([]))
