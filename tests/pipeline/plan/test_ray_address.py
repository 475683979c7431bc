"""RAY_ADDRESS: what is no address and what does not answer is one line, soon."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import RecipeError, WinnowError
from pipeline.plan.ray_address import check_address, connect, start
from tests.support.ray_head import free_port

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@contextlib.contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """The address of a server that answers so whoever connects; None: never, and keeps the connection."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    if answer is None:
                        held.append(connection)
                        continue
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    for connection in held:
        connection.close()


@pytest.mark.parametrize("address", ["auto", "local"])
def test_what_ray_looks_up_itself_is_not_asked(address):
    check_address(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_server_that_greets(scheme):
    with server(SETTINGS) as address:
        check_address(scheme + address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "http://127.0.0.1:8265",
            "'http://127.0.0.1:8265', the address of a dashboard, which is what `ray job submit`",
        ),
        ("https://head", "the address of a dashboard"),
        ("head", "RAY_ADDRESS must be HOST:PORT, ray://HOST:PORT or auto, got 'head'"),
        ("head:", "must be HOST:PORT"),
        ("head:0", "must be HOST:PORT"),
        ("head:70000", "must be HOST:PORT"),
        ("head:port", "must be HOST:PORT"),
        (" ", "must be HOST:PORT"),
        ("grpc://head:1", "must be HOST:PORT"),
        ("user@head:1", "must be HOST:PORT"),
        ("[red]:1", "must be HOST:PORT"),
        ("a\x1b[31m:1\n", "must be HOST:PORT, ray://HOST:PORT or auto, got 'a\\x1b[31m:1\\n'"),
        ("x" * 5000, "must be HOST:PORT"),
        ("x" * 300 + ":1", "there is no answer"),
        ("nobody.invalid:6379", "there is no answer"),
    ],
)
def test_no_address(address, expected):
    with pytest.raises(RecipeError) as raised:
        check_address(address, seconds=5)
    assert expected in str(raised.value)
    assert "unset RAY_ADDRESS to start Ray on this machine, or use --local" in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_closed_port():
    with pytest.raises(
        RecipeError, match=r"^RAY_ADDRESS is '127.0.0.1:\d+', and there is no answer \(Conn.* refused\)"
    ):
        check_address(f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "there is no answer within 0.2 s"),
        (b"", "what answers there is not Ray|there is no answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is not Ray"),
        (b"-ERR unknown command\r\n", "what answers there is not Ray"),
        (SETTINGS[:5], "what answers there is not Ray|there is no answer"),
    ],
)
def test_a_port_where_ray_does_not_answer(answer, expected):
    with server(answer) as address, pytest.raises(RecipeError, match=expected):
        check_address(address, seconds=0.2 if answer is None else 20)


def test_what_ray_says_about_the_connection_and_its_start_is_a_line(monkeypatch):
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "1")

    def fails(error: Exception):
        def init(**_: object) -> None:
            raise error

        return init

    with pytest.raises(
        RecipeError, match=r"^RAY_ADDRESS is 'auto': Ray cannot connect \(ConnectionError: no od"
    ):
        connect(fails(ConnectionError("no\nod")), "auto")
    for mode, told in (("", True), ("token", False)):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        with pytest.raises(RecipeError) as raised:
            connect(fails(ConnectionError("no")), "head:6379")
        assert ("a cluster with a token needs RAY_AUTH_MODE=token" in str(raised.value)) == told
    with pytest.raises(RecipeError, match="set RAY_TMPDIR to a folder with a short path, or use --local"):
        start(fails(OSError("AF_UNIX path length cannot exceed 107 bytes: /x")), None, None)
    with pytest.raises(
        WinnowError, match=r"^Ray cannot be started on this machine \(ValueError: x\); --local"
    ):
        start(fails(ValueError("x")), None, None)
