"""Runs benchmarks and writes what they print into RESULTS.md, with the machine, versions, date and command.

    python -m tests.benchmarks                   # all of them, at the reduced size of QUICK
    python -m tests.benchmarks columns forward   # some
    python -m tests.benchmarks --full keep       # at the size of its own defaults

Each has a block in RESULTS.md between two comments, which the next run replaces; the first appends it to the
page, whose last section has them. What people wrote around the blocks stays. The block has the tables that a
benchmark printed, or all of its output if there is none. One that fails or takes longer than PATIENCE keeps
its block and is named on stderr, and the exit status is 1. One that lacks a package ends with the status
LACKS and a line that says which; it keeps its block, too, but is no failure. Nor are those that read DATA
where there is none.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "RESULTS.md"
DATA = ROOT.parent / "shared" / "data"
PHOTOS = "../shared/data/photos"
PATIENCE = 1800  # seconds of one benchmark
LACKS = 77
PACKAGES = ("torch", "open_clip_torch", "numpy", "polars", "pyarrow", "ray", "faiss-gpu", "pillow")
# The arguments of a run that takes a few minutes at most on two cores
QUICK = {
    "captions": [],
    "clip": ["--samples", "128"],
    "clipcov": ["--pool", "3000", "--seeds", "1", "--steps", "50"],
    "columns": ["--rows", "20000"],
    "copies": [PHOTOS],
    "corpus": ["--captions", "200000", "--entries", "50000"],
    "datacomp": ["--rows", "1000000"],
    "embedding_filters": [],
    "faults": ["--runs", "1", "--faults", "worker killed", "--phases", "compute"],
    "forward": [],
    "groups": ["--rows", "1000000"],
    "index": ["--rows", "200000", "--width", "64", "--steps", "ours,bare"],
    "ingest": ["--urls", "500"],
    "keep": ["--rows", "1000000"],
    "many": ["--shards", "500"],
    "memory": ["--per-shard", "2500"],
    "outliers": ["--rows", "30000", "--rounds", "2"],
    "overlap": ["--copies", "8"],
    "perceptual": [PHOTOS],
    "plan": ["--shards", "200", "--times", "1", "--gigabytes", "1"],
    "preprocess": ["--large", "300"],
    "ray": ["--copies", "2", "--rounds", "1"],
    "report": ["--rows", "1000000"],
    "semantic": [],
    "subset": ["--rows", "1000000"],
    "tar": [PHOTOS, "0.2"],
    "text": ["--part", "12", "--sides", "640", "--pass", "32"],
    "text_int8": ["--part", "16"],
    "tiny": ["--shards", "300"],
}


READ_DATA = {"captions", "clip", "copies", "corpus", "overlap", "perceptual", "preprocess", "ray", "tar"}
READ_DATA |= {"text", "text_int8", "tiny"}


class Lacking(Exception):
    """A benchmark needs a package that is not installed, or DATA; the message says so."""


def run(name: str, arguments: Sequence[str], folder: Path = HERE) -> str:
    """The block of one benchmark, as lines of Markdown. Raises RuntimeError with the end of its output if it
    fails, and Lacking."""
    if name in READ_DATA and not DATA.is_dir():
        photos = os.path.relpath(DATA, ROOT)
        raise Lacking(f"needs photos and captions in {photos}, or photos of your own: see its --help")
    command = ["python", f"{os.path.relpath(folder, ROOT)}/bench_{name}.py", *arguments]
    given = os.environ.get("PYTHONPATH", "")  # folders of packages that are for a benchmark alone
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), given]))}
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *command[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"has not ended after {PATIENCE} s") from None
    if done.returncode == LACKS:
        raise Lacking(done.stderr.strip())
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).splitlines()[-5:]))
    head = textwrap.fill(f"{machine()}; {time.perf_counter() - started:,.0f} s.", 110)
    return f"    {shlex.join(command)}\n\n{head}\n\n{tables(done.stdout)}"


def machine() -> str:
    """The machine, the versions and the date, on one line."""
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    load = f"{os.getloadavg()[0]:.0f}"
    return (
        f"{_processor()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}, "
        f"{', '.join(found)}; {time.strftime('%Y-%m-%d', time.gmtime())}"
    )


def _processor() -> str:
    """Its name, as Linux tells it; elsewhere as Python does."""
    with suppress(OSError):
        if named := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return named[1]
    return platform.processor() or platform.machine()


def tables(output: str) -> str:
    """The Markdown tables of an output, or all of it as it is if it has none."""
    lines = output.splitlines()
    if not any(line.startswith("|--") for line in lines):
        return "\n".join(f"    {line}".rstrip() for line in lines)
    parts = re.findall(r"(?:^\|.*\n?)+", output, re.MULTILINE)
    return "\n\n".join(part.rstrip("\n") for part in parts)


def replaced(page: str, name: str, block: str) -> str:
    """The page with the benchmark's block in the place of its earlier one, or appended under a heading."""
    begin, end = f"<!-- bench_{name}.py: written by make bench -->", f"<!-- end of bench_{name}.py -->"
    whole = f"{begin}\n{block}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n### `bench_{name}.py`\n\n{whole}\n"
    before, rest = page.split(begin, 1)
    return f"{before}{whole}{rest.split(end, 1)[1]}"


def main(words: Sequence[str] | None = None, results: Path = RESULTS, folder: Path = HERE) -> int:
    """Run what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(QUICK))
    parser.add_argument("--full", action="store_true", help="at the size of each benchmark's own defaults")
    asked = parser.parse_args(words)
    if unknown := set(asked.names) - QUICK.keys():
        parser.error(f"not a benchmark: {', '.join(sorted(unknown))}; there are {', '.join(QUICK)}")
    failed = False
    for name in asked.names or QUICK:
        print(f"bench_{name}.py", flush=True)
        try:
            block = run(name, [] if asked.full else QUICK[name], folder)
        except (RuntimeError, Lacking) as error:
            failed |= isinstance(error, RuntimeError)
            print(f"bench_{name}.py: {error}", file=sys.stderr, flush=True)
            continue
        print(block, flush=True)
        results.write_text(replaced(results.read_text(), name, block))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
