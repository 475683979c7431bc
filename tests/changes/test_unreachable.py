"""Storage that does not answer, or that nobody knows: the line names key, address and next step."""

from pathlib import Path

import pytest

from tests.support.place import Place, told
from tests.support.s3_server import s3

STEP = "check the spelling, the endpoint and the credentials, then run the same command again"
ELSEWHERE = "s3://nowhere/x"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    pytest.importorskip("s3fs", reason="needs s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    place = Place(tmp_path)
    place.three()
    return place


def setting(key: str, address: str) -> list[str]:
    """The flags that put an address into a recipe."""
    value = address
    if key == "compute.entries.metadata":
        key, value = "compute.entries", f"{{use: metaclip.EntryMatch, metadata: '{address}'}}"
    return ["--set", f"{key}={value}"]


KEYS = ("pool.shards", "pool.store", "export.subset", "export.shards", "compute.entries.metadata")


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("key", KEYS)
def test_without_credentials(place: Place, command: str, key: str) -> None:
    done = place.winnow(command, *setting(key, ELSEWHERE))
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {key}: {ELSEWHERE}")
    assert "Unable to locate credentials" in line
    assert line.endswith(STEP)


@pytest.mark.parametrize("key", [*KEYS, "export.urls", "export.table"])
@pytest.mark.parametrize(
    ("address", "wrong"),
    [("foo://x", "is not on a known file system"), ("zip://a.tar::s3://b/c.zip", "is a chained URL")],
)
def test_addresses_that_nothing_can_read(place: Place, key: str, address: str, wrong: str) -> None:
    said = told(place.winnow("run", *setting(key, address)), status=2)["said"]
    assert said.startswith(f"error: {key}: {address} {wrong}")
    assert said.count("\n") == 1
    assert not place.store.exists()


def test_a_file_that_no_system_has(place: Place) -> None:
    said = told(
        place.winnow("plan", "--set", 'compute.listed={use: lists.Listed, column: uid, file: "a\\0b"}'),
        status=2,
    )["said"]
    assert said == "error: compute.listed.file: 'a\\x00b' has control characters; name another path\n"


def test_a_flag_with_such_an_address(place: Place) -> None:
    place.winnow("compute")
    said = told(place.winnow("keep", "--subset", "foo://x"), status=2)["said"]
    assert said.startswith("error: --subset: foo://x is not on a known file system")


@pytest.mark.parametrize("key", ["export.shards", "export.subset", "export.urls", "export.table"])
def test_storage_that_can_be_read_and_takes_no_export(place: Place, key: str) -> None:
    pytest.importorskip("moto", reason="needs moto[s3]: the server")
    import fsspec

    place.export = {}
    place.run()
    with s3() as server:
        fsspec.filesystem("s3").mkdir("bucket")
        server.fail("PUT /bucket/", "denied")
        for command in ("run", "export"):
            done = place.winnow(command, *setting(key, "s3://bucket/x"))
            assert done.returncode == 1
            (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
            assert line.startswith(f"error: {key}: writing s3://bucket/x: PermissionError: Access Denied")
            assert line.endswith(STEP)
