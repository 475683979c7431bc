"""Recipes: YAML, names, rules, operators, patterns, plugins."""

# ruff: noqa: E501 (a table: one kind a line)

from tests.corpus.kind import Build, Kind, Outcome, reads, refused
from tests.corpus.pool import OddPool
from tests.pipeline.recipe.test_hostile import doubling
from tests.support.paths import PLUGINS

POOL = b"pool: {shards: '{pool}', store: '{store}'}\n"
LIGHT = POOL + f"plugins: ['{PLUGINS}']\ncompute: {{light: {{use: planted.Brightness}}}}\n".encode()


def recipe(text: bytes | str) -> Build:
    """A recipe of these bytes, in which {pool}, {store} and {out} stand for their paths."""

    def build(pool: OddPool) -> None:
        pool.text = text.encode() if isinstance(text, str) else text
        pool.exported = False

    return build


def shards(pattern: str) -> Build:
    """A pool of this pattern."""
    return recipe(f"pool: {{shards: '{pattern}', store: '{{store}}'}}\n")


def rule(name: str, bound: str = "min: 0") -> Build:
    """A rule of this name, as YAML writes it."""
    return recipe(LIGHT + f"keep: {{{name}: {{column: light.mean, {bound}}}}}\n".encode())


def plugin(text: str, use: str = "mine.Mine") -> Build:
    """An operator of the user's, in a file with this text."""

    def build(pool: OddPool) -> None:
        path = pool.beside("mine.py", text.encode())
        pool.text = POOL + f"plugins: ['{path}']\ncompute: {{mine: {{use: {use}}}}}\n".encode()
        pool.exported = False

    return build


def arguments(*given: str) -> Build:
    """A sound recipe, and these arguments."""

    def build(pool: OddPool) -> None:
        pool.arguments = list(given)
        pool.exported = False

    return build


def stops(*says: str) -> Outcome:
    """An operator of the user's is wrong, which shows only when it runs: nothing is exported."""
    return Outcome(3, says, None)


SCORE = """
import polars as pl
from pipeline.operator import Score
class Mine(Score):
    writes = {"x": pl.Float64}
    needs = ("text",)
    def score(self, batch):
        %s
"""
KINDS = [
    Kind("empty", recipe(b""), refused("must be a mapping")),
    Kind("an unknown section", recipe(POOL + b"colour: red"), refused("colour")),
    Kind("not UTF-8", recipe(POOL + b"name: \xe9"), refused("not UTF-8")),
    Kind("UTF-16", recipe(POOL.decode().encode("utf-16")), refused("not UTF-8")),
    Kind("NUL", recipe(POOL + b"name: a\0b"), refused("not valid YAML", "is not allowed")),
    Kind("escape sequences", recipe(POOL + b"name: \x1b[31m"), refused("not valid YAML", "is not allowed")),
    Kind("a tar instead of a recipe", recipe(bytes(2000)), refused("not valid YAML")),
    Kind("larger than 1 MiB", recipe(POOL + b"name: " + b"x" * (1 << 20)), refused("larger than 1 MiB")),
    Kind("aliases that double", recipe(doubling("x") + "name: *a39"), refused("aliases written out")),
    Kind("an alias of itself", recipe("pool: &a [*a]"), refused("contains itself")),
    Kind("1,000 nested lists", recipe("name: " + "[" * 1000 + "]" * 1000), refused("more than 32 lists")),
    Kind("a tag of Python's", recipe(POOL + b"name: !!python/name:os.system"), refused("is not allowed")),
    Kind(
        "a tag that does not fit",
        recipe(POOL + b"name: !!bool maybe"),
        refused("'maybe' is not of type bool"),
    ),
    Kind("a key twice", recipe(POOL + POOL), refused("pool is given twice, in lines 1 and 2")),
    Kind("two documents", recipe(POOL + b"---\n" + POOL), refused("a second document begins")),
    Kind("an impossible date", recipe(POOL + b"keep: 2024-02-31"), refused("keep must be a mapping")),
    Kind("a rule called *", rule('"*"'), refused("the name of a rule must be")),
    Kind("a rule called ^.*$", rule('"^.*$"'), refused("the name of a rule must be")),
    Kind("a rule with markup", rule('"[/b]"'), refused("the name of a rule must be")),
    Kind("a rule without a name", rule('""'), refused("100 characters at most")),
    Kind("a rule called len", rule("len"), reads(0)),
    Kind("a rule called index", rule("index"), reads(0)),
    Kind("a rule called Länge", rule('"Länge"'), reads(0)),
    Kind("a share of 30", rule("a", "top: 30"), refused("keep.a.top must be in (0, 1]")),
    Kind("a bound that is no number", rule("a", "min: .nan"), refused("keep.a.min")),
    Kind("a bound without end", rule("a", "max: .inf"), refused("keep.a.max")),
    Kind(
        "a column that nobody writes", recipe(LIGHT + b"keep: {light.men: {min: 0}}"), refused("light.mean")
    ),
    Kind("use of 500 parts", plugin("", "a." * 500 + "X"), refused("must be an import path")),
    Kind("use of a module of Python's", plugin("", "os.system"), refused("no module os under operators")),
    Kind("a plugin with a mistake", plugin("class Mine(:"), refused("mine.py", "line 1")),
    Kind("a plugin that raises", plugin("\n\n1 / 0"), refused("mine.py", "ZeroDivisionError")),
    Kind("a plugin that exits", plugin("import sys; sys.exit(0)"), refused("mine.py", "it ends the process")),
    Kind("a plugin with another class", plugin("class Other: pass"), refused("Mine")),
    Kind("a plugin with escape sequences", plugin("raise OSError('\\x1b[31m red')"), refused("mine.py")),
    Kind("a plugin of binary data", plugin("\0\0"), refused("mine.py")),
    Kind(
        "an operator that raises on every row",
        plugin(SCORE % "raise ValueError(5)"),
        stops("ValueError: 5 (", "mine.py, line 8)"),
    ),
    Kind(
        "an operator that says escape sequences",
        plugin(SCORE % r"raise ValueError('\x1b[31m')"),
        stops(r"ValueError: \x1b[31m"),
    ),
    Kind(
        "an operator that returns nothing",
        plugin(SCORE % "return None"),
        stops("mine: score() must return a polars DataFrame"),
    ),
    Kind(
        "an operator that returns another type",
        plugin(SCORE % "return batch.select(x='text')"),
        stops("mine.x must be Float64, got String"),
    ),
    Kind("braces for a billion shards", shards("{pool}/{0..999999999}.tar"), refused("pool.shards")),
    Kind("braces inside braces", shards("{pool}/" + "{a," * 100 + "}" * 100), refused("pool.shards")),
    Kind("a chain of URLs", shards("zip://a.tar::file:///{pool}/x.zip"), refused("pool.shards")),
    Kind("an unknown protocol", shards("foo://a/b.tar"), refused("pool.shards", "foo")),
    Kind("a pattern without a file", shards("{pool}/*.zip"), refused("pool.shards", "no *.tar matches")),
    Kind("a pattern of 5,000 characters", shards("{pool}/" + "x" * 5000), refused("pool.shards")),
    Kind("--set without a value", arguments("--set", "name"), refused("--set")),
    Kind("--set with a tag", arguments("--set", "name=!!int ''"), refused("'' is not of type int")),
    Kind("--set of what is not there", arguments("--set", "keep.none=null"), refused("keep has no none")),
    Kind("--set with markup", arguments("--set", "[/b]=1"), refused("[/b]")),
]
