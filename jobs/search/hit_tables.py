"""Tables of what `winnow search` found, for people."""

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from jobs.terminal.console import Console, remarks
from jobs.terminal.tables import counted, table
from pipeline.search.hits import Found

CAPTION = 64  # characters of a caption in a table
MOST = 100  # rows of a table; `--json` has all


def hits(found: Found, out: Console) -> None:
    """A table per query: its hits, the best first."""
    for number, name in enumerate(found.names):
        own = found.hits.rows.filter(query=number)
        if own.is_empty():
            out.print(f"{name}: nothing was found")
            continue
        rows = table(name, "uid", "caption", "sample", "cosine", text=3)
        for row in own.head(MOST).iter_rows(named=True):
            caption = shorten(row["caption"] or "", CAPTION, placeholder="...")
            rows.add_row(row["uid"], caption, f"{row['shard']}/{row['key']}", f"{row['score']:.3f}")
        out.print(rows)
        if len(own) > MOST:
            out.print(f"and {counted(len(own) - MOST, 'more hit')}, which --json, --subset and --export hold")


def searched(path: str, rows: int, measured: Mapping[str, Any] | None, probes: int | None = None) -> None:
    """What was searched, and how far an index that is not exact can be trusted, on stderr. `probes`: how many
    lists were asked for; the recall was measured for one number of them."""
    found = measured or {}
    recall = found.get("recall@10")
    inexact = isinstance(recall, float) and recall < 1 and probes in (None, found.get("probes"))
    told = f"; it finds {recall:.1%} of the true ten nearest" if inexact else ""
    remarks.print(f"searched {counted(rows, 'sample')} of {path}{told}")
