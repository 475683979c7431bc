"""Ctrl-C in processes that tests start."""

import signal


def heed_interrupts() -> None:
    """Let SIGINT count in a new process (`preexec_fn`): a shell starts what runs in the background with it
    ignored, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
