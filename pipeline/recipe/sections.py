"""The reference of a recipe: each section is a class here (Pool: in pool_section.py), and its docstring
explains every key.

    pool:    {shards: "pool/*.tar", store: store}            # where the samples are: Pool
    compute:                                                 # the operators, by a name of your choice
      clip: {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    keep:                                                    # the rules: pipeline.rule.Rule
      clip.score: {top: 0.3}
    export:  {shards: out/shards, subset: out/subset.npy}    # the files to write: Export
    limits:  {image_pixels: 178956970}                       # bounds on a sample: Limits
    run:                                                     # speed, by operator: Resources
      clip: {gpus: 1}

Only `pool` is required. An unknown key is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from pipeline.errors import brief
from pipeline.operator import Operator
from pipeline.recipe.faiss_factory import check_factory
from pipeline.recipe.limits import Limits
from pipeline.recipe.marks import (
    EMBEDDING,
    INDEX_FILES,
    TAR_FILES,
    TEXTS,
    WHOLE_NUMBERS,
    ColumnName,
    Destination,
)
from pipeline.recipe.pool_section import MOST_NAME, NAME, Pool, Section
from pipeline.rule import Rule


@dataclass(frozen=True)
class Entry:
    """One line of `compute`, checked."""

    use: str  # the import path
    operator: Operator
    source: str | None = None  # digest of a plugin's file: if it is edited, results are computed anew


_MOST = 1_000_000  # of GPUs, CPUs, GiB and workers: more than any machine or cluster has


class Index(Section):
    """`export.index`, or one of `export.indexes`: a FAISS index of one embedding column of the kept samples.

        index: {embedding: clip.image_embedding, path: out/index}
        indexes: {captions: {embedding: clip.text_embedding, path: out/captions, memory: 64}}

    embedding   a column of embeddings
    path        the folder to write, in the layout of clip-retrieval
    kind        `image` or `text`, as clip-retrieval calls the files; default: by the column's name
    factory     FAISS's factory string, such as `IVF1024,PQ32`; default `auto`: by rows, width and `memory`
    memory      GiB for the index when it is searched, default 32; a larger one is left in parts
    recall      the share of the true ten nearest that a search finds, default 0.95: it visits so many lists
    grow        whether rows of new shards are added to a trained index, default false; `Flat` always grows
    """

    embedding: Annotated[str, EMBEDDING]
    path: Annotated[str, Destination(files=INDEX_FILES)]
    kind: Literal["image", "text"] | None = None
    factory: Annotated[str, AfterValidator(check_factory)] = "auto"
    memory: Annotated[float, Field(gt=0, le=_MOST)] = 32.0
    recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    grow: bool = False

    @property
    def stem(self) -> str:
        """What the index and its manifest are called: `image` or `text`."""
        return self.kind or ("text" if re.search("text|caption", self.embedding) else "image")


class Export(Section):
    """`export`: what `winnow export` writes of the kept samples; nothing for a key that is missing.

        export: {shards: out/shards, subset: out/subset.npy, repeats: sampled.repeats}

    shards    a folder for tars with the kept samples, and their scores beside each tar
    samples_per_shard   samples in each tar but the last, 1 to 10,000; default 10,000
    subset    a .npy file for their uids, sorted, as DataComp's training code reads it
    urls      a folder for parquet files with their URLs and captions: the list that img2dataset downloads
    table     a parquet file with a row for each of them: caption, URL, size and every score
    table_embedding     a column of embeddings that `table` holds, too; without it, none
    index     a FAISS index of their embeddings: Index
    indexes   several of them, by a name of your choice
    caption   a column of texts, such as best.text: the caption that all of these hold; default `text`. In
              tars it is the txt; a txt that held another text is kept as `source_txt`. Where it is null there
              is no txt, and the export says how many samples have none
    repeats   a column of whole numbers: how often `shards` and `subset` hold each kept sample; default once

    For those who add an export: it is one field here, whose marks tell which paths are written and which
    columns are read, and one entry of `pipeline.export.exporters.EXPORTERS`.
    """

    shards: Annotated[str | None, Destination(images=True, files=TAR_FILES)] = None
    subset: Annotated[str | None, Destination()] = None
    caption: Annotated[str | None, TEXTS] = None
    repeats: Annotated[str | None, WHOLE_NUMBERS] = None
    urls: Annotated[str | None, Destination(files=r"\d{8,}\.parquet")] = None
    table: Annotated[str | None, Destination()] = None
    table_embedding: Annotated[str | None, EMBEDDING] = None
    index: Index | None = None
    indexes: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")], Index] = {}
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)] = 10_000

    def destinations(self) -> dict[str, tuple[str, Destination]]:
        """(path, mark) of each export that the recipe asks for, by key: `export.index.path`."""
        return {key: (value, mark) for key, value, mark in _marked(self, Destination, "export")}

    @property
    def caption_column(self) -> str:
        """The column whose text is the caption."""
        return self.caption or "text"

    def chosen_caption(self) -> dict[str, str]:
        """What a manifest says of the caption: nothing if it is the samples' own."""
        return {"caption": self.caption} if self.caption else {}

    def every_index(self) -> dict[str, Index]:
        """The indexes, by key below `export`: `index`, `indexes.captions`."""
        one = {"index": self.index} if self.index is not None else {}
        return one | {f"indexes.{name}": index for name, index in self.indexes.items()}

    def columns(self) -> dict[str, tuple[str, ColumnName]]:
        """(column, mark) of each column that the exports read, by key: `export.index.embedding`."""
        return {key: (value, mark) for key, value, mark in _marked(self, ColumnName, "export")}


