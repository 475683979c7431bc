"""The grammar of conditions on samples; where.py says what can be written.

parser = Parser("dropped by clip.score and not caption.words < 4", rules, types)
parser.condition(), parser.columns
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import polars as pl
from polars._typing import PolarsDataType

from pipeline.errors import RecipeError, brief, unknown
from pipeline.rule import Rule
from pipeline.view.rows import DROPPED, FAILED, FATE, KEPT, fails_only, verdict

TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|==|!=|<|>|=)|(?P<bracket>[()])|(?P<word>[^\s()<>=!"']+))"""
)
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
WORDS = ("kept", "dropped", "failed", "failed at", "passes", "no value for", "not", "a column")
BOOLEANS = {"true": True, "false": False}
DEEPEST = 50  # brackets and nots within each other
WHERE = "where"


class Token(NamedTuple):
    """A part of a condition: `quoted` (without its quotes), `sign`, `bracket` or `word`, and its first
    character's place."""

    kind: str
    text: str
    at: int


class Parser:
    """Goes through the tokens of a condition once; notes the columns that it reads."""

    def __init__(
        self, text: str, rules: Mapping[str, Rule], types: Mapping[str, PolarsDataType], key: str = WHERE
    ) -> None:
        self.rules = rules
        self.types = types
        self.key = key
        self.columns: list[str] = []
        self._tokens = list(_tokens(text, key))
        self._at = 0

    # --- tokens -----------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token | None:
        """A token that is still to come; None behind the last."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _take(self, *words: str) -> bool:
        """Step over these words, if they come next."""
        for ahead, word in enumerate(words):
            token = self._peek(ahead)
            if token is None or token.kind == "quoted" or token.text.lower() != word:
                return False
        self._at += len(words)
        return True

    def _wrong(self, token: Token | None, allowed: str) -> RecipeError:
        """What is said of a token that cannot stand where it does."""
        if token is None:
            return RecipeError(f"{self.key}: the condition breaks off; must go on with {allowed}")
        return RecipeError(
            f"{self.key}: must be {allowed}, got {brief(token.text)} (character {token.at + 1})"
        )

    def _next(self, allowed: str, *kinds: str) -> Token:
        """The next token, which must be of one of these kinds."""
        token = self._peek()
        if token is None or token.kind not in kinds:
            raise self._wrong(token, allowed)
        self._at += 1
        return token

    # --- grammar ----------------------------------------------------------------------------------

    def condition(self) -> pl.Expr:
        """The whole condition, never null. Raises RecipeError."""
        expr = self._disjunction(0)
        if (rest := self._peek()) is not None:
            raise self._wrong(rest, "and, or, or the end")
        return expr

    def _disjunction(self, depth: int) -> pl.Expr:
        """Conjunctions with `or` between them."""
        parts = [self._conjunction(depth)]
        while self._take("or"):
            parts.append(self._conjunction(depth))
        return reduce(lambda one, other: one | other, parts)

    def _conjunction(self, depth: int) -> pl.Expr:
        """Terms with `and` between them."""
        parts = [self._term(depth)]
        while self._take("and"):
            parts.append(self._term(depth))
        return reduce(lambda one, other: one & other, parts)

    def _term(self, depth: int) -> pl.Expr:
        """A negation, a condition in brackets, or a statement."""
        if depth > DEEPEST:
            raise RecipeError(f"{self.key}: at most {DEEPEST} brackets and nots may stand within each other")
        if self._take("not"):
            return ~self._term(depth + 1)
        if self._take("("):
            inside = self._disjunction(depth + 1)
            if not self._take(")"):
                raise self._wrong(self._peek(), "and, or, or a closing bracket")
            return inside
        return self._statement()

    def _statement(self) -> pl.Expr:
        """What is said of a sample's fate, of a rule's verdict, or of a column."""
        if self._take("kept"):
            return pl.col(FATE) == KEPT
        if self._take("failed", "at"):
            return self._fails_to_judge(self._rule())
        if self._take("failed"):
            return pl.col(FATE) == FAILED
        if self._take("passes"):
            return pl.col(verdict(self._rule())).fill_null(False)
        if self._take("no", "value", "for"):
            return pl.col(verdict(self._rule())).is_null()
        if self._take("dropped", "only", "by"):
            return fails_only(self._rule(), self.rules)
        if self._take("dropped", "first", "by"):
            return self._fails_first(self._rule())
        if self._take("dropped", "by"):
            return _fails(self._rule())
        return pl.col(FATE) == DROPPED if self._take("dropped") else self._comparison()

    def _fails_first(self, rule: str) -> pl.Expr:
        """Whether a sample is dropped, and fails no rule before this one."""
        names = list(self.rules)
        earlier = [~_fails(name) for name in names[: names.index(rule)]]
        return reduce(lambda one, other: one & other, earlier, (pl.col(FATE) == DROPPED) & _fails(rule))

    def _fails_to_judge(self, rule: str) -> pl.Expr:
        """Whether a sample counts as failed at this rule: the first that needs a value and finds none."""
        names = [name for name, each in self.rules.items() if each.missing == "drop"]
        if rule not in names:
            return pl.lit(value=False)
        earlier = [pl.col(verdict(name)).is_not_null() for name in names[: names.index(rule)]]
        return reduce(lambda one, other: one & other, earlier, pl.col(verdict(rule)).is_null())

    def _rule(self) -> str:
        """The name of a rule: in quotes, or as many words as make the longest one."""
        token = self._next("the name of a rule", "quoted", "word")
        name = token.text
        if token.kind == "word":
            words = [name]
            while (more := self._peek(len(words) - 1)) is not None and more.kind == "word":
                words.append(more.text)
            lengths = [n for n in range(len(words), 0, -1) if " ".join(words[:n]) in self.rules]
            self._at += (lengths or [1])[0] - 1
            name = " ".join(words[: (lengths or [1])[0]])
        if name not in self.rules:
            raise RecipeError(f"{self.key}: {unknown(name, 'a rule of the recipe', self.rules)}")
        return name

    def _comparison(self) -> pl.Expr:
        """What is said of a column."""
        token = self._next(", ".join(WORDS), "quoted", "word")
        name = token.text
        if name not in self.types:
            known = [*self.types, *("kept", "dropped", "failed", "passes", "not")]
            raise RecipeError(f"{self.key}: {unknown(name, 'a column of the recipe', known)}")
        self.columns.append(name)
        dtype = self.types[name]
        column = without_nan(pl.col(name), dtype)
        if self._take("is", "not", "missing"):
            return column.is_not_null()
        if self._take("is", "missing"):
            return column.is_null()
        if self._take("contains"):
            return self._contains(name, column, dtype).fill_null(False)
        sign = self._next("<, <=, >, >=, ==, !=, contains or is missing", "sign")
        if sign.text not in COMPARISONS:
            raise self._wrong(sign, "<, <=, >, >=, == or !=")
        found: pl.Expr = COMPARISONS[sign.text](column, self._value(name, dtype))
        return found.fill_null(False)

    def _contains(self, name: str, column: pl.Expr, dtype: PolarsDataType) -> pl.Expr:
        """Whether a text has a part, or a list has a text."""
        part = self._next("a text in quotes", "quoted").text
        if dtype == pl.String:
            return column.str.contains(part, literal=True)
        if dtype == pl.List(pl.String):
            return column.list.contains(part)
        raise RecipeError(f"{self.key}: `contains` is for texts and lists of texts, and {name} holds {dtype}")

    def _value(self, name: str, dtype: PolarsDataType) -> object:
        """What a column is compared with."""
        if is_number(dtype):
            token = self._next(f"a number ({name} holds numbers)", "word")
            try:
                return int(token.text) if re.fullmatch(r"[+-]?\d{1,18}", token.text) else float(token.text)
            except ValueError:
                raise self._wrong(token, f"a number ({name} holds numbers)") from None
        if dtype == pl.Boolean:
            token = self._next("true or false", "word")
            if token.text.lower() not in BOOLEANS:
                raise self._wrong(token, "true or false")
            return BOOLEANS[token.text.lower()]
        if dtype != pl.String:
            raise RecipeError(f"{self.key}: {name} holds {dtype}, which cannot be compared; use `is missing`")
        return self._next(f"a text in quotes ({name} holds texts)", "quoted").text


def _tokens(text: str, key: str) -> Iterator[Token]:
    """The tokens of a condition. Raises RecipeError at a character that begins none."""
    at, end = 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            rest = text[at:].lstrip()
            raise RecipeError(f"{key}: {brief(rest[:20])} is no part of a condition; a quote must be closed")
        kind = match.lastgroup
        found = match[kind]
        yield Token(kind, found[1:-1] if kind == "quoted" else found, match.start(kind))
        at = match.end()


def _fails(rule: str) -> pl.Expr:
    """Whether a sample fails a rule."""
    return ~pl.col(verdict(rule)).fill_null(True)


def is_number(dtype: PolarsDataType) -> bool:
    """Whether a type is one of numbers."""
    return dtype.is_numeric()


def without_nan(column: pl.Expr, dtype: PolarsDataType) -> pl.Expr:
    """A column in which NaN counts as missing, as it does for rules."""
    return column.fill_nan(None) if dtype.is_float() else column
