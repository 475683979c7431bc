"""operators/README.md tells the truth: its reference is made from the code, its examples run."""

import re
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from jobs.manual.docstrings import parse_docstring
from jobs.manual.fields import dtype_text
from jobs.toy.sample_pool import make_pool
from pipeline.decide.decide import decide
from pipeline.decide.effects import effects
from pipeline.decide.explain import explain
from pipeline.operator import ImageScore, Operator, Score, Stat
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support import operators_page as page

BY_HAND, _, REFERENCE = page.README.read_text().partition(page.MARK)
USES = {use: cls for module in page.modules() for use, cls in page.operators_of(module).items()}


FORM = "CONTRIBUTING.md shows the form under Add an operator"


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def parsed(text: str, **more: Any) -> Recipe:
    """A recipe over a pool that is never opened."""
    datacomp = "datacomp.l14" in text
    pool = {"datacomp": "metadata"} if datacomp else {"shards": "pool", "caption": ["txt", "json.captions"]}
    return parse({"pool": {**pool, "store": "store"}, **yaml.safe_load(text), **more})


# --- the reference ---------------------------------------------------------------------------------


def test_it_is_what_the_docstrings_say():
    assert page.README.read_text() == page.page(), "run `make docs`"


def test_lines_are_short():
    assert [line for line in page.README.read_text().split("\n") if len(line) > page.WIDTH] == []


@pytest.mark.parametrize("use", USES)
def test_every_operator_says_what_when_and_at_what_cost(use: str):
    cls = USES[use]
    assert re.match(r"[A-Z].*[.:]", page.joined(page.paragraphs(cls)[0])), (
        f"{use} begins with a sentence; {FORM}"
    )
    for part in ("Use it ", "Cost: "):
        assert page.paragraph(cls, part), f"the docstring of {use} has a paragraph `{part}...`; {FORM}"
    table = bool(page.paragraph(cls, "Table: "))
    assert table == issubclass(cls, Stat), (
        f"a Stat, and nothing else, has a paragraph `Table: ...`: {use}; {FORM}"
    )
    assert page.meanings(cls).keys() == cls.model_fields.keys(), (
        f"each field of {use} has a meaning in its docstring, and nothing else has; {FORM}"
    )


@pytest.mark.parametrize("name", page.modules())
def test_every_column_has_its_type_and_meaning(name: str):
    uses = page.operators_of(name)
    for use, columns in page.columns(page.parse_module(name), uses).items():
        writes = getattr(uses[use], "writes", {})
        assert [column.name for column in columns] == list(writes), (
            f"the list under `Columns` in operators/{name}.py must name what {use} writes, in that order; {FORM}"
        )
        for column in columns:
            said, dtype = column.dtype, dtype_text(writes[column.name])
            assert said == dtype or said.startswith(f"{dtype}("), (use, column)
            assert "null" in column.meaning, f"{use}: say when {column.name} is null"


@pytest.mark.parametrize("name", page.modules())
def test_recipes_parse_and_use_every_operator(name: str):
    found = blocks("\n\n".join(page.module_page(page.parse_module(name))), "yaml")
    recipes = [parsed(text) for text in found]
    used = {entry.use for recipe in recipes for entry in recipe.compute.values()}
    siblings = {use for use, cls in page.operators_of(name).items() if cls.__base__ is not Score}
    assert used & set(page.operators_of(name)), (
        f"the docstring of operators/{name}.py must show a recipe that uses it, indented; {FORM}"
    )
    left_out = {use for use in siblings if issubclass(USES[use], Stat)} - used
    assert not left_out, (
        f"the recipe in the docstring of operators/{name}.py must use {sorted(left_out)}, too"
    )


def test_the_form_that_contributors_are_shown_is_the_form():
    """CONTRIBUTING.md has the docstring of a module, and a class with its own."""
    text = (page.FOLDER.parent / "CONTRIBUTING.md").read_text()
    module_text, class_text = blocks(text, "python")
    scope: dict[str, Any] = {"ImageScore": ImageScore, "__name__": "operators.sharpness"}
    exec(class_text + "    size: int = 3\n    writes = {'score': pl.Float32}\n", {**scope, "pl": pl}, scope)
    cls = scope["Sharpness"]
    module = parse_docstring("sharpness", module_text.strip().strip('"'))
    (column,) = page.columns(module, {"sharpness.Sharpness": cls})["sharpness.Sharpness"]
    assert (column.name, column.dtype) == ("score", "Float32")
    assert module.sections.keys() == {"Columns", "Errors", "Source", "Differs"}
    assert page.meanings(cls) == {"size": "width of the filter in pixels"}
    assert page.paragraph(cls, "Use it ")
    assert page.paragraph(cls, "Cost: ")


class Bare(Operator):
    """A field without words for its type."""

    size: bytes


def test_a_type_without_words_is_an_error():
    with pytest.raises(TypeError, match="no words for <class 'bytes'>"):
        page.kind_of(Bare.model_fields["size"])


# --- the part that is written by hand --------------------------------------------------------------


