"""The cluster at RAY_ADDRESS: whether the address can be one, and whether something answers there; and what
goes wrong when Ray starts, in words. Does not import Ray.

    check_address(os.environ["RAY_ADDRESS"])     # RecipeError if not
    connect(ray.init, os.environ["RAY_ADDRESS"])

Ray itself tries a dead address for a quarter of an hour, without a word. So Winnow asks first. Ray speaks
gRPC, and so HTTP/2: a server greets with a SETTINGS frame as soon as the client has sent its preface.
Source: RFC 9113, sections 3.4 and 4.1.
"""

import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

from pipeline.errors import RecipeError, WinnowError, brief, shortened, worded

SECONDS = 20.0  # to wait for the greeting; a busy head of a large cluster takes one or two
IDLE_MS = 60_000  # so long a process without a task stays: another takes seconds to start. Ray's own: 1,000
SELF = ("auto", "local")  # addresses that Ray looks up itself
NEXT_STEP = (
    "; give the address of a running cluster, unset RAY_ADDRESS to start Ray on this machine, or use --local"
)
GUARDED = "; a cluster with a token needs RAY_AUTH_MODE=token and its ~/.ray/auth_token here, too"
_ADDRESS = re.compile(r"(?:ray://)?(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/\[\]@?#]+)):([0-9]{1,5})")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # with empty SETTINGS
_HEAD = 9  # bytes of a frame's head; the fourth is its type
_SETTINGS = 4


def check_address(address: str, seconds: float = SECONDS) -> None:
    """Raises RecipeError if RAY_ADDRESS is not the address of a cluster, or none answers there."""
    if address in SELF:
        return
    if address.startswith(("http://", "https://")):
        raise RecipeError(
            f"RAY_ADDRESS is {brief(address)}, the address of a dashboard, which is what `ray job submit` takes; "
            f"here it must be HOST:PORT of the cluster's head (Ray's port is 6379){NEXT_STEP}"
        )
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise RecipeError(
            f"RAY_ADDRESS must be HOST:PORT, ray://HOST:PORT or auto, got {brief(address)}{NEXT_STEP}"
        )
    if os.environ.get("RAY_USE_TLS", "0") == "0":
        _check_answers(address, match[1] or match[2], int(match[3]), seconds)


def _check_answers(address: str, host: str, port: int, seconds: float) -> None:
    """Raises RecipeError unless a gRPC server greets at the address within so many seconds."""
    deadline = time.monotonic() + seconds
    greeting = b""
    try:
        with socket.create_connection((host, port), seconds) as connection:
            connection.sendall(_PREFACE)
            while len(greeting) < _HEAD:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                part = connection.recv(_HEAD - len(greeting))
                if not part:
                    break
                greeting += part
    except TimeoutError:
        reason = f"there is no answer within {seconds:g} s"
    except (OSError, UnicodeError) as error:
        reason = f"there is no answer ({getattr(error, 'strerror', None) or error})"
    else:
        if len(greeting) == _HEAD and greeting[3] == _SETTINGS:
            return
        reason = "what answers there is not Ray"
    raise RecipeError(f"RAY_ADDRESS is {brief(address)}, and {reason}{NEXT_STEP}")


def connect(init: Callable[..., Any], address: str) -> None:
    """Connect to the cluster at RAY_ADDRESS with `init`, which is ray.init. Raises RecipeError if that
    fails."""
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # attempts, of 41 s each; by default 20
    try:
        init()
    except Exception as error:
        reason = shortened(worded(error))
        token = "" if os.environ.get("RAY_AUTH_MODE") == "token" else GUARDED
        raise RecipeError(
            f"RAY_ADDRESS is {brief(address)}: Ray cannot connect ({reason}){token}{NEXT_STEP}"
        ) from None


def start(init: Callable[..., Any], cpus: int | None, gpus: int | None) -> None:
    """Start Ray on this machine with `init`, which is ray.init. Raises RecipeError if its folder's path is
    too long for sockets, WinnowError if it cannot be started for another reason."""
    settings = {"idle_worker_killing_time_threshold_ms": IDLE_MS}
    try:
        init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, _system_config=settings)
    except Exception as error:
        if "AF_UNIX" in str(error):
            raise RecipeError(
                f"Ray's sockets have paths of 107 bytes at most, and TMPDIR is {brief(tempfile.gettempdir())}: "
                "set RAY_TMPDIR to a folder with a short path, or use --local"
            ) from None
        raise WinnowError(
            f"Ray cannot be started on this machine ({shortened(worded(error))}); --local runs without it"
        ) from error
