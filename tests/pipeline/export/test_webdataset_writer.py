"""TarWriter comes without torch, and leaves webdataset to be imported whole by others."""

import io
import subprocess
import sys
import tarfile
import threading

import pytest

from pipeline.export import webdataset_writer
from pipeline.export.webdataset_writer import tar_writer
from tests.support.paths import ROOT

ALONE = """
import sys
from pipeline.export.webdataset_writer import tar_writer

tar_writer()
assert "torch" not in sys.modules
assert not [name for name in sys.modules if name.startswith("webdataset")]
import webdataset
import torch
assert issubclass(webdataset.WebDataset(["a.tar"], shardshuffle=False).__class__, torch.utils.data.IterableDataset)
assert tar_writer() is not webdataset.TarWriter
"""


def test_a_process_that_writes_has_no_torch_and_one_that_reads_has_all_of_webdataset():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_imported_already_is_taken(monkeypatch):
    webdataset = pytest.importorskip("webdataset")
    webdataset_writer._tar_writer.cache_clear()
    assert tar_writer() is webdataset.TarWriter
    webdataset_writer._tar_writer.cache_clear()


def test_other_threads_find_torch_meanwhile():
    finder = webdataset_writer._NoTorch()
    with pytest.raises(ModuleNotFoundError):
        finder.find_spec("torch")
    assert finder.find_spec("torchvision") is None
    found = []
    thread = threading.Thread(target=lambda: found.append(finder.find_spec("torch")))
    thread.start()
    thread.join()
    assert found == [None]


def test_it_writes_a_tar():
    out = io.BytesIO()
    with tar_writer()(out, encoder=False) as writer:
        writer.write({"__key__": "a", "txt": b"some text"})
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == [("a.txt", b"some text")]
