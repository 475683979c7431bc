"""One holder at a time: on a local disk, and on storage where a holder shows signs of life."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import orjson
import psutil
import pytest

from pipeline.errors import HeldError, RecipeError
from pipeline.storage.folder import Folder
from pipeline.storage.locks import lock as module
from pipeline.storage.locks import object_lock
from pipeline.storage.locks.lock import held
from pipeline.storage.locks.object_lock import ObjectLock, this_process
from tests.support.interrupts import heed_interrupts
from tests.support.paths import ROOT
from tests.support.s3_server import s3

HOLD = """
import sys, time
from pipeline.storage.folder import Folder
from pipeline.storage.locks.lock import held
with held(Folder(sys.argv[1]), "lock", "test", wait=True):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch):
    """Signs of life every 0.1 s; silent after 0.6 s."""
    monkeypatch.setattr(object_lock, "BEAT", 0.1)
    monkeypatch.setattr(object_lock, "SILENT", 0.6)
    monkeypatch.setattr(object_lock, "SETTLE", 0.05)


@pytest.fixture(params=["disk", "disk without flock", "memory", "s3"])
def folder(request, tmp_path, quick, monkeypatch):
    """A folder on each kind of storage."""
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        yield Folder("memory://locks")
    elif request.param == "s3":
        pytest.importorskip("moto")
        with s3():
            fsspec.filesystem("s3").mkdir("bucket")
            yield Folder("s3://bucket/locks")
    else:
        if request.param == "disk without flock":
            monkeypatch.setattr(module.fcntl, "flock", refuse)
        yield Folder(str(tmp_path / "locks"))


def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def holding(path: Path) -> subprocess.Popen:
    """Another process that holds the lock of a folder."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "held\n"
    return process


def take(folder: Folder, name: str = "lock", wait: bool = False) -> None:
    """Hold the lock for a moment."""
    with held(folder, name, "second", wait, tell=lambda _: None):
        pass


def left_by(folder: Folder, **fields) -> None:
    """The lock's file as another holder left it."""
    other = replace(this_process("winnow run r.yaml"), **fields)
    if folder.local:
        os.makedirs(folder.base, exist_ok=True)
    folder.fs.pipe_file(folder.path("lock"), orjson.dumps(asdict(other)))


def test_it_says_who_holds_it_and_goes_at_the_end(folder):
    with held(folder, "lock", "winnow run r.yaml", wait=False) as lock:
        lock.check()
        holder = json.loads(folder.read("lock"))
        assert (holder["pid"], holder["purpose"]) == (os.getpid(), "winnow run r.yaml")
    assert not folder.exists("lock")


def test_the_second_is_refused_and_told_who_holds_it(folder):
    words = (
        rf"locks is in use by .*, process {os.getpid()}, since .* UTC \(first\); wait until that has ended"
    )
    with held(folder, "lock", "first", wait=False), pytest.raises(HeldError, match=words) as raised:
        take(folder)
    assert raised.value.exit_code == 1


def test_the_second_waits_and_is_told_once(folder):
    said, order = [], []

    def second():
        with held(folder, "lock", "second", wait=True, tell=said.append):
            order.append("second")

    thread = threading.Thread(target=second)
    with held(folder, "lock", "first", wait=True):
        thread.start()
        time.sleep(1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]


def test_it_is_told_again_each_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_AGAIN", 0.3)
    folder, said = Folder(str(tmp_path)), []
    thread = threading.Thread(target=lambda: held(folder, "lock", "b", True, said.append).__enter__())
    with held(folder, "lock", "a", wait=True):
        thread.start()
        time.sleep(1.2)
    thread.join()
    assert 2 <= len(said) <= 5


