"""Faults planted in a run on a cluster of three nodes.

A run is a command in a process of its own. The fault strikes when a drawn number of files is published while
the run computes or exports, or a moment later. If the command fails, the same command runs once more. Then
every byte must equal that of the undisturbed plain loop."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import psutil
import yaml
from ray.cluster_utils import Cluster

from tests.support.killable_run import outputs, write_recipe
from tests.support.paths import ROOT
from tests.support.ray_nodes import nodes

SHAPE = [{"num_cpus": 1}, {"num_cpus": 1}, {"num_cpus": 1}]
DEADLINE = 600.0  # seconds for one submission: a hang is the worst of faults
HOG = 3 << 30  # bytes that a greedy worker takes at most
AT_WORK = 3 << 29  # bytes that the nodes and a run take, about
DISK = 24 << 20  # bytes of the disk that runs full


@dataclass
class Bed:
    """A pool, the folder of one run, and the cluster it runs on."""

    pool: Path
    folder: Path
    cluster: Cluster
    driver: "subprocess.Popen[bytes] | None" = None
    deadline: float = 0.0
    log: list[str] = field(default_factory=list)

    @property
    def flag(self) -> Path:
        """While this file exists, one `Hungry` worker takes memory."""
        return self.pool / "hungry"

    def processes(self, title: str) -> list[psutil.Process]:
        """Ray's processes of that title, such as `ray::CollectorActor`, of all nodes."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if (process.cmdline() or [""])[0].startswith(title):
                    found.append(process)
        return found


def write(folder: Path, pool: Path) -> Path:
    """The recipe of `test_resume`, with an operator more that may be hungry, and small tars to write."""
    path = write_recipe(folder, pool)
    recipe = yaml.safe_load(path.read_text())
    recipe["compute"]["slow"]["seconds"] = 0.01
    recipe["compute"]["hungry"] = {"use": "faulty.Hungry", "flag": str(pool / "hungry"), "most": HOG}
    recipe["export"]["samples_per_shard"] = 10
    small = {name: {"batch_size": 16} for name in recipe["compute"] if name not in ("words", "copies")}
    recipe["run"] = {**recipe["run"], **small}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def undisturbed(folder: Path, pool: Path) -> dict[str, bytes]:
    """What the plain loop writes."""
    folder.mkdir()
    words = [sys.executable, "-m", "jobs", "run", str(write(folder, pool)), "--local"]
    subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    return outputs(folder)


# --- faults -----------------------------------------------------------------------------------------


def kill_node(bed: Bed, rng: random.Random) -> None:
    """A worker node disappears, as a spot machine does; every other time a new one joins."""
    node = rng.choice(sorted(bed.cluster.worker_nodes, key=lambda n: n.unique_id))
    bed.cluster.remove_node(node, allow_graceful=False)
    if rng.random() < 0.5:
        bed.cluster.add_node(wait=False, num_cpus=1)


def kill_worker(bed: Bed, rng: random.Random) -> None:
    """SIGKILL for a process that runs a stage, a read task or an export."""
    title = "ray::MapWorker" if bed.processes("ray::MapWorker") else "ray::"
    busy = bed.processes(title)
    ours = [
        p for p in busy if not any(w in " ".join(p.cmdline()) for w in ("Agent", "IDLE", "Actor", "_Stats"))
    ]
    for process in rng.sample(ours, min(1, len(ours))):
        process.kill()


def kill_collector(bed: Bed, rng: random.Random) -> None:
    """SIGKILL for the actors that hold parts of shards."""
    for process in bed.processes("ray::CollectorActor"):
        process.kill()


def kill_driver(bed: Bed, rng: random.Random) -> None:
    """SIGKILL for the command itself."""
    assert bed.driver is not None
    bed.driver.kill()


def restart_head(bed: Bed, rng: random.Random) -> None:
    """Every process of the head dies, and of what was connected to it; the caller starts a cluster anew."""
    bed.cluster.remove_node(bed.cluster.head_node, allow_graceful=False)


def fill_object_store(bed: Bed, rng: random.Random) -> None:
    """A neighbour puts more into the nodes' object stores than they hold, until blocks lie on disk."""
    code = (
        "import numpy as np, ray, time\n"
        "ray.init(log_to_driver=False)\n"
        "@ray.remote(num_cpus=0, scheduling_strategy='SPREAD')\n"
        "class Neighbour:\n"
        "    def fill(self):\n"
        "        self.held = [ray.put(np.ones(10 << 20, np.uint8)) for _ in range(14)]\n"
        "neighbours = [Neighbour.remote() for _ in range(3)]\n"
        "ray.get([n.fill.remote() for n in neighbours])\n"
        "time.sleep(8)\n"
    )
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True, capture_output=True)
    session = Path(bed.cluster.head_node.get_session_dir_path())
    spilled = subprocess.run(["grep", "-rlE", "Spilled [0-9]+ MiB", session / "logs"], capture_output=True)
    bed.log.append("spilled" if spilled.stdout else "nothing spilled")


