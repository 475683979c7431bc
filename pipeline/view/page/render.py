"""The page of a report: one HTML file that is read offline and asks no server for anything.

    Path("report.html").write_bytes(render(report))

`page.html` is the template; the files of STYLES and SCRIPTS are copied into it, in this order, and the
report's numbers, texts and pictures stand in it as JSON. Texts of a pool are never markup: Jinja escapes
what the template shows, the scripts set `textContent` alone, and the page's policy allows this style and
these scripts by their hashes, and nothing else.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.view.door.html import share

HERE = Path(__file__).parent
STYLES = ("page.css", "parts.css")
SCRIPTS = (
    "dom.js",
    "whatif.js",
    "charts.js",
    "cards.js",
    "tabs.js",
    "panels.js",
    "overlap.js",
    "sections.js",
    "start.js",
)
ESCAPES = {  # what HTML or JavaScript would read as more than text, as JSON writes it
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}
EMPTY: Mapping[str, Any] = {  # sections that a report may lack
    "rules": [],
    "sample": None,
    "overlap": [],
    "corpus": [],
    "pictures": None,
    "placeholders": None,
    "record": {},
}


def render(report: object) -> bytes:
    """The page of a report: its dataclass, or a mapping with the same keys. Equal reports give equal
    bytes."""
    content = EMPTY | orjson.loads(orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY))
    style, script = "".join(map(_read, STYLES)), _script()
    page = _environment().get_template("page.html")
    return page.render(
        report=content,
        books=content["books"],
        funnel=_funnel(content["books"]["samples"], content["rules"]),
        faults=_faults(content["books"]),
        policy=_policy(style, script),
        style=style,
        script=script,
        data=_json(content),
    ).encode()


@cache
def _environment() -> Environment:
    """Jinja with everything escaped, and with filters for numbers."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "number": _number, "share": share, "times": _times}
    return environment


@cache
def _read(name: str) -> str:
    """The text of a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """All scripts as one, in a function of its own, so that they leave no global names."""
    return '"use strict";\n(() => {\n' + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"


def _json(content: object) -> str:
    """JSON that holds no character that HTML or JavaScript would read as more than text."""
    data = orjson.dumps(content)
    for character, escape in ESCAPES.items():
        data = data.replace(character, escape)
    return data.decode()


def _policy(style: str, script: str) -> str:
    """The content security policy: this style, these scripts, pictures out of the page itself, and nothing
    else."""
    allowed = f"style-src {_source(style)}; script-src {_source(script)}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    """The hash of an inline style or script, as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _funnel(samples: int, rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules with how many samples are left `before` and after (`left`) each."""
    rows, left = [], samples
    for rule in rules:
        failed = sum(rule["failed"].values())
        before, left = left, left - rule["dropped"] - failed
        rows.append({"rule": rule, "before": before, "left": left, "failed": failed})
    return rows


def _faults(books: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The books' losses as tables: title, and rows of what and why or how many."""
    passed = books.get("passed_over") or {}
    tables: list[tuple[str, Mapping[str, object]]] = [
        ("Shards that are damaged: the samples before the break are read", books.get("damaged") or {}),
        ("Shards that could not be read: their samples are not counted", books.get("pending") or {}),
        ("Shards that changed since they were read, and were read anew", books.get("rewritten") or {}),
        ("Shards that changed while they were read, and were read again", books.get("changed") or {}),
        ("URLs that were not downloaded", books.get("lost") or {}),
        ("Paths of the pool that were passed over", {why: _paths(told) for why, told in passed.items()}),
    ]
    return [(title, [(name, _told(what)) for name, what in rows.items()]) for title, rows in tables if rows]


def _paths(told: Mapping[str, Any]) -> str:
    """How many paths were passed over for a reason, with one of them."""
    examples = told["examples"]
    return f"{told['count']:,}" + (f", such as {examples[0]}" if examples else "")


def _told(what: object) -> str:
    """A reason, or a count with separators."""
    return f"{what:,}" if isinstance(what, int) else str(what)


def _number(value: object) -> str:
    """A number with separators, a fraction with six digits; anything else as its text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _times(part: float, whole: float, length: float = 100) -> str:
    """The length of a bar of `part` if `whole` is `length` units long."""
    return f"{length * part / whole:.3f}" if whole else "0"
