"""Recipes that nobody would write on purpose, except to do harm: one line each, bounded time and memory."""

# ruff: noqa: E501 (tables of broken recipes: one a line)

import copy
import os
import threading

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.recipe.load import MOST_BYTES, load, parse
from pipeline.recipe.yaml_values import yaml_values
from tests.pipeline.recipe.recipe_texts import GOOD, POOL, keep


def doubling(value: str, times: int = 40) -> str:
    """Lists of YAML aliases, each of twice the last: 2^times of the value."""
    lines = [f"a0: &a0 {value}", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, times))]
    return "\n".join(lines) + "\n"


RULE = "column: given.f32, min: 1"
TEXTS = {  # recipe -> what its message has
    "aliases that double in name": (doubling("x") + "name: *a39", "with its aliases written out, the text is larger than 4 MiB"),
    "aliases that double in plugins": (doubling("[x]") + "plugins: *a39", "aliases written out"),
    "aliases that double in shards": (doubling("a.tar") + "pool: {shards: *a39, store: s}", "aliases written out"),
    "aliases of a long text": ("a: &a " + "x" * 100_000 + "\nname: [" + "*a, " * 200 + "]", "aliases written out"),
    "merges that double": ("a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)), "aliases written out"),
    "alias of itself": ("pool: &a [*a]", "line 1: the alias *a contains itself"),
    "alias of nothing": ("pool: *a", "line 1: the alias *a is not defined"),
    "1,000 nested lists": ("name: " + "[" * 1000 + "]" * 1000, "line 1: more than 32 lists or mappings inside each other"),
    "100,000 nested mappings": ("{a: " * 100_000, "inside each other"),
    "1,000 nested lists by indent": ("- " * 1000, "inside each other"),
    "two documents": (POOL + "---\n" + POOL, "line 2: a second document begins"),
    "bool of another word": ("name: !!bool maybe", "line 1: 'maybe' is not of type bool"),
    "int of nothing": ("pool: {shards: a.tar,\n  store: !!int ''}", "line 2: '' is not of type int"),
    "float of words": ("name: !!float a b", "'a b' is not of type float"),
    "int of a million digits": (f"name: {'9' * 5000}", "is not of type int"),
    "python tag": ("name: !!python/name:os.system", "the tag !!python/name:os.system is not allowed; allowed are !!str, !!int"),
    "binary": ("name: !!binary aGVsbG8=", "the tag !!binary is not allowed"),
    "set": ("name: !!set {a}", "the tag !!set is not allowed"),
    "omap": ("name: !!omap [a: 1]", "the tag !!omap is not allowed"),
    "timestamp": ("name: !!timestamp 2001-01-01", "the tag !!timestamp is not allowed"),
    "own tag": ("name: !mine x", "the tag !mine is not allowed"),
    "long tag": (f"name: !{'x' * 100_000} y", "is not allowed"),
    "list as a mapping": ("name: !!map [a]", "not valid YAML: line 1: expected a mapping node"),
    "list as a key": ("[a]: b", "not valid YAML: line 1: while constructing a mapping found unhashable key"),
    "key twice in a line": ("pool: {shards: a, shards: b}", "shards is given twice, in lines 1 and 1"),
    "key twice": ("name: a\nname: b", "name is given twice, in lines 1 and 2"),
    "date for a name": ("name: 2024-13-45\npool: {shards: a, store: s, kind: 2024-02-31 00:00:00}\nkeep: 2024-01-01", "keep must be a mapping, got '2024-01-01'"),
    "list at top": ("- a", "must be a mapping with the keys name, pool"),
    "text at top": ("hello", "must be a mapping with the keys name, pool, compute, keep, export, limits, run, plugins, got 'hello'"),
    "empty": ("", "got an empty file"),
    "comment only": ("# nothing\n", "got an empty file"),
    "too large": ("name: " + "x" * MOST_BYTES, "larger than 1 MiB, the most that a recipe may have"),
    "escape": ("name: \x1b[31m", "not valid YAML: character 7 is not allowed"),
    "use of many parts": (POOL + f"compute: {{a: {{use: {'a.' * 500}X}}}}", "compute.a.use must be an import path such as clip.ClipScore"),
    "use of some parts": (POOL + f"compute: {{a: {{use: {'a.' * 50}X}}}}", "compute.a.use: no module a.a.a"),
    "use outside of operators": (POOL + "compute: {a: {use: os.System}}", "compute.a.use: no module os under operators or plugins"),
    "use of a folder above": (POOL + "compute: {a: {use: ..os.X}}", "must be an import path"),
    "name of an operator too long": (POOL + f"compute: {{{'a' * 101}: {{use: caption.Caption}}}}", "100 characters at most"),
    "name of the recipe too long": (POOL + f"name: {'a' * 101}", "name must have at most 100 characters"),
    "plugin that is no .py file": (POOL + "plugins: [mine.yaml]\ncompute: {a: {use: mine.X}}", "plugins: mine.yaml is not a .py file, nor a folder of them"),
    "plugin with a long name": (POOL + f"plugins: [{'x' * 5000}]\ncompute: {{a: {{use: mine.X}}}}", "does not exist; give a .py file"),
    "plugin with NUL": (POOL + 'plugins: ["a\\0b"]\ncompute: {a: {use: mine.X}}', "does not exist; give a .py file"),
    "rule without a name": (keep(f'"": {{{RULE}}}'), "100 characters at most, got ''"),
    "rule called *": (keep(f'"*": {{{RULE}}}'), "keep: the name of a rule must be letters, digits, blanks"),
    "rule called ^.*$": (keep(f'"^.*$": {{{RULE}}}'), "the name of a rule must be"),
    "rule called NUL": (keep(f'"\\0": {{{RULE}}}'), "the name of a rule must be"),
    "rule called with markup": (keep(f'"[/b]": {{{RULE}}}'), "the name of a rule must be"),
    "rule called with blanks around": (keep(f'" a ": {{{RULE}}}'), "the name of a rule must be"),
    "rule with a long name": (keep(f'"{"a" * 101}": {{{RULE}}}'), "100 characters at most"),
    "rule called 1": (keep(f"1: {{{RULE}}}"), "keep has a rule with the name 1, which is not a text: quote it"),
    "gpus without end": (POOL + "compute: {a: {use: caption.Caption}}\nrun: {a: {gpus: .inf}}", "run.a.gpus must be <= 1000000, got inf"),
    "share of 1e999": (keep("given.f32: {top: 1e999}"), "keep.given.f32.top must be in (0, 1], got "),
    "number of samples without end": (keep(f"given.f32: {{top: {'9' * 400}}}"), "keep.given.f32.top must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_recipe(case, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, expected = TEXTS[case]
    with pytest.raises(RecipeError) as raised:
        recipe(text)
    message = str(raised.value)
    assert expected in message
    assert "\n" not in message
    assert len(message) < 2000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: é".encode("utf-16"), "not UTF-8 (byte 0 is 0xff); save it as UTF-8"),
        ("name: é".encode("utf-16-le"), "not UTF-8 (byte 12 is 0xe9)"),
        ("name: é".encode("latin-1"), "not UTF-8 (byte 6 is 0xe9)"),
        (b"\x1f\x8b\x08\x00" * 10, "not UTF-8 (byte 1 is 0x8b)"),
    ],
)
def test_encodings(content, expected, tmp_path):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as raised:
        load(str(tmp_path / "r.yaml"))
    assert expected in str(raised.value)


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(str(tmp_path / "r.yaml")).keep["clip.score"].top == 0.3


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "r.yaml")
    raised = []

    def read() -> None:
        try:
            load(str(tmp_path / "r.yaml"))
        except RecipeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert raised == [
        f"recipe {tmp_path}/r.yaml: cannot be read: it is not an ordinary file; give the path of a YAML file"
    ]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my recipe (1).yaml", "my-recipe-1"),
        ("日本.yaml", "recipe"),
        ("a.b_c-d.yaml", "a.b_c-d"),
        (".yaml", "yaml"),
        ("[red]x[b].yaml", "red-x-b"),
        ("x" * 200 + ".yaml", "x" * 100),
    ],
)
def test_a_name_follows_from_any_file(file, name, tmp_path):
    (tmp_path / file).write_text(POOL)
    assert load(str(tmp_path / file)).name == name


