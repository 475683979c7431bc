"""Headers of .npy arrays: all that numpy writes, and nothing that a stranger made up."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.npy import LONGEST, check_size, read_header
from tests.corpus.arrays import header, shaped


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "f8", "u1", "?", "c8", "u8,u8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 3, 4)])
def test_what_numpy_writes(shape, dtype, version):
    array = np.zeros(shape, dtype)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    file.seek(0)
    found = read_header(file, "a.npy")
    assert (found.dtype, found.shape, found.nbytes) == (array.dtype, array.shape, array.nbytes)
    assert found.offset == file.tell() == len(file.getvalue()) - array.nbytes
    check_size(found, len(file.getvalue()), "a.npy")
    if array.nbytes:
        with pytest.raises(ValueError, match=r"a\.npy says .* it was cut"):
            check_size(found, len(file.getvalue()) - 1, "a.npy")


def test_arrays_by_column():
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.zeros((2, 3))))
    file.seek(0)
    assert read_header(file, "a.npy").kind == "float64 (2, 3) by column"


@pytest.mark.parametrize(
    "text",
    [
        "{'shape': (2L, 3L,), 'descr': '<f4', 'fortran_order': False}",  # Python 2's
        '{"descr":"<f4","fortran_order":False,"shape":(2,3)}',
        "{'fortran_order': False, 'descr': '<f4', 'shape': (2, 3), }\n",
    ],
)
def test_other_writers(text):
    assert read_header(io.BytesIO(header(text)), "a.npy").shape == (2, 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not an .npy file"),
        (b"\x93NUMPY", "is not an .npy file"),
        (b"\x93NUMPY\x09\x00\x01\x00", "is .npy of version 9"),
        (header("x")[:-1], "ends inside its header"),
        (header("x" * (LONGEST + 1)), "must have at most 10,000"),
        (shaped("(1,)", "'|O'"), "Python objects"),
        (shaped("(1,)", "'<U9'"), "dtype <U9, must hold numbers"),
        (shaped("(1,)", "'<f3'"), "dtype that cannot be read"),
        (shaped("(-1,)"), "header that cannot be read"),
        (shaped("(1e9,)"), "header that cannot be read"),
        (shaped("(" + "9" * 30 + ",)"), "shape that cannot be read"),
        (shaped("(" + "1," * 40 + ")"), "shape that cannot be read"),
        (header("{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}"), "header that cannot be read"),
        (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}"),
            "header that cannot be read",
        ),
        (header("__import__('os')"), "header that cannot be read"),
    ],
)
def test_anything_else(data, why):
    with pytest.raises(ValueError, match=why):
        read_header(io.BytesIO(data), "a.npy")


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_do_harm(noise, at):
    whole = bytearray(shaped("(2, 3)"))
    whole[at : at + len(noise)] = noise
    with suppress(ValueError):
        assert read_header(io.BytesIO(bytes(whole)), "a.npy").nbytes >= 0
