"""Walks a kind through the commands, and keeps what each of them said, took and left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from tests.corpus.kind import Kind, Outcome
from tests.corpus.pool import OddPool
from tests.support.warm import Done, Warm

COMMANDS = ("plan", "run", "keep", "explain", "export", "report")
FEW = ("run",)  # what says most in a short time
NOTED = ("run", "explain")  # the same if a sample fails, or has a note
REFUSAL = ("plan", "run")
LOCAL = ("run", "export")
INGEST = ("--retries", "0", "--timeout", "1", "--allow-private", "--json")
HERE = ("--local", "--processes", "1")  # as `ingest` downloads without Ray
EXPORTED = (0, 1)  # statuses of a run that has exported what it could
PATIENCE = 60  # seconds after which a command hangs
NOBODY = "0" * 32  # a uid that no sample has


@dataclass
class Walked:
    """What came of a kind. `table`: what `run` exported; None if it exported nothing."""

    kind: Kind
    place: OddPool
    done: dict[str, Done] = field(default_factory=dict)
    table: pl.DataFrame | None = None
    hangs: str = ""  # the command that did not end
    variables: Mapping[str, str | None] = field(default_factory=dict)  # of the commands' environment

    @property
    def main(self) -> Done | None:
        """The command that the outcome is about: `ingest` for a list of URLs, else `run`."""
        return self.done.get("ingest") or self.done.get("run")

    @cached_property
    def books(self) -> dict[str, Any] | None:
        """The books that `run` printed; None if it printed none."""
        text = self.done["run"].stdout if "run" in self.done else ""
        return json.loads(text)["books"] if text.startswith("{") else None

    @property
    def said(self) -> str:
        """What `run` or `ingest` said, and what `explain` said of the odd sample, without line breaks."""
        parts = [self.done[name] for name in ("ingest", "run", "explain") if name in self.done]
        return " ".join(" ".join(done.stderr + done.stdout for done in parts).split())

    @property
    def seconds(self) -> float:
        """CPU time of the slowest command."""
        return max(done.seconds for done in self.done.values())

    @property
    def megabytes(self) -> float:
        """The most memory that a command had."""
        return max(done.megabytes for done in self.done.values())


def walk(warm: Warm, kind: Kind, folder: Path, whole: bool = True) -> Walked:
    """Build a kind in a folder, and run every command on it; the most telling ones if not `whole`."""
    walked = Walked(kind, OddPool(folder))
    kind.build(walked.place)
    with walked.place.serve() as variables:
        walked.variables = {**kind.environment, **variables}
        _commands(warm, walked, whole)
    return walked


def _commands(warm: Warm, walked: Walked, whole: bool) -> None:
    """Run the commands; see `walk`."""
    if walked.place.list is not None:
        words = [str(walked.place.list), str(walked.place.out), *INGEST]
        _do(warm, walked, "ingest", *words, *(HERE if walked.place.local else ()))
        return
    recipe = str(walked.place.recipe())
    outcome = walked.kind.outcome
    few = REFUSAL if outcome.refused else NOTED if outcome.failed or _has_note(outcome) else FEW
    for command in COMMANDS if whole else few:
        words = [recipe, *([_odd_uid(walked.place)] if command == "explain" else [])]
        words += [*walked.place.arguments, *(["--local"] if command in LOCAL and walked.place.local else [])]
        words += ["--json"] if command == "run" else []
        words += ["--out", str(walked.place.folder / "report.html")] if command == "report" else []
        if not _do(warm, walked, command, *words):
            break
        table = walked.place.out / "table.parquet"
        if command == "run" and walked.done["run"].returncode in EXPORTED and table.is_file():
            walked.table = pl.read_parquet(table)


def _has_note(outcome: Outcome) -> bool:
    """Whether something is to be said of a sample that does not fail."""
    return bool(outcome.says and outcome.samples and not outcome.status)


def _do(warm: Warm, walked: Walked, command: str, *words: str) -> bool:
    """Run a command, and note what it did; False if it hangs."""
    try:
        walked.done[command] = warm.winnow(command, *words, environment=walked.variables, patience=PATIENCE)
    except TimeoutError:
        walked.hangs = command
    return not walked.hangs


def _odd_uid(place: OddPool) -> str:
    """The uid of the first sample whose key begins with "odd"; one that nobody has if there is none."""
    for part in sorted(place.store.glob("samples/**/*.parquet")):
        table = pl.read_parquet(part, columns=["uid", "key"]).filter(pl.col("key").str.starts_with("odd"))
        if table.height:
            return str(table["uid"][0])
    return NOBODY