@pytest.mark.parametrize(
    "name", ["len", "index", "shard", "uid", "English captions", "Länge", "数", "a+b:c-d.e", "0", "literal"]
)
def test_rules_may_have_any_plain_name(name, recipe):
    assert name in recipe(keep(f"{name!r}: {{{RULE}}}").replace("'0'", '"0"')).keep


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=!!int ''", "--set name=!!int '': line 1: '' is not of type int"),
        ("name=2024-13-45", ""),
        ("keep.clip.score.top=2024-02-31", "keep.clip.score.top must be a valid number"),
        ("pool.shards=" + "[" * 1000, "inside each other"),
        ("name=\udcff", "the value is not valid YAML"),
        ("name=" + "x" * 100_000, "name must have at most 100 characters"),
        (
            "keep.clop=null",
            "--set keep.clop=null: keep has no clop; there are: clip.score, caption.words, lucky",
        ),
        ("compute.clop=null", "compute has no clop (did you mean clip?); there are: caption, clip"),
        ("run.caption=null", "run has no caption; there are: clip"),
        ("compute.clip=null", "keep.clip.score: clip.score is not a column of this recipe"),
    ],
)
def test_hostile_overrides(override, expected, recipe):
    if not expected:
        assert recipe(GOOD, override).name == override.partition("=")[2]
        return
    with pytest.raises(RecipeError) as raised:
        recipe(GOOD, override)
    assert expected in str(raised.value)
    assert len(str(raised.value)) < 2000


