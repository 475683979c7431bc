"""The laws that hold for every kind of input. Each is a function from a walk, and the walk over sound
shards alone, to what is wrong."""

import unicodedata
from collections.abc import Callable

from tests.corpus.pool import SAME, sound_uids
from tests.corpus.walk import Walked

SECONDS = 5.0  # of CPU time, which does not depend on what else the machine does
MEGABYTES = 300.0
STATUSES = (0, 1, 2, 3)  # that a command may end with
LAYOUT = "\n\t"  # control characters that a terminal may get
BIDI = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}  # reorder what is shown

Law = Callable[[Walked, Walked], list[str]]


def outcome(walked: Walked, alone: Walked) -> list[str]:
    """What comes of it is what is expected, and every expected word is said."""
    expected = walked.kind.outcome
    if walked.main is None:
        return []
    wrong = [f"{text!r} is not said" for text in expected.says if text not in walked.said]
    if (status := walked.main.returncode) != expected.status:
        wrong.append(f"status {status}, not {expected.status}")
    if expected.samples is not None:
        found = (walked.books or {}).get("samples", 0) - walked.place.neighbours
        failed = (walked.books or {}).get("failed", 0)
        if (found, failed) != (expected.samples, expected.failed):
            wrong.append(f"{found} samples, {failed} failed, not {expected.samples}, {expected.failed}")
    return wrong


def refusal(walked: Walked, alone: Walked) -> list[str]:
    """What `run` refuses, `plan` refuses too, in the same words, and nothing was read."""
    if not walked.kind.outcome.refused or "plan" not in walked.done:
        return []
    plan = walked.done["plan"]
    said = " ".join((plan.stdout + plan.stderr).split())
    wrong = [f"plan does not say {text!r}" for text in walked.kind.outcome.says if text not in said]
    if plan.returncode != walked.kind.outcome.status:
        wrong.append(f"plan ends with status {plan.returncode}")
    if list(walked.place.store.glob("samples/**/*.parquet")):
        wrong.append("samples were read")
    return wrong


def no_traceback(walked: Walked, alone: Walked) -> list[str]:
    """No command ends in a traceback, by a signal, or not at all."""
    wrong = [f"{walked.hangs} does not end"] if walked.hangs else []
    for command, done in walked.done.items():
        if "Traceback" in done.stderr + done.stdout or done.returncode not in STATUSES:
            wrong.append(f"{command}: status {done.returncode}: {done.stderr[-300:]}")
    return wrong


def balance(walked: Walked, alone: Walked) -> list[str]:
    """Every sample that was read is kept, dropped or failed."""
    books = walked.books
    if books is None or books["samples"] == books["kept"] + books["dropped"] + books["failed"]:
        return []
    return [f"{books['samples']} samples: {books['kept']}, {books['dropped']}, {books['failed']}"]


def bounds(walked: Walked, alone: Walked) -> list[str]:
    """No command takes much longer, or much more memory, than over sound shards."""
    wrong = []
    if walked.done and walked.seconds - alone.seconds > SECONDS:
        wrong.append(f"{walked.seconds:.1f} s")
    if walked.done and walked.megabytes - alone.megabytes > MEGABYTES:
        wrong.append(f"{walked.megabytes - alone.megabytes:.0f} MB more than without it")
    return wrong


def terminal(walked: Walked, alone: Walked) -> list[str]:
    """No control character reaches the terminal."""
    wrong = []
    for command, done in walked.done.items():
        bad = {c for c in done.stdout + done.stderr if _controls(c)}
        if bad:
            wrong.append(f"{command} shows {sorted(bad)!r}")
    return wrong


def _controls(character: str) -> bool:
    return character in BIDI or (unicodedata.category(character) == "Cc" and character not in LAYOUT)


def neighbours(walked: Walked, alone: Walked) -> list[str]:
    """The results of sound samples are what they are without the odd one."""
    if walked.table is None:
        whole = "export" in walked.done and walked.kind.outcome.status in (0, 1) and walked.place.exported
        return ["nothing was exported"] if whole else []
    assert alone.table is not None
    same = [name for name in SAME if name in walked.table.columns]  # tables have no images
    found = walked.table.filter(walked.table["uid"].is_in(sound_uids())).select(same).sort("uid")
    expected = alone.table.filter(alone.table["uid"].is_in(found["uid"].to_list())).select(same).sort("uid")
    return [] if found.equals(expected) else [f"{found} instead of {expected}"]


LAWS: dict[str, Law] = {
    "outcome": outcome,
    "refusal": refusal,
    "no traceback": no_traceback,
    "balance": balance,
    "bounds": bounds,
    "terminal": terminal,
    "neighbours": neighbours,
}
