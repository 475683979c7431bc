"""What strangers write into names, captions and reasons is shown, and does nothing to the terminal."""

import ast
import errno
import io
import json
import logging
import re
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.commands.output import print_json, warnings_on_stderr
from jobs.ingest.books import DownloadSummary
from jobs.terminal import console as screen
from jobs.terminal import log, plan_tables, store_tables, subset_tables, tables
from jobs.terminal.console import Console
from jobs.upkeep import StoreInfo, UnitInfo
from pipeline.decide.books import Books, Losses
from pipeline.decide.decision import Decision, RuleCount
from pipeline.decide.effects import Effects
from pipeline.decide.explain import Explanation, RuleVerdict
from pipeline.errors import WinnowError
from pipeline.export.subset_algebra import Comparison, SubsetFile
from pipeline.pool.listing.reasons import PassedOver
from pipeline.preflight.estimate import Estimate, MissingPass, OperatorCost, StagePool
from pipeline.preflight.preview import Preview
from pipeline.preflight.space import Space
from pipeline.progress import Tally
from pipeline.run.bottleneck import Bottleneck
from pipeline.run.log import RunSummary, Speed
from pipeline.storage.upkeep.compact import FileCounts
from pipeline.storage.upkeep.removal import Removal

HOSTILE = (
    "[red]x[/red]",
    "[/b]",
    "[link=file:///x]y[/link]",
    ":smiley:",
    "\x1b[2J\x1b]52;c;aGk=\x07",
    "\x1b]8;;http://e.org\x1b\\x\x1b]8;;\x1b\\",
    "\x9b31m",
    "a\rb\nc\x00d\x7f",
    "\u202egpj.exe\u2066",
    "\ud800\udc80",
    "\u0085\u2028",
    "[" * 50 + "\\",
    "日本語 Ελληνικά العربية 🙂",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=30))
SGR = re.compile(r"\x1b\[[0-9;]*m")  # colours, which the console itself writes


def decision(t: str) -> Decision:
    rules = {
        t: RuleCount(t, t, 1.0, 1, 1, 1, 1, {t: 1}, {t: 1}),
        "b": RuleCount("b", t, None, 1, 1, 1, 1, {}, {}),
    }
    return Decision(t, 1, 3, 1, 2, 0, rules)


def books(t: str) -> Books:
    passed_over = {t: PassedOver(2, (t, t))}
    return Books(
        **vars(decision(t)),
        listed=4,
        damaged={t: t},
        lost={t: 1},
        passed_over=passed_over,
        unwatched=1,
        pending={t: t},
        rewritten={t: t},
        changed={t: t},
        speeds={t: Speed(1, 1.0, 1.0, 1.0)},
        bottleneck=Bottleneck(t, 0.9, 10.0, t),
    )


NONE = Losses({}, {}, {}, 0)


def preview(t: str) -> Preview:
    step = MissingPass([t], "score", t, 1, 1, 1, 1.0, {t: 1.0}, [StagePool([t], 1, 1, 0, 0)])
    whole = Estimate(1.0, 1.0, 1, t, {t: OperatorCost(1.0, 1.0, 1)})
    space = Space(t, t, 1, True, 1, 1)
    parts = {t: t}
    return Preview(1, 1, 1, parts, parts, parts, parts, [step], None, [], whole, None, t, [space], [t], [t])


def explanation(t: str, keep: bool) -> Explanation:
    verdict = RuleVerdict(t, t, t, t, t, t)
    return Explanation(
        "0" * 32,
        t,
        0,
        t,
        t,
        t,
        1,
        1,
        keep=keep,
        rules=[verdict],
        evidence={t: [{t: t, "of": [t]}]},
        captions=(t,),
    )


