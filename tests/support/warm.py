"""Commands in processes of their own that start in milliseconds: a warm process has imported everything, and
forks for each command. A command can be killed, by time or at a chosen step, and the disk can be full.

    with Warm() as warm:
        done = warm.winnow("run", recipe, "--local")      # as tests.support.command.winnow
        run = warm.start("run", recipe, "--local")
        run.kill()
        warm.start("run", recipe, "--local", fault=Fault("kill", 3)).wait()

The warm process itself never computes anything: the threads of polars' pool would not live in its forks. (The
allocator's threads, which importing starts, need not.)
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from errno import ENOSPC
from itertools import count
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NoReturn

from tests.support.paths import ROOT
from tests.support.warm_imports import warm_up

PATIENCE = 180  # seconds after which a command hangs
# Functions of `os` that faults count
STEPS = ("replace", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "fsync")


@dataclass(frozen=True)
class Fault:
    """What happens to a command.

    kind  `kill`: SIGKILL before the step `at`; `killed`: after it; `full`: that step and all later ones raise
          ENOSPC; `short`: no file can become longer than `at` bytes
    at    the number of a step (see STEPS), from 0; or bytes
    """

    kind: str
    at: int


class Done(CompletedProcess[str]):
    """A command that has ended: its status, what it said, CPU `seconds`, and the most memory it had."""

    seconds = 0.0
    megabytes = 0.0


class Run:
    """A command that runs; `wait` gives what it said."""

    def __init__(self, warm: "Warm", words: list[str], pid: int, said: Path) -> None:
        self.warm, self.words, self.pid, self.said = warm, words, pid, said
        self.has_ended = False

    def kill(self, group: bool = True) -> None:
        """SIGKILL it, with the processes that it has started or alone. Its pid is its own until `wait`."""
        assert not self.has_ended, "another process may have its pid by now"
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def wait(self, patience: float = PATIENCE) -> Done:
        """Its exit status, negative for a signal, and what it said. Raises TimeoutError if it hangs."""
        ended = self.warm.ask(wait=self.pid, patience=patience)
        self.has_ended = True
        if ended is None:
            raise TimeoutError(f"winnow {' '.join(self.words)} still runs after {patience} s")
        stdout, stderr = (Path(f"{self.said}.{name}") for name in ("out", "err"))
        texts = (path.read_bytes().decode("utf-8", "backslashreplace") for path in (stdout, stderr))
        done = Done(self.words, ended["status"], *texts)
        done.seconds, done.megabytes = ended["seconds"], ended["megabytes"]
        stdout.unlink()
        stderr.unlink()
        return done


class Warm:
    """The warm process, for the length of a `with` block. `torch`: it has imported torch, too. Each fork then
    takes 10 ms longer, and each command that needs torch two seconds less."""

    def __init__(self, torch: bool = False) -> None:
        self.torch = torch

    def __enter__(self) -> "Warm":
        self.folder = tempfile.TemporaryDirectory(prefix="warm")
        self.numbers = count()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", *(["torch"] if self.torch else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()

    def ask(self, **request: Any) -> Any:
        """One request and its answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, *words: object, fault: Fault | None = None, environment: Mapping[str, str | None] | None = None
    ) -> Run:
        """Start a command; it is the leader of a process group. `environment` is added to this one's; None
        takes a variable out."""
        said = Path(self.folder.name, str(next(self.numbers)))
        given = [str(word) for word in words]
        for name in ("out", "err"):
            Path(f"{said}.{name}").touch()  # it may be killed before it opens them
        more = dict(environment or {})
        pid = self.ask(words=given, said=str(said), fault=fault and asdict(fault), environment=more)
        return Run(self, given, pid, said)

    def winnow(
        self,
        *words: object,
        fault: Fault | None = None,
        environment: Mapping[str, str | None] | None = None,
        patience: float = PATIENCE,
    ) -> Done:
        """Run a command to its end."""
        return self.start(*words, fault=fault, environment=environment).wait(patience)


# --- the warm process -----------------------------------------------------------------------------


def main() -> None:
    """Answer requests until stdin ends."""
    warm_up(sys.argv[1:])
    for line in sys.stdin:
        request = json.loads(line)
        answer = _ended(request["wait"], request["patience"]) if "wait" in request else _fork(request)
        print(json.dumps(answer), flush=True)


def _fork(request: dict[str, Any]) -> int:
    """The pid of a new process that runs a command."""
    pid = os.fork()
    if pid == 0:
        _child(request)
    os.setpgid(pid, pid)  # by both, since nobody knows who is first
    return pid


def _ended(pid: int, patience: float) -> dict[str, Any] | None:
    """The exit status of a process, when it has ended, with the CPU time and the most memory that it and its
    children had; None, and its end, if it takes too long."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
            return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "megabytes": megabytes}
        time.sleep(0.001)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _child(request: dict[str, Any]) -> NoReturn:
    """Run a command as the console script does, and end."""
    from jobs.__main__ import main as console_script

    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['said']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name, value in request["environment"].items():
        os.environ.pop(name, "") if value is None else os.environ.update({name: value})
    sys.argv = ["winnow", *request["words"]]
    if request["fault"]:
        _inject(Fault(**request["fault"]))
    status = 1
    try:
        console_script()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _inject(fault: Fault) -> None:
    """Let the fault happen in this process."""
    if fault.kind == "short":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, resource.RLIM_INFINITY))
        return
    steps = count()
    for name in STEPS:
        setattr(os, name, _faulty(getattr(os, name), steps, fault))


def _faulty(step: Callable[..., Any], steps: "count[int]", fault: Fault) -> Callable[..., Any]:
    """A function of `os` that counts as a step."""

    def take(*args: Any, **options: Any) -> Any:
        at = next(steps)
        if at == fault.at and fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if at >= fault.at and fault.kind == "full" and step.__name__ not in ("unlink", "rmdir"):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        result = step(*args, **options)
        if at == fault.at and fault.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return take


if __name__ == "__main__":
    main()
