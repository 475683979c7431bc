"""SIGKILL at random moments, often: after every few kills the command is run to its end, and what it leaves
must be, byte for byte, what a run leaves that was never killed.

    python -m tests.support.kill_rounds --kills 1000 --seed 1
    python -m tests.support.kill_rounds --kills 200 --what ingest,compact
    python -m tests.support.kill_rounds --kills 0 --ray 60

In the plain loop a command starts in milliseconds (tests/support/warm.py), so 1,000 kills take half an hour.
"""

import argparse
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from jobs.toy.sample_pool import make_pool
from tests.support.folders import is_states
from tests.support.ingest_runs import LOOPBACK, write_list
from tests.support.killable_run import command, killed, outputs, write_recipe
from tests.support.paths import ROOT
from tests.support.place import Place
from tests.support.warm import Warm
from tests.support.web_server import web

KINDS = ("compute", "keep", "export", "compact", "index", "ingest")
IN_A_SERIES = 6  # kills at most, before a run to the end
BEFORE, AFTER = ("--set", "keep.facts.words.min=1"), ("--set", "keep.facts.words.min=4")
TIMES = ("start_time", "end_time", "duration")
REMEMBERED = ("store/runs/", "store/footers/")  # how long runs took, and what is read again to save time


class Rounds:
    """`hit` counts kills that met a running process, by kind; `wrong` names what was not equal after all."""

    def __init__(self, root: Path, warm: Warm, seed: int) -> None:
        self.root, self.warm, self.random = root, warm, random.Random(seed)
        self.kills, self.hit = Counter[str](), Counter[str]()
        self.wrong: list[str] = []
        self.expected: dict[str, dict[str, bytes]] = {}
        self.longest: dict[str, float] = {}
        self.place = self._place()

    def _place(self) -> Place:
        """A pool, and templates of its store: computed, decided and exported otherwise, finished."""
        place = Place(self.root / "place")
        place.execute = self.warm.winnow
        for shard in range(8):
            captions = [f"shard {shard} row {row}" + " more" * ((row + shard) % 5) for row in range(10)]
            place.tar(f"{shard}", captions, seed=shard)
        place.compute["thumb"] = {"use": "thumbnails.Thumbnail"}
        place.export["index"] = {"embedding": "thumb.vector", "path": "out/index"}
        return place

    def done(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())

    # --- one series -------------------------------------------------------------------------------

    def series(self, kind: str, kills: int) -> None:
        """Kill one command so many times, then let it end, and compare."""
        commands, folder = self._commands(kind), self.place.folder
        if kind not in self.expected:
            self._reset(kind)
            for _ in range(2):  # the first one finds nothing in the page cache
                self._reset(kind)
                started = time.perf_counter()
                self._finish(commands[:1])
                self.longest[kind] = time.perf_counter() - started
            self._finish(commands[1:])
            self.expected[kind] = self._left(kind)
        self._reset(kind)
        for _ in range(kills):
            self._kill(kind, commands[0])
        self._finish(commands)
        self._compare(kind, self._left(kind))
        assert folder.exists()

    def _commands(self, kind: str) -> list[list[str]]:
        """The words of the command that is killed, and of those that end a series."""
        recipe = str(self.place.recipe())
        local = [recipe, "--local"]
        return {
            "compute": [["compute", *local], ["run", *local, *AFTER]],
            "keep": [["keep", recipe, *AFTER], ["run", *local, *AFTER]],
            "export": [["export", *local, *AFTER], ["run", *local, *AFTER]],
            "index": [["run", *local, *AFTER, "--set", "export.shards=null"], ["run", *local, *AFTER]],
            "compact": [["compact", recipe], ["run", *local, *AFTER]],
            "ingest": [self._ingest(), self._ingest()],
        }[kind]

    def _ingest(self) -> list[str]:
        """The words of `winnow ingest`."""
        folder = self.place.folder
        options = ("--local", "--processes", "1", "--rows", "8", "--threads", "4", *LOOPBACK)
        return ["ingest", str(folder / "list.tsv"), str(folder / "out"), *options]

    def _reset(self, kind: str) -> None:
        """What a series begins with: nothing for `compute`; a store and exports of another bound else."""
        place, template = self.place, self.root / "template"
        for path in (place.store, place.out):
            shutil.rmtree(path, ignore_errors=True)
        if kind in ("compute", "ingest"):
            return
        if not template.exists():
            self._finish([["run", str(place.recipe()), "--local", *BEFORE]])
            for path in (place.store, place.out):
                shutil.copytree(path, template / path.name)
            return
        for path in (place.store, place.out):
            shutil.copytree(template / path.name, path)

    def _kill(self, kind: str, words: Sequence[str]) -> None:
        """Start a command and kill it at a random moment, alone or with the processes that it has started."""
        run = self.warm.start(*words)
        time.sleep(self.random.uniform(0, self.longest[kind]))
        run.kill(group=kind != "ingest" or self.random.random() < 0.5)
        status = run.wait().returncode
        self.kills[kind] += 1
        self.hit[kind] += status == -signal.SIGKILL
        if status not in (-signal.SIGKILL, 0):
            self._note(f"{kind}: ended with {status} before it was killed")

    def _finish(self, commands: Sequence[Sequence[str]]) -> None:
        """Run commands to their ends; what ends with an error counts as wrong."""
        for words in commands:
            done = self.warm.winnow(*words)
            if done.returncode:
                self._note(f"{' '.join(words)}: {done.returncode}: {done.stderr[-2000:]}")

    def _left(self, kind: str) -> dict[str, bytes]:
        """Every file of the store and the exports that is published or left over. A download's files hold
        the time and order in which pictures came: of these, the contents in the order of their keys. Of the
        states of an export's files, which hold times: the copy of the manifest, and the files' names."""
        found: dict[str, bytes] = {}
        for path in (self.place.store, self.place.out):
            files = (file for file in path.rglob("*") if file.is_file())
            found |= {str(file.relative_to(self.place.folder)): file.read_bytes() for file in files}
        found = {name: _stateless(data) if is_states(name) else data for name, data in found.items()}
        kept = {name: data for name, data in found.items() if not name.startswith(REMEMBERED)}
        return {name: _timeless(name, data) for name, data in kept.items()} if kind == "ingest" else kept

    def _compare(self, kind: str, found: dict[str, bytes]) -> None:
        """Note the files that are not as expected."""
        expected = self.expected[kind]
        names = [n for n in sorted({*found, *expected}) if found.get(n) != expected.get(n)]
        if names:
            self._note(f"{kind}: {len(names)} files differ: {names[:8]}")
            for name in names:
                for folder, files in (("found", found), ("expected", expected)):
                    path = self.root / f"wrong{len(self.wrong)}" / folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(files.get(name, b""))

    def _note(self, problem: str) -> None:
        """Something is not as it should be."""
        self.wrong.append(problem)
        print(f"WRONG {len(self.wrong)}: {problem}", flush=True)