def plugin_files(folder: Path) -> None:
    """Write every Python example under the name in its first line."""
    for code in blocks(BY_HAND, "python"):
        name = re.match(r"# scratch/(\w+\.py)\n", code)
        assert name is not None
        folder.mkdir(exist_ok=True)
        (folder / name[1]).write_text(code)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugins, and a pool of 40 samples."""
    folder = tmp_path_factory.mktemp("readme")
    plugin_files(folder / "scratch")
    make_pool(folder / "pool", shards=1, per_shard=40, seed=2, image_size=64)
    return folder


def ran(scratch: Path, part: str) -> Session:
    """The recipe whose text has `part`, over the pool."""
    data = yaml.safe_load(next(text for text in blocks(BY_HAND, "yaml") if part in text))
    data["plugins"] = [str(scratch / "scratch")]
    data["pool"] = {"shards": f"{scratch}/pool/*.tar", "store": f"{scratch}/store"}
    session = Session.open(parse(data))
    session = compute(session, LocalExecutor()).session
    decide(session)
    return session


def column(session: Session, name: str) -> pl.Series:
    return session.store.read(f"{session.folder(name.split('.')[0])}/00000.parquet")[name]


def texts(session: Session) -> pl.Series:
    return session.store.read("samples/00000.parquet")["text"]


def test_there_is_one_example_of_each_kind():
    names = re.findall(r"^class \w+\((\w+)\):", "\n".join(blocks(BY_HAND, "python")), re.MULTILINE)
    assert names == ["Score", "Stat", "Score", "Group", "ImageScore"]
    assert len(blocks(BY_HAND, "yaml")) == 4


def test_the_score(scratch: Path):
    session = ran(scratch, "shouting.")
    rates, errors = column(session, "shout.rate"), column(session, "shout.error")
    for text, rate, error in zip(texts(session), rates, errors, strict=True):
        letters = [c for c in text or "" if c.isalpha()]
        if len(letters) < 12:
            assert (rate, error) == (None, "no caption" if text is None else "too few letters")
        else:
            assert rate == pytest.approx(sum(c.isupper() for c in letters) / len(letters))
    assert rates.null_count() < len(rates)


def test_the_score_warns(scratch: Path):
    text = next(text for text in blocks(BY_HAND, "yaml") if "shouting." in text)
    data = yaml.safe_load(text.replace("shortest: 12", "shortest: 0"))
    pool = {"shards": f"{scratch}/pool/*.tar", "store": f"{scratch}/warned"}
    session = Session.open(parse({**data, "pool": pool, "plugins": [str(scratch / "scratch")]}))
    assert "divide 0 by 0" in str(preview(session))


def test_the_stat_and_the_score_that_reads_it(scratch: Path):
    session = ran(scratch, "hosts.")
    sizes = column(session, "host.samples")
    urls = session.store.read("samples/00000.parquet")["url"]
    assert urls.null_count() < len(urls)
    hosts = [None if url is None else url.split("/")[2] for url in urls]
    assert sizes.to_list() == [None if host is None else hosts.count(host) for host in hosts]
    table = effects(session, LocalExecutor()).tables["hosts"]["hosts"]
    assert table["host"].to_list() == sorted(set(hosts) - {None})
    assert table["kept"].sum() == sizes.len() - sizes.null_count()
    row = urls.is_not_null().arg_true()[0]
    uid = session.store.read("samples/00000.parquet")["uid"][row]
    shown = explain(session, [uid])[0].evidence["host"]
    assert shown == [{"host": hosts[row], "count": sizes[row]}]


def test_the_group(scratch: Path):
    session = ran(scratch, "longest.")
    longest = column(session, "caption.longest")
    samples = session.store.read("samples/00000.parquet")
    best: dict[str, int] = {}
    for url, text in samples.select("url", "text").drop_nulls("url").iter_rows():
        best[url] = max(best.get(url, 0), len(text or ""))
    assert longest.is_null().to_list() == samples["url"].is_null().to_list()
    assert longest.sum() == len(best)
    for (url, text), chosen in zip(samples.select("url", "text").iter_rows(), longest, strict=True):
        assert not chosen or len(text) == best[url]


def test_the_image_score(scratch: Path):
    session = ran(scratch, "colour.")
    scores, errors = column(session, "colour.score"), column(session, "colour.error")
    assert scores.drop_nulls().max() > 20
    assert errors.filter(scores.is_null()).null_count() == 0


def test_the_tests_of_an_example_run(scratch: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(scratch / "scratch"))
    code = (scratch / "scratch" / "test_shouting.py").read_text()
    names: dict[str, Any] = {}
    try:
        exec(compile(code, "test_shouting.py", "exec"), names)
        tests = [value for name, value in names.items() if name.startswith("test_")]
        assert len(tests) == 2
        for test in tests:
            test()
    finally:
        sys.modules.pop("shouting", None)


def test_paths_and_names_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", BY_HAND):
        assert link.startswith("https://") or (page.README.parent / link).exists(), link
