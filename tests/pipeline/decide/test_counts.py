"""Of any verdicts, every row is counted once: as kept, as dropped or as failed."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.counts import count_verdicts, verdict_table
from pipeline.rule import Rule

VERDICTS = st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3)


@given(st.lists(st.tuples(VERDICTS, st.sampled_from(["no image", "bad: 1", "bad: 2", None])), max_size=30),
       st.lists(st.sampled_from(["drop", "keep"]), min_size=3, max_size=3))  # fmt: skip
def test_books_balance(rows, missing):
    rules = {f"r{i}": Rule(column="x.v", min=0, missing=missing[i]) for i in range(3)}
    verdicts = [pl.Series(f"r{i}", [row[0][i] for row in rows], pl.Boolean) for i in range(3)]
    frame = pl.DataFrame({"x.error": pl.Series([row[1] for row in rows], dtype=pl.String)})
    decided = verdict_table(rules, verdicts, len(rows))
    counts = count_verdicts(rules, decided, frame)
    keep = decided["keep"]
    assert counts.samples == len(rows)
    assert counts.kept == keep.sum()
    assert counts.samples == counts.kept + sum(counts.dropped.values()) + sum(counts.failed.values())
    assert all(counts.fails_only[name] <= counts.dropped[name] <= counts.fails[name] for name in rules)
    for row, kept in zip(rows, keep, strict=True):
        expected = all(
            v is True or (v is None and how == "keep") for v, how in zip(row[0], missing, strict=True)
        )
        assert kept == expected
    assert {reason for _, reason in counts.failed} <= {"no image", "bad", "no value"}
