"""A report as a whole: the same numbers however the pool is cut, the same samples every time, and bounds."""

import base64
import io

import numpy as np
import orjson
import pytest
import yaml
from PIL import Image

from jobs.datacomp.pool import Plan, make_pool
from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.progress import watching
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.view import rows
from pipeline.view.cards import Cost
from pipeline.view.report import Options, Report, build
from tests.support.decided_pool import decided, ordinary, sample, write_tar


def plain(report: Report) -> bytes:
    """A report as the page holds it."""
    return orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.fixture
def session(tmp_path) -> Session:
    """Twelve samples, of which eight are kept."""
    ordinary(tmp_path / "pool")
    keep = {"caption.characters": {"min": 3}, "side": {"column": "caption.side", "top": 0.5}}
    return decided(tmp_path, {}, keep=keep)


def test_the_counts_are_those_of_the_decision(session):
    decision = decide(session)
    report = build(session, pending={"00009": "not there"})
    assert (report.books.samples, report.books.kept) == (12, decision.kept)
    assert report.books.pending == {"00009": "not there"}
    for panel in report.rules:
        counts = decision.rules[panel.name]
        assert (panel.passes, panel.fails_only, panel.bound) == (
            counts.passes,
            counts.fails_only,
            counts.bound,
        )
        assert sum(panel.histogram.kept) == decision.kept
    assert [(c.fails, c.count) for c in report.overlap] == [(("caption.characters",), 4)]
    assert (report.sample.rows, report.sample.exact) == (12, True)


def test_the_sample_of_the_page_tells_what_moving_two_sliders_keeps(session):
    report = build(session)
    levels = {n: np.frombuffer(base64.b64decode(s), "<u2") for n, s in report.sample.stop.items()}
    fixed = np.frombuffer(base64.b64decode(report.sample.fixed), np.uint8) == 1
    passes = fixed & True
    for panel in report.rules:
        own = levels[panel.name]
        passes &= (own != 65_535) & (own > panel.slider.current)
    assert passes.sum() == report.books.kept


def test_samples_are_shown_with_their_pictures(session):
    cost = Cost()
    report = build(session, Options(side=10), cost=cost)
    cards = report.pictures.cards
    groups = {(group.rule, group.kind): [cards[i] for i in group.ids] for group in report.pictures.groups}
    dropped = groups["caption.characters", "just_dropped"]
    assert {card.fate for card in dropped} == {"dropped"}
    assert [list(card.captions) for card in dropped] == [["no"]] * 4
    assert [rule.verdict for rule in dropped[0].rules] == ["fails", "passes"]
    data = base64.b64decode(dropped[0].picture.removeprefix("data:image/jpeg;base64,"))
    assert max(Image.open(io.BytesIO(data)).size) == 10
    assert cost.pictures == len(cards) == 12
    (same,) = report.placeholders.captions
    assert (same.caption, same.count, len(same.shown) > 1) == ("no", 4, same.pictures > 1)
    assert report.placeholders.told_by == "file size, width and height"


def test_equal_runs_give_equal_reports_and_another_seed_other_samples(session):
    first = plain(build(session))
    assert plain(build(session.refreshed())) == first
    shown = [list(build(session, Options(seed, pictures=1)).pictures.cards.values()) for seed in range(3)]
    assert shown[0] == list(build(session, Options(pictures=1)).pictures.cards.values())
    assert len({frozenset(card.uid for card in cards) for cards in shown}) > 1


def test_progress_is_told_by_rows_and_by_pictures(session, monkeypatch):
    """So a pool of one shard has an estimate, too."""
    monkeypatch.setattr(rows, "BATCH", 1)
    monkeypatch.setattr("pipeline.pool.columns.GROUP_SHARDS", 1)
    ticks: dict[tuple[str, int | None], list[int]] = {}
    decide(session)
    with watching(lambda what, total: ticks.setdefault((what, total), []).append):
        report = build(session)
    assert [n for n in ticks["reading rows", 12] if n] == [1] * 12 * 3
    assert [n for n in ticks["looking at samples", len(report.pictures.cards)] if n] == [1] * 12


def test_how_the_pool_is_cut_does_not_matter(session, monkeypatch):
    first = plain(build(session))
    monkeypatch.setattr(rows, "BATCH", 2)
    monkeypatch.setattr("pipeline.pool.columns.GROUP_SHARDS", 1)
    assert plain(build(session)) == first


def test_the_record_holds_the_recipe(session):
    record = build(session).record
    again = parse(yaml.safe_load(record.recipe_yaml))
    assert (again.keep, again.pool) == (session.recipe.keep, session.recipe.pool)
    assert again.compute.keys() == session.recipe.compute.keys()
    assert record.cuts == {"side": 8.0}
    assert (record.pool.shards, record.pool.samples, record.decision) == (3, 12, session.decisions)
    other = session.over(session.shards[:1])
    decide(other)
    assert build(other).record.pool.identity != record.pool.identity


def test_without_rules_and_without_samples(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", [])
    report = build(decided(tmp_path, {}, keep={}))
    assert (report.rules, report.overlap, report.pictures.cards) == ([], [], {})
    assert report.corpus == []
    write_tar(tmp_path / "pool" / "0.tar", sample(0))
    report = build(decided(tmp_path, {}, keep={}))
    assert report.books.kept == 1
    assert {group.rule for group in report.pictures.groups} == {None}


def test_a_pool_where_no_sample_has_a_value(tmp_path):
    files = [(name, data) for n in range(4) for name, data in sample(n) if not name.endswith(".txt")]
    write_tar(tmp_path / "pool" / "0.tar", [f for f in files if not f[0].endswith(".json")])
    report = build(decided(tmp_path, {}, keep={"caption.words": {"top": 0.5}}))
    (panel,) = report.rules
    assert (panel.cut, panel.histogram, panel.failed) == (None, None, {"no caption": 4})
    assert (panel.slider.set, panel.slider.passes) == (["keep.caption.words.top=0.5"], [0])
    assert [group.kind for group in report.pictures.groups if group.rule] == ["failed"]


def test_a_pool_without_pictures(tmp_path):
    make_pool(Plan(tmp_path / "metadata", 300, per_file=200), ["one caption", "another one", "third"])
    recipe = parse(
        {
            "pool": {"datacomp": str(tmp_path / "metadata"), "store": str(tmp_path / "store")},
            "compute": {"facts": {"use": "datacomp.Facts"}},
            "keep": {
                "score": {"column": "datacomp.l14_score", "top": 0.3, "ties": "datacomp"},
                "facts.words": {"min": 2},
            },
        }
    )
    session = compute(Session.open(recipe), LocalExecutor()).session
    cost = Cost()
    report = build(session, cost=cost)
    assert (report.books.samples, cost.pictures) == (300, 0)
    assert {card.picture for card in report.pictures.cards.values()} == {None}
    assert (report.placeholders.pictures, report.placeholders.told_by) == ([], "URL")
    assert sum(same.count for same in report.placeholders.captions) == 300
    assert report.rules[0].slider.set[report.rules[0].slider.current] == "keep.score.top=0.3"
