"""`ray_cluster.yaml` fits Ray's own schema, and `rayjob.yaml` KubeRay's. `test_bucket.py` submits a job."""

import subprocess
import sys

import pytest
import yaml

from tests.support.paths import ROOT


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