def _stateless(data: bytes) -> bytes:
    """A file of states of an export's files, less the states."""
    noted = json.loads(data)
    return json.dumps([noted["manifest"], sorted(noted["states"])], sort_keys=True).encode()


def _timeless(name: str, data: bytes) -> bytes:
    """A file of a download, less times and order."""
    if name.endswith("_stats.json"):
        counts = json.loads(data)
        return json.dumps({key: value for key, value in counts.items() if key not in TIMES}).encode()
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return repr(sorted((member.name, tar.extractfile(member).read()) for member in tar)).encode()
    if name.endswith(".parquet"):
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        return repr(sorted(rows, key=lambda row: str(row["key"]))).encode()
    return data


def on_ray(root: Path, kills: int, seed: int) -> tuple[int, list[str]]:
    """Kill `winnow run` on Ray so many times, five to a series; returns the kills that hit, and what was
    wrong."""
    make_pool(root / "ray_pool", shards=12, per_shard=50, seed=3, image_size=32)
    rng, hit, wrong = random.Random(seed), 0, list[str]()
    (root / "undisturbed").mkdir()
    recipe = write_recipe(root / "undisturbed", root / "ray_pool")
    subprocess.run(command("run", str(recipe), "--local"), check=True, cwd=ROOT, capture_output=True)
    expected = outputs(root / "undisturbed")
    for start in range(0, kills, 5):
        folder = root / f"ray{start}"
        folder.mkdir()
        words = command("run", str(write_recipe(folder, root / "ray_pool")))
        hit += sum(killed(words, rng.uniform(4, 25)) for _ in range(min(5, kills - start)))
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        found = outputs(folder)
        names = [n for n in sorted({*found, *expected}) if found.get(n) != expected.get(n)]
        if done.returncode or names:
            wrong.append(f"ray: {done.returncode}, {names[:8]} {done.stderr[-1000:]}")
        print(f"on Ray: {start + 5} kills, {hit} hit, {len(wrong)} wrong", flush=True)
        shutil.rmtree(folder)
    return hit, wrong


def main() -> int:
    """Print the number of kills, of those that hit, and of what was not equal; 1 if anything was not."""
    parser = argparse.ArgumentParser(description="SIGKILL at random moments, often.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--what", default=",".join(KINDS))
    parser.add_argument("--ray", type=int, default=0, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    kinds, started = asked.what.split(","), time.perf_counter()
    root = Path(tempfile.mkdtemp(prefix="kill_rounds"))
    with Warm() as warm, web() as (base, _):
        rounds = Rounds(root, warm, asked.seed)
        write_list(rounds.place.folder / "list.tsv", [(f"photo {n}", f"{base}/photo/{n}") for n in range(40)])
        while rounds.done() < asked.kills:
            kind = kinds[len(rounds.expected) % len(kinds)] if len(rounds.expected) < len(kinds) else None
            rounds.series(kind or rounds.random.choice(kinds), rounds.random.randint(1, IN_A_SERIES))
            if rounds.done() % 100 < IN_A_SERIES:
                print(f"{rounds.done():,} kills, {len(rounds.wrong)} wrong", flush=True)
    hit, wrong = on_ray(root, asked.ray, asked.seed) if asked.ray else (0, [])
    for kind in kinds:
        print(f"{kind:8}  kills {rounds.kills[kind]:5,}  of a running process {rounds.hit[kind]:5,}")
    if asked.ray:
        print(f"ray       kills {asked.ray:5,}  of a running process {hit:5,}")
    print(f"{time.perf_counter() - started:,.0f} s; not as it should be: {len(rounds.wrong) + len(wrong)}")
    for line in (*rounds.wrong, *wrong):
        print(f"  {line}")
    if rounds.wrong or wrong:
        print(f"left for a look: {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