SHOWN = {
    "run": lambda t: tables.funnel(books(t), books(t), {t: 1}),
    "keep": lambda t: tables.funnel(decision(t), NONE),
    "overlap": lambda t: tables.overlap(decision(t)),
    "changed": lambda t: tables.rewritten(RunSummary(1, 0, {}, {}, {t: t}, {t: t}, 1, Tally()), [t]),
    "speeds": lambda t: tables.speeds(books(t)),
    "pending": lambda t: tables.pending({t: t}, t),
    "ingest": lambda t: tables.ingested(DownloadSummary(2, 1, 1, {t: 1}, {t: t}, {t: t})),
    "effects": lambda t: tables.effects(Effects(t, {t: {t: pl.DataFrame({whole(t): [whole(t)], "n": [1]})}})),
    "explain kept": lambda t: tables.explanation(explanation(t, True)),
    "explain dropped": lambda t: tables.explanation(explanation(t, False)),
    "compact": lambda t: store_tables.compacted({t: FileCounts(2, 1)}),
    "plan": lambda t: plan_tables.plan(preview(t)),
    "store info": lambda t: store_tables.info(StoreInfo(t, [t], 1, [UnitInfo(t, 1, 1, 1, 1, True)], {t: 1})),
    "store clean": lambda t: store_tables.removal(t, Removal({t: 1}, {t: {t: 1}}, {t: [t]})),
    "subset": lambda t: subset_tables.subsets(Comparison([SubsetFile(t, 1, 1, 1)] * 2, [[1, 1], [1, 1]])),
    "line": lambda t: tables.console.print(t, screen.styled(t, "red")),
    "rule": lambda t: tables.console.rule(t),
    "log": lambda t: log_line(t),
}


def whole(text: str) -> str:
    """As polars takes it: without halves of characters."""
    return text.encode("utf-8", "replace").decode()


def log_line(text: str) -> None:
    log.TerminalHandler().emit(logging.LogRecord("winnow", logging.INFO, "", 0, "%s", (text,), None))


@pytest.mark.parametrize("name", SHOWN)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS, terminal=st.booleans())
def test_nothing_that_is_shown_moves_a_terminal(name, text, terminal):
    out = Console(
        file=io.StringIO(), width=120, force_terminal=terminal, color_system="truecolor" if terminal else None
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (tables, store_tables):
            patch.setattr(module, "console", out)
        for module in (tables, store_tables, log):
            patch.setattr(module, "remarks", out)
        SHOWN[name](text)
    written = SGR.sub("", out.file.getvalue()) if terminal else out.file.getvalue()
    assert all(line.isprintable() for line in written.split("\n"))
    written.encode()
    if text in ("[red]x[/red]", "[/b]", ":smiley:") and name != "effects":
        assert text in written


@settings(max_examples=200, deadline=None)
@given(TEXTS)
@example("x" * 100_000)
def test_lines_for_people_are_one_line(text):
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", err)
        screen.say(text)
        with warnings_on_stderr():
            logging.getLogger("winnow.storage.damage").warning("%s", text)
    lines = err.getvalue().removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 5000 for line in lines)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_json_holds_the_text_and_nothing_that_a_terminal_obeys(text):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        print_json({text: [text, float("nan"), float("inf")]})
    written = out.getvalue()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", written)
    assert orjson.loads(written) == json.loads(written)
    if not re.search("[\ud800-\udfff]", text):
        assert json.loads(written) == {text: [text, None, None]}


def test_paths_are_exact_for_programs_and_escaped_for_people(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", raw)
    screen.put("out/\udcff\x1b[31m日本")
    assert raw.buffer.getvalue() == b"out/\xff\x1b[31m" + "日本\n".encode()
    monkeypatch.setattr(sys, "stdout", seen := Terminal())
    screen.put("out/\udcff\x1b[31m日本")
    assert seen.getvalue() == "out/\\udcff\\x1b[31m日本\n"


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many", "", "9" * 400])
@pytest.mark.parametrize("terminal", [True, False])
def test_any_width_shows_something(columns, terminal):
    out = Console(file=io.StringIO(), force_terminal=terminal, _environ={"COLUMNS": columns, "LINES": "0"})
    assert 20 <= out.width < 10_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "console", out)
        tables.funnel(decision("a"), NONE)
    assert "Funnel" in out.file.getvalue()


def test_a_full_disk_behind_stdout_is_named(monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(WinnowError, match=r"^stdout cannot be written \(No space left on device\); what was"):
        screen.put("out/shards")


ROOT = Path(__file__).parents[3]

# --- one place -------------------------------------------------------------------------------------

SCRIPTS = ("poison_lab", "toy/train_clip.py", "toy/sample_pool.py", "commands/reference.py")  # for developers


def test_only_one_module_prints_and_nothing_reads_markup():
    found = []
    for file in sorted((ROOT / "jobs").rglob("*.py")):
        name = file.relative_to(ROOT / "jobs").as_posix()
        if name.startswith(SCRIPTS) or name == "terminal/console.py":
            continue
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            if called == "print" or module in ("rich.markup", "rich.console") or called == "escape":
                found.append(f"{name}:{node.lineno}")
    assert found == []