Mark = TypeVar("Mark")


def _marked(section: Section, kind: type[Mark], key: str) -> Iterator[tuple[str, str, Mark]]:
    """(key, value, mark) of the fields with such a mark that the recipe sets, at any depth of a section and
    of its sections by name."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _marked(value, kind, f"{key}.{name}")
        elif isinstance(value, dict):
            for entry, inner in value.items():
                yield from _marked(inner, kind, f"{key}.{name}.{entry}")
        elif value is not None:
            yield from ((f"{key}.{name}", value, mark) for mark in field.metadata if isinstance(mark, kind))


class Resources(Section):
    """`run.<operator>`: how fast an operator runs. No key here changes results, but for the precision of
    networks, which may be another one on a GPU: the operator says so.

        run:
          clip:    {gpus: 1, batch_size: 512}
          caption: {cpus: 1, workers: 8}
          index:   {cpus: 16, memory: 64}

    gpus        GPUs per worker, fractions allowed: 0.5 puts two workers on one GPU; default 0, on CPUs
    cpus        CPUs per worker, fractions allowed; default: the workers share 75 % of the cluster's CPUs
    memory      GiB per worker: the machine must have as much; default: not reserved
    workers     number of workers; default: as many as the GPUs or CPUs hold, at most one per batch
    batch_size  rows per call, 1 to 16,384; default 256 on a GPU, 64 if it reads images, else 8,192

    Operators with equal values share one pool of workers. `run.index` is for a task that builds an index,
    `cpus` and `memory` only, like a Group's, whose `memory` (default 1) is for rows, with half a GiB more for
    its process. With `--local` only `batch_size`, whether `gpus` is 0, and a Group's `memory` count.
    """

    gpus: Annotated[float, Field(ge=0, le=_MOST)] = 0
    cpus: Annotated[float, Field(gt=0, le=_MOST)] | None = None
    memory: Annotated[float, Field(gt=0, le=_MOST)] | None = None
    workers: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=16_384)] | None = None


class Recipe(Section):
    """A checked recipe.

    name      what decisions and logs are called: up to 100 of A-Z a-z 0-9 _ . -; default: that of the file
    pool      where the samples are: Pool
    compute   the operators, by name. `use` is the import path of a class in `operators/` or in a plugin; all
              other keys are its fields. Here they are in dependency order
    keep      the rules, by name: pipeline.rule.Rule. None: every sample is kept
    export    the files to write: Export
    limits    bounds on a sample: pipeline.recipe.limits.Limits
    run       speed, by operator: Resources
    plugins   .py files, or folders of them, with operators of your own; the recipe may run the code there
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=NAME, max_length=MOST_NAME)] = "recipe"
    pool: Pool
    compute: dict[str, Entry] = {}
    keep: dict[str, Rule] = {}
    export: Export = Export()
    limits: Limits = Limits()
    run: dict[str, Resources] = {}
    plugins: tuple[str, ...] = ()

    @field_validator("keep", mode="before")
    @classmethod
    def _column_defaults_to_key(cls, rules: Any) -> Any:
        """The name of a rule is its column, unless the rule names another."""
        if not isinstance(rules, dict):
            return rules
        if strange := [name for name in rules if not isinstance(name, str)]:
            raise ValueError(f"has a rule with the name {brief(strange[0])}, which is not a text: quote it")
        return {
            name: {"column": name, **rule} if isinstance(rule, dict) else rule for name, rule in rules.items()
        }

    def operator(self, name: str) -> Operator:
        """The instance that `compute.<name>` describes."""
        return self.compute[name].operator

    def resources(self, name: str) -> Resources:
        """`run.<name>`, or the defaults."""
        return self.run.get(name, Resources())
