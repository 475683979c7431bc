"""From the members of a tar to samples: which members are one sample, and where its bytes lie."""

import pytest

from pipeline.pool import webdataset
from pipeline.pool.archive.read_through import TarFiles
from tests.pipeline.pool.made_samples import JPEG, one

# --- grouping


GROUPS = {
    "plain": (["0.jpg", "0.txt", "1.txt", "1.jpg"], ["0", "1"]),
    "folders are part of the key": (["a/0.jpg", "b/0.jpg", "./0.jpg"], ["a/0", "b/0", "./0"]),
    "dots in folders": (["v1.5/a.jpg", "v1.5/b.jpg"], ["v1.5/a", "v1.5/b"]),
    "compound suffixes": (["d.seg.png", "d.jpg", "d.txt", "e.jpg", "e.a.b.npy"], ["d", "e"]),
    "compound suffixes only": (["a.b.jpg", "a.b.txt", "a.c.jpg", "a.c.txt"], ["a.b", "a.c"]),
    "versions": (["v1.5_x.jpg", "v1.5_x.json", "v1.6_x.jpg"], ["v1.5_x", "v1.6_x"]),
    "repeated suffix": (["0.jpg", "0.txt", "0.jpg", "0.txt"], ["0", "0"]),
    "repeated suffix in capitals": (["0.jpg", "0.JPG"], ["0", "0"]),
    "not sorted": (["0.jpg", "1.jpg", "0.txt"], ["0", "1"]),
    "not of a sample": (
        ["README", "0.jpg", ".hidden", "a/.b.jpg", "0.txt", "__meta__", "__m__/x.jpg"],
        ["0"],
    ),
    "like a name about the tar": (["__a__.jpg"], ["__a__"]),
    "outside": (["../../etc/passwd", "../../x.jpg", "/y.jpg"], ["../../x", "/y"]),
    "more of a dotted key": (
        ["IMG.1.jpg", "IMG.1.json", "IMG.1.thumb.jpg", "IMG.1.txt", "IMG.2.jpg"],
        ["IMG.1", "IMG.2"],
    ),
    "longer dotted keys": (["p.1.1.jpg", "p.1.1.txt", "p.1.jpg", "p.1.txt"], ["p.1.1", "p.1"]),
    "longer dotted keys without captions": (["p.1.jpg", "p.1.2.jpg"], ["p.1", "p.1.2"]),
    "odd dots": (["a..jpg", "b..jpg", "c."], ["a.", "b.", "c"]),
    "surrogates": ([b"\xff.jpg".decode("utf-8", "surrogateescape")], ["%FF"]),
}


@pytest.mark.parametrize("name", GROUPS)
def test_keys(read_tar, name):
    files, keys = GROUPS[name]
    assert [row["key"] for row in read_tar(*files)] == keys


def test_a_compound_suffix_is_never_the_image(read_tar):
    for files in (
        ["d.seg.png", "d.jpg", "d.txt"],
        ["d.jpg", "d.seg.png", "d.txt"],
        ["d.txt", "d.seg.png", "d.jpg"],
    ):
        row = one(read_tar, *files)
        assert (row["key"], row["image_format"], row["image"], row["text"]) == (
            "d",
            "jpg",
            JPEG,
            "text of d.txt",
        )


def test_the_look_ahead_is_bounded(read_tar):
    names = [f"x.{i:04}.jpg" for i in range(webdataset.LOOK_AHEAD)]
    assert [row["key"] for row in read_tar(*names, "x.jpg")] == [n[:-4] for n in names] + ["x"]
    assert {row["key"] for row in read_tar(*names[1:], "x.jpg")} == {"x"}
    assert [row["key"] for row in read_tar(*names[:2], ("x.a.jpg", bytes(64 << 20)), "x.jpg")] == [
        "x.0000",
        "x.0001",
        "x.a",
        "x",
    ]


def test_byte_ranges_are_worked_out_by_hand(read_tar):
    rows = read_tar(("0.jpg", b"x" * 600), ("0.txt", b"a"), "dir", ("1.npy", b"1"), ("1.png", b"22"))
    keep = ("offset", "length", "image_offset", "image_length", "image_format")
    assert [tuple(row[name] for name in keep) for row in rows] == [
        (0, 512 + 1024 + 1024, 512, 600, "jpg"),
        (
            2560 + 512 + -(-len(JPEG) // 512) * 512,
            2048,
            2560 + 1024 + 1024 - 512 + -(-len(JPEG) // 512) * 512 + 512,
            2,
            "png",
        ),
    ]


def test_fields_of_a_range(tmp_path, read_tar):
    long = "k" * 200
    rows = read_tar(
        "d.seg.png",
        "d.JPG",
        "README",
        ("d.txt", b"1"),
        f"{long}.jpg",
        ("a.b.jpg", b"2"),
        ("a.c.jpg", b"3"),
    )
    with TarFiles(str(tmp_path / "0.tar"), "") as files:
        fields = [files.of(r["key"], r["offset"], r["length"]) for r in rows]
    assert [[(suffix, bytes(value)) for suffix, value in found] for found in fields] == [
        [("seg.png", JPEG), ("JPG", JPEG), ("txt", b"1")],
        [("jpg", JPEG)],
        [("jpg", b"2")],
        [("jpg", b"3")],
    ]
