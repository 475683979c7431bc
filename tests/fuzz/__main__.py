"""Fuzz parsers with atheris (libFuzzer): each for some seconds, in a process of its own.

    python -m tests.fuzz --seconds 60
    python -m tests.fuzz --seconds 600 --only tar,pax
    python -m tests.fuzz --input fuzz/tar/crash-…     # what that input does, without the fuzzer

Inputs that were found stay in `fuzz/<target>/`, so the next time goes on from there. A finding is an error
that the target does not document, more than SLOW seconds, or more than MEMORY megabytes. Findings become
kinds of the corpus.
"""

import argparse
import contextlib
import importlib
import subprocess
import sys
from pathlib import Path

ROOT = Path("fuzz")
SLOW = 10  # seconds for an input
MEMORY = 2000  # megabytes
LONGEST = 20_000  # bytes of an input


def main() -> None:
    """Fuzz the targets one after the other, and say what each has found. Status 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", default="", help="targets, separated by commas")
    parser.add_argument("--input", type=Path, help="a finding, to be run once")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.child:
        _fuzz(given.child, rest)
    elif given.input:
        from tests.fuzz.targets import TARGETS

        TARGETS[given.input.parent.name].run(given.input.read_bytes())
    else:
        sys.exit(_all(given.seconds, [name for name in given.only.split(",") if name]))


def _all(seconds: int, only: list[str]) -> int:
    """Fuzz each target in a process of its own."""
    from tests.fuzz.targets import TARGETS

    found = 0
    for name in only or TARGETS:
        folder = ROOT / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[name].seeds):
            (folder / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz", "--child", name, str(folder)]
        options = [f"-max_total_time={seconds}", f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}"]
        paths = [f"-max_len={LONGEST}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
        done = subprocess.run([*command, *options, *paths], capture_output=True, text=True, check=False)
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line), "?")
        print(f"{name:10} {runs:>10} inputs  {'ok' if not done.returncode else 'FOUND'}", flush=True)
        if done.returncode:
            found += 1
            print("\n".join(f"    {line}" for line in done.stderr.splitlines()[-60:]), flush=True)
    return min(found, 1)


def _fuzz(name: str, arguments: list[str]) -> None:
    """Let libFuzzer work; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["pipeline", "operators", "jobs", "braceexpand"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]

    def once(data: bytes) -> None:
        with contextlib.suppress(*target.expected):
            target.run(data)

    for library in target.libraries:
        importlib.import_module(library)
    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
