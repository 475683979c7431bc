"""The corpus before and after: captions, pictures, addresses and words, of all samples and of those kept.

Most of it is counted over a seeded sample, which the notes say; words and entries come from the Stats of the
recipe, which counted the whole pool.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.operator import Stat, Writer
from pipeline.plan.session import Session
from pipeline.storage import layout
from pipeline.view.rows import FATE, KEPT

ROWS = 1 << 16  # of the sample
TEXT = 1_000  # characters of a caption of which words are counted
MOST_WORDS = 40  # words of a caption; the last bin has those with more
SIDES = (0, 32, 64, 100, 150, 200, 256, 300, 400, 512, 640, 800, 1024, 1280, 1600, 2048, 4096)
ASPECTS = (1, 1.05, 1.2, 1.34, 1.5, 1.6, 1.78, 2, 2.5, 3, 4, 6, 10)
MOST_BARS = 15
PER_DECADE = 20  # ranks of a log-log curve
REST = "others"
OWN = ("text", "url", "width", "height", "original_width", "original_height")


@dataclass(frozen=True)
class CorpusPanel:
    """One distribution, before (`all`) and after (`kept`).

    kind    `bars`: a count per label. `steps`: a count per bin, with one edge more than bins. `loglog`: a
            count per rank, the most frequent first, at some ranks
    kept    empty if it is not known
    note    what was counted, and how
    """

    title: str
    kind: str
    labels: Sequence[str] | None
    edges: Sequence[float] | None
    ranks: Sequence[int] | None
    all: Sequence[int]
    kept: Sequence[int]
    note: str


@dataclass(frozen=True)
class Facts:
    """The columns that tell of a corpus: the sample's own that the pool has, a language, and boxes of text,
    if an operator of the recipe writes them."""

    own: tuple[str, ...]
    language: str | None
    boxes: str | None

    @classmethod
    def of(cls, session: Session) -> "Facts":
        """Those of a session."""
        return cls(OWN, _written(session, "language", pl.String), _written(session, "boxes", pl.List))

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return [*self.own, *(name for name in (self.language, self.boxes) if name)]

    @property
    def kept_as(self) -> list[pl.Expr]:
        """What a sample keeps of each row: `words`, of captions, `text`, cut off, and so on."""
        shown = pl.col("text").str.slice(0, TEXT)
        language = pl.col(self.language) if self.language else pl.lit(None, pl.String)
        boxes = pl.col(self.boxes).list.len() > 0 if self.boxes else pl.lit(None, pl.Boolean)
        sides = [pl.coalesce(f"original_{side}", side).alias(side) for side in ("width", "height")]
        return [
            pl.col(FATE),
            shown.alias("text"),
            domain(pl.col("url")).alias("domain"),
            *sides,
            language.alias("language"),
            boxes.alias("has_text"),
        ]


def domain(url: pl.Expr) -> pl.Expr:
    """The host of a URL in lower case, without `www.`, a port or a name before an @; null if it has none."""
    host = url.str.slice(0, TEXT).str.extract(r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:@]+)", 1)
    return host.str.to_lowercase().str.replace(r"^www\.", "")


def corpus(session: Session, rows: pl.DataFrame, samples: int) -> list[CorpusPanel]:
    """The panels that have something to show. `rows`: a sample, as `Facts.kept_as` has it, of a pool of so
    many samples."""
    if not len(rows):
        return []
    exact = len(rows) == samples
    note = "all samples" if exact else f"a seeded sample of {len(rows):,} of {samples:,} samples"
    kept = (rows[FATE] == KEPT).to_numpy()
    shorter, longer = rows.select(
        low=pl.min_horizontal("width", "height"), high=pl.max_horizontal("width", "height")
    )
    words = rows["text"].str.count_matches(r"\S+").clip(0, MOST_WORDS)
    aspect = pl.select(pl.when(shorter > 0).then(longer / shorter)).to_series()
    has_text = rows["has_text"].replace_strict(
        {True: "with text", False: "without text"}, return_dtype=pl.String
    )
    found = [
        _steps("Words of the caption", words, [w - 0.5 for w in range(MOST_WORDS + 2)], kept, note),
        _bars("Language of the caption", rows["language"], kept, note),
        _steps("Shorter side of the picture, pixels", shorter, SIDES, kept, note),
        _steps("Longer side / shorter side", aspect, ASPECTS, kept, note),
        _bars("Pictures with text in them", has_text, kept, note),
        _bars("Domains of the URLs", rows["domain"], kept, note),
    ]
    found += [*_from_stats(session), None if _counts_words(session) else _sampled_words(rows, kept, note)]
    return [panel for panel in found if panel is not None and any(panel.all)]


def _written(session: Session, column: str, kind: type[pl.DataType]) -> str | None:
    """The first column of an operator of the recipe that is called so and has such a type."""
    for name in session.recipe.compute:
        operator = session.recipe.operator(name)
        if isinstance(operator, Writer) and column in operator.writes:
            dtype = operator.writes[column]
            if dtype == kind or isinstance(dtype, kind):
                return f"{name}.{column}"
    return None


# --- counts over a sample -------------------------------------------------------------------------


def _steps(
    title: str, values: pl.Series, edges: Sequence[float], kept: np.ndarray, note: str
) -> CorpusPanel | None:
    """Counts per bin. What is beyond the last edge is in the last bin, which the note says."""
    present = values.is_not_null().to_numpy()
    numbers = np.clip(values.cast(pl.Float64).fill_null(0).to_numpy(), edges[0], edges[-1])
    every, after = (np.histogram(numbers[rows], edges)[0].tolist() for rows in (present, present & kept))
    lacking = f"; {int((~present).sum()):,} without a value" if not present.all() else ""
    beyond = f"; the last bin has all from {math.ceil(edges[-2]):,} on"  # edges between integers are halves
    return CorpusPanel(title, "steps", None, list(edges), None, every, after, f"{note}{lacking}{beyond}")


def _bars(title: str, texts: pl.Series, kept: np.ndarray, note: str) -> CorpusPanel | None:
    """Counts per text, the most frequent first; the others together."""
    counted = (
        pl.DataFrame({"text": texts, "kept": kept})
        .drop_nulls()
        .group_by("text")
        .agg(pl.len(), pl.col("kept").sum())
        .sort("len", "text", descending=[True, False])
    )
    if not len(counted):
        return None
    most = len(counted) if len(counted) == MOST_BARS + 1 else MOST_BARS  # one alone is not `others`
    shown, rest = counted.head(most), counted[most:]
    labels, every, after = (shown[name].to_list() for name in ("text", "len", "kept"))
    if len(rest):
        labels, every, after = (
            [*labels, f"{len(rest):,} {REST}"],
            [*every, int(rest["len"].sum())],
            [*after, int(rest["kept"].sum())],
        )
    lacking = f"; {texts.null_count():,} without a value" if texts.null_count() else ""
    return CorpusPanel(title, "bars", labels, None, None, every, after, note + lacking)


def _sampled_words(rows: pl.DataFrame, kept: np.ndarray, note: str) -> CorpusPanel:
    """How often words occur, by rank, each side by its own ranks."""
    text = rows["text"].str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    before, after = (
        _descending(part.explode().drop_nulls().value_counts()["count"]) for part in (text, text.filter(kept))
    )
    return _loglog("words", before, after, f"words of {note}")


# --- counts of the whole pool ---------------------------------------------------------------------


def _from_stats(session: Session) -> list[CorpusPanel]:
    """A curve per Stat of the recipe that counts something: whose table has a column `count`."""
    panels = []
    for name, before, after in _tables(session):
        if before is not None and "count" in before.columns:
            kept = _counts(after) if after is not None else np.zeros(0)
            note = "all samples" if after is not None else "all samples; run `winnow effects` for those kept"
            panels.append(
                _loglog(f"{name}: how often each {_counted(before)} occurs", _counts(before), kept, note)
            )
    return panels


def _counted(table: pl.DataFrame) -> str:
    """What the rows of a table of counts are: words, entries, or values of another kind."""
    return next((name for name in ("word", "entry") if name in table.columns), "value")


def _counts_words(session: Session) -> bool:
    """Whether a Stat of the recipe counted the words of all captions."""
    return any(before is not None and "word" in before.columns for _, before, _ in _tables(session))


def _tables(session: Session) -> Iterator[tuple[str, pl.DataFrame | None, pl.DataFrame | None]]:
    """Each Stat's name, and its tables over all samples and over those kept, as far as they are stored."""
    for name in session.recipe.compute:
        if isinstance(session.recipe.operator(name), Stat):
            after = f"{layout.effects_folder(session.decisions)}/{name}-{session.keys[name]}.parquet"
            paths = (layout.stat(name, session.keys[name]), after)
            before, kept = (session.store.read(p) if session.store.whole([p]) else None for p in paths)
            yield name, before, kept


def _counts(table: pl.DataFrame) -> np.ndarray:
    """The counts of a Stat's table, highest first. Rows that name nothing are totals."""
    names = table.columns[: table.columns.index("count")]
    named = pl.any_horizontal(pl.col(name).is_not_null() for name in names) if names else pl.lit(True)
    return _descending(table.filter(named)["count"])


def _descending(counts: pl.Series) -> np.ndarray:
    """Counts above 0, highest first."""
    values = counts.filter(counts > 0).to_numpy()
    return np.sort(values)[::-1]


def _loglog(title: str, before: np.ndarray, after: np.ndarray, note: str) -> CorpusPanel:
    """Counts at ranks that are even on a logarithmic scale; 0 past the last rank of a side."""
    most = max(len(before), len(after), 1)
    steps = np.arange(0, np.log10(most) + 1 / PER_DECADE, 1 / PER_DECADE)
    ranks = np.unique(np.minimum(np.round(10**steps), most).astype(int))
    every, kept = (
        [int(side[rank - 1]) if rank <= len(side) else 0 for rank in ranks] for side in (before, after)
    )
    return CorpusPanel(title, "loglog", None, None, ranks.tolist(), every, kept if len(after) else [], note)
