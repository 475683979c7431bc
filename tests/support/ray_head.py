"""A Ray head on loopback, as a process of its own, and commands beside it."""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil


def submit(words: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command, again while the head's job agent is not ready: it starts some seconds after its port is
    open."""
    for _ in range(60):
        done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(1)
    return done


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def short_folder() -> str:
    """A folder for Ray's sockets, whose paths have at most 107 bytes."""
    return tempfile.mkdtemp(prefix="ray")


def kill(head: subprocess.Popen[bytes]) -> None:
    """End a head and all that it has started. A head that is asked to end waits half a minute for them."""
    for process in [*psutil.Process(head.pid).children(recursive=True), head]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait()


def wait_for(port: int) -> None:
    """Return when something listens on the port. TimeoutError after a minute."""
    for _ in range(120):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.5)
    raise TimeoutError(f"nothing listens on port {port}")
