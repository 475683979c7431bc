"""The command line in this process: what a shell would get, without a second import of torch."""

import contextlib
import io
import sys
from subprocess import CompletedProcess
from unittest import mock

from jobs.__main__ import main


def winnow(*words: object) -> CompletedProcess[str]:
    """Run a command as the console script does; returns its exit status, stdout and stderr."""
    arguments = [str(word) for word in words]
    stdout = io.StringIO()
    stderr = io.StringIO()
    status = 0
    with (
        mock.patch.object(sys, "argv", ["winnow", *arguments]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())
