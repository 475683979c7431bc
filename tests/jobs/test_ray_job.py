"""`ray_cluster.yaml` fits Ray's own schema, and a Ray head on this machine runs a submitted job."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.toy.sample_pool import make_pool
from tests.support.paths import ROOT
from tests.support.ray_head import RAY, free_port, short_folder, submit, wait_for


@pytest.mark.filterwarnings("ignore")
def test_ray_cluster_yaml_is_valid() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    assert {"cpu", "gpu"} < kinds.keys()


def test_ray_version_of_the_image_is_the_pinned_one() -> None:
    pinned = dict(line.split("==") for line in (ROOT / ".ci" / "constraints.txt").read_text().split())
    assert f"ray:{pinned['ray']}-py311" in (ROOT / "ray_cluster.yaml").read_text()


RAYJOB = {  # the fields in KubeRay's API reference, of RayJobSpec, RayClusterSpec and its groups
    name: set(fields.split())
    for name, fields in {
        "spec": """
            entrypoint runtimeEnvYAML jobId metadata clusterSelector entrypointNumCpus entrypointNumGpus
            entrypointResources shutdownAfterJobFinishes suspend submissionMode submitterPodTemplate submitterConfig
            ttlSecondsAfterFinished activeDeadlineSeconds backoffLimit managedBy deletionStrategy rayClusterSpec
        """,
        "cluster": """
            rayVersion enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs authOptions
            gcsFaultToleranceOptions headServiceAnnotations suspend managedBy
        """,
        "head": "template headService enableIngress resources labels rayStartParams serviceType",
        "worker": """
            groupName replicas minReplicas maxReplicas idleTimeoutSeconds resources labels rayStartParams template
            scaleStrategy numOfHosts suspend
        """,
    }.items()
}


def test_rayjob_has_only_fields_of_kuberay_and_the_clusters_image() -> None:
    job = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    workers = cluster["workerGroupSpecs"]
    assert job["spec"].keys() <= RAYJOB["spec"]
    assert cluster.keys() <= RAYJOB["cluster"]
    assert {"template", "rayStartParams"} <= cluster["headGroupSpec"].keys() <= RAYJOB["head"]
    groups = [cluster["headGroupSpec"], *workers]
    image = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())["docker"]["image"]
    tag, version = image.split(":")[1], cluster["rayVersion"]
    assert tag.startswith(f"{version}-py311")
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"].split(":")[1] == tag
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for worker in workers:
        assert {"groupName", "template", "rayStartParams"} <= worker.keys() <= RAYJOB["worker"]
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    assert [w["groupName"] for w in workers] == ["cpu", "gpu"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_rayjobs_entrypoint_is_a_command() -> None:
    words = yaml.safe_load((ROOT / "jobs" / "rayjob.yaml").read_text())["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "jobs"]
    done = subprocess.run([sys.executable, *words[1:4], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert "RECIPE" in done.stdout


@pytest.mark.ray
def test_ray_job_submit_runs_a_recipe(tmp_path: Path) -> None:
    """The working directory is uploaded to a head on loopback; exit status and output come back."""
    make_pool(tmp_path / "pool", shards=2, per_shard=30, seed=4, image_size=48)
    port = free_port()
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "PATH": f"{RAY.parent}:{os.environ['PATH']}"}
    subprocess.run([RAY, "get-auth-token", "--generate"], env=environment, capture_output=True, check=True)
    head = [RAY, "start", "--head", "--block", "--num-cpus=2", "--port=0", f"--dashboard-port={port}"]
    head += ["--disable-usage-stats", f"--temp-dir={short_folder()}"]
    head += [
        f"--dashboard-agent-listen-port={free_port()}"
    ]  # another Ray on this machine may have the usual one
    running = subprocess.Popen(head, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        where = [f"pool.shards={tmp_path}/pool/*.tar", f"pool.store={tmp_path}/store"]
        where += [f"export.shards={tmp_path}/out", f"export.subset={tmp_path}/subset.npy"]
        where += [f"export.index.path={tmp_path}/index"]
        sets = [word for key in where for word in ("--set", key)]
        words = [RAY, "job", "submit", "--address", f"http://127.0.0.1:{port}", "--working-dir", ".", "--"]
        words += ["python", "-m", "jobs", "run", "jobs/recipes/demo.yaml", *sets]
        done = submit(words, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "read 60 = kept" in done.stdout + done.stderr
        assert (tmp_path / "out" / "sizes.json").exists()
        broken = [*words[: words.index("python")], "python", "-m", "jobs", "run", "nowhere.yaml"]
        failed = subprocess.run(
            broken, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert failed.returncode != 0
        assert "recipe nowhere.yaml: no such file" in failed.stdout + failed.stderr
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)
