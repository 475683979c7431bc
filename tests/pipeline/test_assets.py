"""Files that fields name: local ones as they are, others fetched once per machine, checked and bounded."""

import bz2
import gzip
import hashlib
import lzma
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipeline import assets
from pipeline.assets import WrongContent, local_file, map_array, once_per_machine, read_bytes

URL = "memory://assets/list.txt"
MEMORY = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Copies go to tmp_path/cache; `memory://assets/list.txt` holds `first`."""
    monkeypatch.setattr(assets, "CACHE", f"{tmp_path}/cache")
    MEMORY.pipe_file("/assets/list.txt", b"first")
    return tmp_path / "cache"


def copies(cache: Path) -> list[bytes]:
    return [path.read_bytes() for path in cache.iterdir() if path.suffix != ".lock"]


# --- local files -----------------------------------------------------------------------------------


def test_a_local_file_is_itself(cache, tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_bytes(b"mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_file(f"{tmp_path}/mine.txt") == f"{tmp_path}/mine.txt"
    assert local_file(f"file://{tmp_path}/mine.txt") == f"{tmp_path}/mine.txt"
    assert local_file("~/mine.txt") == f"{tmp_path}/mine.txt"
    assert not cache.exists()


@pytest.mark.parametrize("address", ["{}/none.npy", "file://{}/none.npy", "{}", "memory://assets/none.npy"])
def test_a_missing_file(address, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^\S+ does not exist$"):
        local_file(address.format(tmp_path))


# --- remote files ----------------------------------------------------------------------------------


def test_a_remote_file_is_fetched_once(cache, monkeypatch):
    path = local_file(URL)
    assert Path(path).read_bytes() == b"first"
    assert Path(path).parent == cache
    monkeypatch.setattr(assets, "_fetch", None)
    assert local_file(URL) == path


def test_a_remote_file_that_changes_replaces_its_copy(cache):
    before = local_file(URL)
    MEMORY.pipe_file("/assets/list.txt", b"second")
    after = local_file(URL)
    assert after != before
    assert copies(cache) == [b"second"]


def test_names_are_told_apart_by_their_whole_address():
    MEMORY.pipe_file("/elsewhere/list.txt", b"another")
    assert Path(local_file(URL)).read_bytes() == b"first"
    assert Path(local_file("memory://elsewhere/list.txt")).read_bytes() == b"another"


def test_a_copy_keeps_its_ending_however_long_the_name_is():
    MEMORY.pipe_file(f"/assets/{'x' * 500}.npy", b"long")
    path = Path(local_file(f"memory://assets/{'x' * 500}.npy"))
    assert path.suffix == ".npy"
    assert path.read_bytes() == b"long"


def _path_of(number: int, cache: str) -> str:
    """In a process of its own, with a copy of the parent's memory file system."""
    assets.CACHE = cache
    return f"{local_file(URL)} {Path(local_file(URL)).read_bytes().decode()}"


def test_processes_that_want_the_same_file_get_one_copy(cache):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(_path_of, [(number, str(cache)) for number in range(8)])
    assert len(set(found)) == 1
    assert found[0].endswith(" first")
    assert copies(cache) == [b"first"]


def test_a_web_address_is_fetched_once_whatever_the_page_becomes(cache, monkeypatch):
    """Without the web: an address of http, served by the memory file system."""
    monkeypatch.setattr(assets.fsspec.core, "url_to_fs", lambda url: (MEMORY, "/assets/list.txt"))
    address = "https://example.org/list.txt?download=1"
    path = local_file(address)
    assert Path(path).name == f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-list.txt"
    MEMORY.pipe_file("/assets/list.txt", b"second")
    assert local_file(address) == path
    assert copies(cache) == [b"first"]


# --- checked and bounded ---------------------------------------------------------------------------


def test_a_file_must_have_its_sha256(cache, tmp_path):
    digest = hashlib.sha256(b"first").hexdigest()
    path = local_file(URL, digest)
    MEMORY.rm("/assets/list.txt")
    assert local_file(URL, digest) == path, "known by its content, it is not looked for again"
    (tmp_path / "mine.txt").write_bytes(b"other")
    with pytest.raises(WrongContent, match=rf"mine\.txt has the sha256 [0-9a-f]{{64}}, must have {digest}$"):
        local_file(f"{tmp_path}/mine.txt", digest)
    assert (tmp_path / "mine.txt").exists(), "a file of the user's own is never removed"


def test_a_wrong_copy_is_removed_and_fetched_again(cache):
    digest = hashlib.sha256(b"first").hexdigest()
    MEMORY.pipe_file("/assets/list.txt", b"an error page")
    with pytest.raises(WrongContent):
        local_file(URL, digest)
    assert copies(cache) == []
    MEMORY.pipe_file("/assets/list.txt", b"first")
    assert Path(local_file(URL, digest)).read_bytes() == b"first"


def test_a_fetched_file_is_bounded(cache, monkeypatch):
    monkeypatch.setattr(assets, "LARGEST", 4)
    with pytest.raises(ValueError, match=r"^memory://assets/list\.txt must have at most 4 bytes$"):
        local_file(URL)
    assert copies(cache) == []


def test_a_body_that_is_cut_short_is_no_copy(cache, monkeypatch):
    class Cut:
        """A stream of five bytes that ends after two."""

        size = 5

        def __init__(self, *_: object) -> None:
            self.parts = [b"fi", b""]

        def __enter__(self) -> "Cut":
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self, _: int) -> bytes:
            return self.parts.pop(0)

    monkeypatch.setattr(type(MEMORY), "open", Cut)
    with pytest.raises(OSError, match=r"list\.txt ended after 2 of 5 bytes"):
        local_file(URL)
    assert copies(cache) == []


# --- in memory -------------------------------------------------------------------------------------

PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize(("ending", "pack"), [*PACK.items(), (".xz", lzma.compress)])
def test_bytes_are_unpacked_and_bounded(ending, pack, tmp_path):
    path = tmp_path / f"list.txt{ending}"
    path.write_bytes(pack(b"a" * 1000))
    assert read_bytes(str(path)) == b"a" * 1000
    assert read_bytes(str(path), 1000) == b"a" * 1000
    with pytest.raises(ValueError, match="must have at most 999 bytes"):
        read_bytes(str(path), 999)
    MEMORY.pipe_file(f"/assets/packed.txt{ending}", path.read_bytes())
    assert read_bytes(f"memory://assets/packed.txt{ending}") == b"a" * 1000


def test_an_array_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    MEMORY.pipe_file("/assets/a.npy", (tmp_path / "a.npy").read_bytes())
    for address in (str(tmp_path / "a.npy"), "memory://assets/a.npy"):
        found = map_array(address)
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable
        assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_array_of_objects_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        map_array(str(tmp_path / "a.npy"))


def test_what_one_process_built_the_others_read(tmp_path, monkeypatch):
    monkeypatch.setattr(assets.tempfile, "gettempdir", lambda: str(tmp_path))
    built: list[int] = []
    assert once_per_machine("a", lambda: built.append(1) or b"one") == b"one"
    assert once_per_machine("a", lambda: built.append(2) or b"two") == b"one"
    assert once_per_machine("b", lambda: built.append(3) or b"three") == b"three"
    assert built == [1, 3]
    folder = next(tmp_path.glob("winnow-*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert once_per_machine("a", lambda: b"anew") == b"anew", "a folder that others can write is not trusted"
