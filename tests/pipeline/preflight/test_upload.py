"""The predicted upload equals the package that Ray makes."""

import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.preflight import upload

CODE = """
import sys; from pathlib import Path
from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE, get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
create_package(sys.argv[1], Path(sys.argv[2]), include_gitignore=True, excludes=get_runtime_env_default_excludes())
print(DASHBOARD_CLIENT_MAX_SIZE, ",".join(get_runtime_env_default_excludes()))
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A working directory with files that people forget in it."""
    root = tmp_path / "work"
    files = {
        ".gitignore": "*.tar\n/out/\n!keep.tar\n# a comment\n",
        ".rayignore": "scratch\n",
        "recipe.yaml": "x" * 10,
        "pool/0.tar": "x" * 5000,
        "pool/keep.tar": "x" * 300,
        "pool/notes.txt": "x" * 70,
        "out/shards/0.parquet": "x" * 5000,
        "deep/out/table": "x" * 40,
        "deep/.gitignore": "*.bin\n",
        "deep/model.bin": "x" * 5000,
        "other/model.bin": "x" * 600,
        "scratch/a": "x" * 5000,
        ".git/objects/a": "x" * 5000,
        ".venv/lib/a": "x" * 5000,
        "deep/__pycache__/a": "x" * 5000,
        "spaces in name/ä": "x" * 3,
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    os.symlink(root / "recipe.yaml", root / "link.yaml")
    os.symlink(root / "absent", root / "broken")
    return root


def test_as_ray_packs_it(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, folder, tmp_path / "package.zip"],
        capture_output=True,
        text=True,
        check=True,
    )
    limit, left_out = done.stdout.split()
    assert (int(limit), tuple(left_out.split(","))) == (upload.LIMIT, upload.LEFT_OUT)
    packed: dict[str, int] = {}
    with zipfile.ZipFile(io.BytesIO((tmp_path / "package.zip").read_bytes())) as package:
        for info in package.infolist():
            assert info.compress_type == zipfile.ZIP_STORED  # the sum of sizes is what is uploaded
            top = info.filename.split("/")[0]
            packed[top] = packed.get(top, 0) + info.file_size
    assert {name: size for name, size in upload.upload_sizes(str(folder)).items() if size} == packed
    assert (packed["pool"], packed["other"]) == (370, 600)


def test_the_largest_entries_are_named(folder):
    assert upload.check_upload(str(folder)) == []
    total = sum(upload.upload_sizes(str(folder)).values())
    assert upload.check_upload(str(folder), total + 1) == []
    (warning,) = upload.check_upload(str(folder), total)
    assert warning == (
        f"the working directory {folder} has 0 MiB, and `ray job submit` takes less than 0 MiB: list in "
        ".rayignore what the job does not need; the largest entries: other (0 MiB), pool (0 MiB), "
        "deep (0 MiB)"
    )


def test_settings_of_ray_count(folder, monkeypatch):
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert upload.upload_sizes(str(folder))["pool"] == 5370
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", ".venv")
    assert upload.upload_sizes(str(folder))[".git"] == 5000


def test_ray_is_not_imported():
    load = "import sys; from pipeline.preflight.upload import upload_sizes"
    code = f"{load}; upload_sizes('jobs'); assert 'ray' not in sys.modules"
    assert importlib.util.find_spec("ray") is not None
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
