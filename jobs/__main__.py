"""The console script, which a Ctrl-C ends with one line and status 130 at any moment.

winnow run jobs/recipes/demo.yaml        the same as: python -m jobs run jobs/recipes/demo.yaml

The commands are in app.py. It is imported when Ctrl-C is watched already: importing takes most of a second.
"""

import gc
import os
import signal
import sys
from types import FrameType

STOPPED = 130  # the exit status after Ctrl-C
AGAIN = "stopped; run the same command again to go on"
GC_THRESHOLDS = (50_000, 20, 20)  # Python's own, (700, 10, 10), cost a sixth of planning 10,000 shards
IMPORTS = "<frozen importlib._bootstrap>"  # the file of each frame that imports a module


def main() -> None:
    """Run a command; exit with its status."""
    gc.set_threshold(*GC_THRESHOLDS)
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not if the shell lets Ctrl-C be ignored
        signal.signal(signal.SIGINT, interrupts.stop)
    try:
        from jobs.app import start

        start()
    except BaseException as end:
        # typer turns a KeyboardInterrupt into the exit status; libraries turn it into errors of their own
        status = end.code if isinstance(end, SystemExit) else None
        if not (interrupts.came or isinstance(end, KeyboardInterrupt) or status == STOPPED):
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"{AGAIN}\n")
        sys.exit(STOPPED)
    finally:
        signal.signal(signal.SIGINT, before)


class _Interrupts:
    """Handles SIGINT. `came`: whether there was one."""

    def __init__(self) -> None:
        self.came = False
        self._process = os.getpid()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt. An import would print that or hide it, so there the process ends at once:
        whatever it was writing has a temporary name."""
        self.came = True
        if os.getpid() == self._process and _imports(frame):
            os.write(sys.stderr.fileno(), f"{AGAIN}\n".encode())
            os._exit(STOPPED)
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
