"""Arrays out of pickles that are read as text: equal bytes, and nothing else than arrays."""

import os
import pickle
import struct

import numpy as np
import pytest

from operators.algorithms.files.pickled_array import read_array

ARRAY = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def by_older_numpy(data: bytes) -> bytes:
    """The same pickle with the names that numpy had before 2.0."""
    for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        older = module.replace(b"_core", b"core")
        short = b"\x8c" + bytes([len(module)]) + module
        data = data.replace(short, b"\x8c" + bytes([len(older)]) + older).replace(b"c" + module, b"c" + older)
    at = data.find(b"\x95", 2, 3)  # the length of a frame, from protocol 4 on
    if at < 0:
        return data
    (size,) = struct.unpack("<Q", data[at + 1 : at + 9])
    return data[: at + 1] + struct.pack("<Q", size - 1) + data[at + 9 :]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_are_equal_to_the_bit(protocol, dtype, order, older):
    array = np.asarray(ARRAY.astype(dtype), order=order)
    data = pickle.dumps(array, protocol)
    found = read_array(by_older_numpy(data) if older else data)
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()
    assert (b"numpy.core" in by_older_numpy(data)) is True


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def with_shape(shape: tuple[int, ...]) -> bytes:
    """The pickle of an array that claims another shape."""
    made = pickle.dumps(np.zeros((7, 9), "f4"), 4)
    return made.replace(b"K\x07K\x09\x86", b"".join(b"J" + struct.pack("<i", n) for n in shape) + b"\x86")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "pickle exhausted"),
        (b"\xffgarbage", "at position 0"),
        (pickle.dumps(Evil()), "it calls 'posix.mkdir'"),
        (pickle.dumps([1]), "EMPTY_LIST, which no array has"),
        (pickle.dumps(5), "holds no array of floats"),
        (pickle.dumps(np.zeros((2, 2), "i4"), 4), "numbers of the type"),
        (pickle.dumps(np.zeros((2, 2), "c8"), 4), "numbers of the type"),
        (pickle.dumps(np.array([Evil()], object), 4), "must hold an array|it has the operation|it calls"),
        (pickle.dumps(ARRAY, 4)[:-30], "cannot be read"),
        (with_shape((1 << 30, 1 << 30)), r"says float32 \(1073741824, 1073741824\) and holds 252 bytes"),
        (with_shape((-7, 9)), "has the shape"),
        (b"\x80\x04" + b"(" * 5000 + b".", "more than 1000 operations"),
        (b"\x80\x04)" + b"\x85" * 500 + b".", "tuples of tuples"),
        (
            b"\x80\x04K\x01\x94" + b"".join(b"h%ch%ch%c\x87\x94" % (n, n, n) for n in range(99)),
            "tuples of tuples",
        ),
        (b"\x80\x04R.", "garbled"),
        (b"\x80\x04h\x05.", "garbled"),
        (b"\x80\x04b.", "garbled"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "cannot be read"),
        (b"\x80\x04(((.", "cannot be read"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.", "holds no array"),
        (b"\x80\x04\x8c\x01a\x8c\x01b\x93)R.", "it calls 'a.b'"),
        (b"\x80\x04K\x01K\x02\x93.", "no text"),
    ],
)
def test_anything_else_is_refused(data, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=why):
        read_array(data)
    assert not (tmp_path / "evil").exists()
