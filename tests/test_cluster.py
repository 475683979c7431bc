"""`ray_cluster.yaml` against Ray's own schema, and a submission to a real Ray head on this machine."""

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).parent / "ray"


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
