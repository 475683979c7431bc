"""The README's section "On a cluster": each command runs as it is written there, on an S3 server and a Ray
head on loopback, from a bucket of shards to filtered shards. Only `ray up` needs a cloud: `test_ray_job.py`
checks its file. Exit status and output of what is submitted come back.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.toy.sample_pool import make_pool
from tests.support.ray_head import free_port, kill, short_folder, submit, wait_for
from tests.support.s3_server import s3
from tests.test_readme import README, ROOT, blocks

s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
pytest.importorskip("moto", reason="needs moto[s3], flask, flask-cors: the server")
MODEL = "jobs/toy/models/scene_clip"  # in the working directory, which is uploaded


def commands() -> list[list[str]]:
    """The section's commands, in order."""
    section = README.split("## On a cluster")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [
        shlex.split(line, comments=True) for line in block.splitlines() if shlex.split(line, comments=True)
    ]


@pytest.mark.ray
def test_from_a_bucket_to_filtered_shards(tmp_path: Path) -> None:
    """The recipe is the README's first one with the CLIP score that it adds, but with a small model and no
    GPU."""
    make_pool(tmp_path / "pool", shards=2, per_shard=30, seed=4, image_size=96)
    recipe, more = (yaml.safe_load(block) for block in blocks("yaml")[:2])
    for section in ("compute", "keep", "export"):
        recipe[section] |= more[section]
    recipe["compute"]["clip"] |= {"model": f"{MODEL}.json", "pretrained": f"{MODEL}.safetensors"}
    recipe["pool"] = {"shards": "s3://mine/pool/*.tar", "store": "s3://mine/store"}
    recipe["export"]["shards"] = "s3://mine/out/shards"
    recipe["export"]["subset"] = "s3://mine/out/subset.npy"
    recipe["export"]["index"]["path"] = "s3://mine/out/index"
    port = free_port()
    folder = tmp_path / "here"
    for name in ("jobs", "pipeline", "operators"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    with s3():
        fs = s3fs.S3FileSystem()
        fs.mkdir("mine")
        fs.put(f"{tmp_path}/pool/", "mine/pool/", recursive=True)
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        head: subprocess.Popen[bytes] | None = None
        seen = set()
        try:
            for words in commands():
                seen.add(" ".join(words[:2]))
                if words[0] == "export":
                    name, value = words[1].split("=", 1)
                    environment.setdefault(name, value)  # the keys are the server's
                elif words[:3] == ["ray", "start", "--head"]:
                    words += ["--block", "--num-cpus=1", "--port=0", f"--dashboard-port={port}"]
                    words += ["--disable-usage-stats", f"--temp-dir={short_folder()}"]
                    words += [f"--dashboard-agent-listen-port={free_port()}"]
                    head = subprocess.Popen(
                        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                    wait_for(port)
                elif words[:2] not in (["ray", "up"], ["ray", "dashboard"]):
                    words = [word.replace("localhost:8265", f"127.0.0.1:{port}") for word in words]
                    done = submit(words, environment, folder)
                    assert done.returncode == 0, done.stdout + done.stderr
                    if words[:2] == ["ray", "job"]:
                        assert "read 60 = kept" in done.stdout + done.stderr
                        broken = ["nowhere.yaml" if word == "recipe.yaml" else word for word in words]
                        failed = submit(broken, environment, folder)
                        assert failed.returncode != 0
                        assert "recipe nowhere.yaml: no such file" in failed.stdout + failed.stderr
        finally:
            if head is not None:
                kill(head)
        assert {"winnow plan", "ray start", "ray job", "winnow keep"} <= seen
        sizes = yaml.safe_load((folder / "shards" / "sizes.json").read_text())
        assert sizes
        assert all((folder / "shards" / name).stat().st_size for name in sizes)