def take_memory(bed: Bed, rng: random.Random) -> None:
    """A worker outgrows its node: an operator of the pass; in exporting, a stranger on the node does."""
    if not (bed.folder / "shards").exists():
        bed.flag.touch()
        return
    code = "import time\nheld = []\nfor _ in range(48): held.append(b'1' * (1 << 26)); time.sleep(0.05)\ntime.sleep(4)"
    subprocess.run([sys.executable, "-c", code], check=True)


def fill_disk(bed: Bed, rng: random.Random) -> None:
    """The disk of the store and the exports is full for ten seconds."""
    filler = bed.folder / ".filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    time.sleep(10)
    filler.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """The folder as a file system of its own, of DISK bytes. Needs the right to mount."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "winnow", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


Fault = Callable[[Bed, random.Random], None]
FAULTS: dict[str, Fault] = {
    "node killed": kill_node,
    "worker killed": kill_worker,
    "collector killed": kill_collector,
    "driver killed": kill_driver,
    "head restarted": restart_head,
    "object store full": fill_object_store,
    "memory over limit": take_memory,
    "disk full 10 s": fill_disk,
}
LIMITED = ("memory over limit",)  # faults that need a cluster with limits
PHASES = {"compute": "store/columns/slow-*/*.parquet", "export": "shards/*_stats.json"}
FILES = {"compute": 10, "export": 20}  # a fault strikes before so many are published, of 12 and of 30


# --- runs -------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """The outcome of a run. `codes`: exit status by submission, None if the deadline passed."""

    fault: str
    phase: str
    codes: list[int | None]
    equal: bool
    struck: bool
    seconds: float
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether a fault struck a running command and at most one resubmission gave the undisturbed
        bytes."""
        return self.equal and self.struck and self.codes[-1] == 0 and len(self.codes) <= 2


def can_mount() -> bool:
    """Whether this user may mount a tmpfs."""
    return os.geteuid() == 0 and not subprocess.run(["mount", "-f", "-t", "tmpfs", "x", "/mnt"]).returncode


@contextmanager
def cluster(fault: str) -> Iterator[Cluster]:
    """Three nodes; for a fault of memory, with a limit that a run keeps and a greedy worker does not."""
    limits = {}
    if fault in LIMITED:
        memory = psutil.virtual_memory()
        allowed = memory.total - memory.available + AT_WORK + HOG // 2
        limits["RAY_memory_usage_threshold"] = str(allowed / memory.total)
    with mock.patch.dict(os.environ, limits), nodes(SHAPE) as started:
        yield started


def try_fault(fault: str, phase: str, seed: int, bed: Bed, expected: dict[str, bytes]) -> Outcome:
    """One run with one fault, in a folder that is empty or has a store already."""
    rng, started = random.Random(f"{fault} {phase} {seed}"), time.monotonic()
    on_disk = small_disk(bed.folder) if fault == "disk full 10 s" else nullcontext()
    bed.folder.mkdir(parents=True, exist_ok=True)
    codes: list[int | None] = []
    with on_disk:
        words = [sys.executable, "-m", "jobs", "run", str(write(bed.folder, bed.pool))]
        code, struck = _submit(words, bed, lambda: _strike(fault, phase, rng, bed))
        codes.append(code)
        if code != 0:
            again: AbstractContextManager[object] = nullcontext()
            if fault == "head restarted":
                bed.cluster.shutdown()
                again = nodes(SHAPE)
            with again:
                codes.append(_submit(words, bed, lambda: True)[0])
        made = outputs(bed.folder)
    if bed.flag.exists():  # no batch came after the strike
        bed.flag.unlink()
        struck = False
    equal = made == expected
    differ = [n for n in made.keys() | expected.keys() if made.get(n) != expected.get(n)]
    note = "; ".join([*bed.log, *sorted(differ)[:3]])
    return Outcome(fault, phase, codes, equal, struck, time.monotonic() - started, note)


def _submit(words: list[str], bed: Bed, strike: Callable[[], bool]) -> tuple[int | None, bool]:
    """Run the command to its end or its deadline, struck meanwhile. Its output goes to a file."""
    with open(bed.pool / "output.txt", "ab") as out:
        out.write(f"\n=== {bed.folder.name}\n".encode())
        out.flush()
        bed.driver = subprocess.Popen(words, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        bed.deadline = time.monotonic() + DEADLINE
        hit = strike()
        try:
            return bed.driver.wait(max(0.0, bed.deadline - time.monotonic())), hit
        except subprocess.TimeoutExpired:
            os.killpg(bed.driver.pid, signal.SIGKILL)
            bed.driver.wait()
            return None, hit


def _strike(fault: str, phase: str, rng: random.Random, bed: Bed) -> bool:
    """Wait for the moment, and do it; whether the command was still running then."""
    moment, more = rng.randrange(FILES[phase]), rng.uniform(0, 1)
    if fault in LIMITED and phase == "compute":  # workers are ahead of what is published: strike early
        moment, more = moment // 4, 0.0
    assert bed.driver is not None
    while bed.driver.poll() is None and time.monotonic() < bed.deadline:
        exporting = (bed.folder / "shards" / "_winnow.json").exists()
        if len(list(bed.folder.glob(PHASES[phase]))) >= moment and exporting == (phase == "export"):
            time.sleep(more)
            running = bed.driver.poll() is None
            FAULTS[fault](bed, rng)
            return running
        time.sleep(0.05)
    return False