def test_null_takes_an_entry_out(recipe):
    assert list(recipe(GOOD, "keep.clip.score=null").keep) == ["caption.words", "lucky"]
    assert list(
        recipe(GOOD, "keep.lucky=~", "keep.clip.score=null", "compute.clip=null", "run.clip=null").compute
    ) == ["caption"]
    assert recipe(GOOD, "run.clip=null").run == {}
    assert recipe(GOOD + "export: {subset: x.npy}", "export.subset=null").export.subset is None
    assert recipe(GOOD, "keep=null").keep == {}
    assert recipe(GOOD, "keep.lucky.chance=null", "keep.lucky.top=0.5").keep["lucky"].top == 0.5


# --- values of any type at every key ---------------------------------------------------------------

WHOLE = yaml.safe_load("""
name: r
pool: {shards: a.tar, store: s, name: p, kind: tars, columns: {text: a}}
compute:
  caption: {use: caption.Caption}
  clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
  words: {use: wfpp.WordFrequency}
  wfpp: {use: wfpp.WordFrequencyScore, frequency: words}
keep:
  caption.words: {column: caption.words, min: 1, missing: drop}
  a: {column: clip.score, top: 0.3, ties: uid}
  b: {column: clip.score, chance: true, seed: 1}
  c: {column: caption.language, among: [en]}
export:
  {shards: o, subset: o.npy, urls: u, table: t.parquet, repeats: caption.words, samples_per_shard: 10,
   index: {embedding: clip.image_embedding, path: i, factory: Flat}}
run: {clip: {gpus: 1, cpus: 1, memory: 1, workers: 1, batch_size: 1}}
plugins: []
""")
VALUES = (
    None, True, False, 0, -1, 1.5, float("inf"), float("-inf"), float("nan"), 10**400, -(10**400), 1 << 20_000, 1e308,
    2**63, 2**64, "", " ", "x", "\0", "a\0b", "\ud800", "[red]", "[/b]", "x" * 5000, [], [1], ["x"], [[]], [None], {},
    {"x": 1}, {1: 2}, {None: None}, {"x": {"y": {}}}, b"x", "~nobody/x", "foo://x", "zip://x::y", "1e999",
    "9999999999999999999999 samples", "10 samples", 16384.0, {True: 1},
)  # fmt: skip
KEYS = ("", "\0", "[red]", 1, None, True, "x" * 5000, 10**400, "\ud800", 1.5)


def _paths(mapping, above=()):
    for key, value in mapping.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


@pytest.mark.parametrize("path", list(_paths(WHOLE)), ids=".".join)
def test_any_value_at_any_key_is_taken_or_refused_in_few_words(path):
    changes = [(path[-1], value) for value in VALUES] + [(key, WHOLE) for key in KEYS]
    for key, value in changes:
        data = copy.deepcopy(WHOLE)
        section = data
        for part in path[:-1]:
            section = section[part]
        section[key] = value
        assert all(len(line) < 1500 for line in _mistakes(data))


def _mistakes(data):
    try:
        parse(data)
    except RecipeError as error:
        return str(error).splitlines()
    return []


# --- any text --------------------------------------------------------------------------------------

YAML_PIECES = st.sampled_from(
    ["pool:", "keep: ", "name: ", "{", "}", "[", "]", ", ", "\n", "  ", "- ", "&a ", "*a", "<<: ", "!!int ", "!!bool ", "'", '"', "|\n", ": ", "? ", "---\n", "...\n", "%YAML 1.2\n", "~", "=", "1_0", "0x", "1:2", ".nan", "2024-99-99", "a.tar", "\t"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(YAML_PIECES, max_size=40).map("".join)))
def test_any_text_is_values_or_an_error_of_yaml(text):
    try:
        yaml_values(text)
    except (RecipeError, yaml.YAMLError, UnicodeEncodeError):
        return
