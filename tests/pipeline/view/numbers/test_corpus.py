"""The corpus before and after: what is counted of a sample, and what Stats counted."""

import polars as pl
import pytest

from pipeline.view.numbers.corpus import Facts, corpus, domain
from pipeline.view.report import build
from pipeline.view.rows import FATES
from tests.support.decided_pool import decided, ordinary

SCHEMA = {
    "fate": FATES,
    "text": pl.String,
    "domain": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "language": pl.String,
    "has_text": pl.Boolean,
}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.org:8080/a?b", "example.org"),
        ("http://user:secret@cdn.example.net/x", "cdn.example.net"),
        ("s3://bucket/key", "bucket"),
        ("http://a.b?x=//c.d/", "a.b"),
        ("no url", None),
        ("", None),
        (None, None),
    ],
)
def test_the_domain_of_a_url(url, host):
    frame = pl.DataFrame({"url": [url]}, schema={"url": pl.String})
    assert frame.select(domain(pl.col("url"))).item() == host


def panels(rows: list[tuple[object, ...]], tmp_path, samples: int | None = None):
    """The panels of a sample over a small session, by title."""
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {})
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return {panel.title: panel for panel in corpus(session, frame, samples or len(rows))}


ROWS = [
    ("kept", "a Dog and a cat", "a.org", 300, 200, "en", True),
    ("dropped", "dog", "b.org", 100, 100, "de", False),
    ("failed", None, None, None, None, None, None),
    ("kept", "x " * 80, "a.org", 30, 6_000, "en", False),
    ("dropped", "", "b.org", 0, 0, None, False),
]


def test_counts_before_and_after(tmp_path):
    found = panels(ROWS, tmp_path)
    words = found["Words of the caption"]
    assert words.kind == "steps"
    assert len(words.edges) == len(words.all) + 1
    assert {i: n for i, n in enumerate(words.all) if n} == {0: 1, 1: 1, 5: 1, 40: 1}
    assert {i: n for i, n in enumerate(words.kept) if n} == {5: 1, 40: 1}
    assert words.note.startswith("all samples; 1 without a value")
    domains = found["Domains of the URLs"]
    assert (domains.labels, domains.all, domains.kept) == (["a.org", "b.org"], [2, 2], [2, 0])
    language = found["Language of the caption"]
    assert (language.labels, language.all, language.kept) == (["en", "de"], [2, 1], [2, 0])
    text = found["Pictures with text in them"]
    assert (text.labels, text.all, text.kept) == (["without text", "with text"], [3, 1], [1, 1])
    side = found["Shorter side of the picture, pixels"]
    assert {side.edges[i]: n for i, n in enumerate(side.all) if n} == {0: 2, 100: 1, 200: 1}
    aspect = found["Longer side / shorter side"]
    assert {aspect.edges[i]: n for i, n in enumerate(aspect.all) if n} == {1: 1, 1.5: 1, 6: 1}


def test_words_by_rank_of_a_sample(tmp_path):
    words = panels([r for r in ROWS if r[1] != "x " * 80], tmp_path)["words"]
    assert (words.kind, words.ranks) == ("loglog", [1, 2, 3, 4])
    assert (words.all, words.kept) == ([2, 2, 1, 1], [2, 1, 1, 1])


def test_a_sample_is_called_so(tmp_path):
    note = panels(ROWS, tmp_path, samples=1_000)["Domains of the URLs"].note
    assert note == "a seeded sample of 5 of 1,000 samples; 1 without a value"


def test_rare_texts_are_put_together(tmp_path):
    rows = [("kept", "a", f"{i:03}.org", 1, 1, "en", None) for i in range(50)]
    domains = panels(rows, tmp_path)["Domains of the URLs"]
    assert (domains.labels[0], domains.labels[-1], len(domains.labels)) == ("000.org", "35 others", 16)
    assert (sum(domains.all), domains.kept[-1]) == (50, 35)
    assert "Pictures with text in them" not in panels(rows, tmp_path)
    assert panels(rows[:16], tmp_path)["Domains of the URLs"].labels[-1] == "015.org"  # not `1 others`


def test_a_report_names_the_columns_of_its_recipe(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {})
    assert (Facts.of(session).language, Facts.of(session).boxes) == ("caption.language", None)
    found = {panel.title: panel for panel in build(session).corpus}
    assert found["Domains of the URLs"].labels == ["example.org"]
    assert sum(found["Words of the caption"].all) == 12
    assert sum(found["Language of the caption"].kept) == 8


def test_words_of_a_stat_are_those_of_the_whole_pool(tmp_path):
    ordinary(tmp_path / "pool")
    compute = {
        "caption": {"use": "caption.Caption"},
        "vector": {"use": "vectors.Vector"},
        "count": {"use": "wfpp.WordFrequency", "minimum_count": 1},
    }
    found = {panel.title: panel for panel in build(decided(tmp_path, {}, compute=compute)).corpus}
    assert "words" not in found
    curve = found["count: how often each word occurs"]
    assert (curve.all[0], curve.kept) == (8, [])
    assert "winnow effects" in curve.note