def test_a_killed_holder_is_noticed_at_once(tmp_path):
    process = holding(tmp_path)
    with (
        pytest.raises(HeldError, match=rf"process {process.pid}"),
        held(Folder(str(tmp_path)), "lock", "b", False),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "lock").exists()
    with held(Folder(str(tmp_path)), "lock", "b", wait=False):
        assert json.loads((tmp_path / "lock").read_bytes())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_of_this_machine_is_taken_over_at_once(folder, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENT", 1000)
    left_by(folder, pid=4_000_000, token="other")  # past the largest pid
    with held(folder, "lock", "b", wait=False) as lock:
        lock.check()
    assert folder.file_names() == set()


def test_a_silent_holder_of_another_machine_is_taken_over(folder):
    left_by(folder, host="far", machine="another", token="other")
    with held(folder, "lock", "b", wait=False) as lock:
        lock.check()
    assert folder.file_names() == set()


def test_a_claim_that_a_killed_process_left_is_no_obstacle(quick):
    fsspec.filesystem("memory").store.clear()
    folder = Folder("memory://locks")
    left_by(folder, machine="another", token="other")
    folder.publish("lock.claim", orjson.dumps(asdict(replace(this_process("b"), machine="another"))))
    with held(folder, "lock", "b", wait=True) as lock:
        lock.check()
    assert folder.file_names() == set()


def test_of_many_one_takes_over_at_a_time(folder):
    left_by(folder, host="far", machine="another", token="other")
    inside, most, turns = [], [], []

    def one():
        with held(folder, "lock", "b", wait=True, tell=lambda _: None) as lock:
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            lock.check()
            inside.pop()
            turns.append(1)

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(turns), max(most)) == (5, 1)


def test_a_holder_that_was_silent_too_long_notices(quick):
    fsspec.filesystem("memory").store.clear()
    folder = Folder("memory://locks")
    with held(folder, "lock", "b", wait=False) as lock:
        left_by(folder, machine="another", token="other")
        with pytest.raises(HeldError, match="another has taken over"):
            lock.check()
    assert json.loads(folder.read("lock"))["token"] == "other"


def test_storage_that_cannot_create_conditionally(quick, monkeypatch):
    fsspec.filesystem("memory").store.clear()
    folder = Folder("memory://locks")
    pipe = folder.fs.pipe_file
    monkeypatch.setattr(object_lock, "CONDITIONAL", set())

    def without_mode(path, data):
        pipe(path, data)

    monkeypatch.setattr(folder.fs, "pipe_file", without_mode)
    with held(folder, "lock", "a", wait=False), pytest.raises(HeldError):
        take(folder)
    first, second = (ObjectLock(folder, "lock", this_process(name)) for name in "ab")
    monkeypatch.setattr(first, "_read", lambda name: None)  # it looked before the second wrote
    assert second._create("lock")
    assert not first._create("lock")


def test_a_forked_process_does_not_inherit_it(tmp_path):
    folder = Folder(str(tmp_path))
    with held(folder, "lock", "a", wait=False):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    with held(folder, "lock", "b", wait=False):
        assert child.is_alive()
    child.kill()
    child.join()


def test_a_forked_process_that_outlives_a_killed_holder(tmp_path):
    code = HOLD.replace("    time.sleep(60)", "    import os\n    os.fork()\n    time.sleep(60)")
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    process.stdout.readline()
    time.sleep(0.5)
    [child] = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    try:
        with held(Folder(str(tmp_path)), "lock", "b", wait=False):
            assert child.is_running()
    finally:
        child.kill()


def test_ctrl_c_ends_the_wait(tmp_path):
    holder = holding(tmp_path)
    code = HOLD.replace("wait=True", "wait=True, tell=lambda words: print(words, flush=True)")
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    waiting = subprocess.Popen(command, cwd=ROOT, preexec_fn=heed_interrupts, **pipes)
    assert waiting.stdout.readline().startswith(b"waiting for ")
    waiting.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in waiting.communicate(timeout=30)[1]
    holder.kill()
    holder.wait()


@pytest.mark.parametrize("content", [b"my notes", b'{"a": 1}', b"[]"])
def test_a_file_of_somebody_else_is_left_alone(folder, content):
    if folder.local:
        os.makedirs(folder.base)
    folder.fs.pipe_file(folder.path("lock"), content)
    with pytest.raises(RecipeError, match="lock exists and was not written by Winnow: move it"):
        take(folder)
    assert folder.read("lock") == content


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere", path)])
def test_what_is_not_an_ordinary_file_is_left_alone(tmp_path, make):
    make(tmp_path / "lock")
    with (
        pytest.raises(RecipeError, match="not written by Winnow"),
        held(Folder(str(tmp_path)), "lock", "b", True),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
