"""jobs/README.md names every module, folder and recipe, and nothing that does not exist."""

import re
from pathlib import Path

JOBS = Path(__file__).parents[2] / "jobs"
README = (JOBS / "README.md").read_text()
DESCRIBED_AS_A_WHOLE = {
    "ingest",
    "metadata",
    "datacomp",
    "toy",
    "poison_lab",
    "manual",
}  # not module by module


def test_every_module_and_folder_is_on_the_map() -> None:
    tree = README.split("```")[1]
    modules = {path.relative_to(JOBS) for path in JOBS.rglob("*.py") if path.name != "__init__.py"}
    names = {path.name for path in modules if path.parts[0] not in DESCRIBED_AS_A_WHOLE}
    folders = {f"{path.name}/" for path in JOBS.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert {name for name in names | folders if name not in tree} == set()
    named = set(re.findall(r"\w+\.(?:py|yaml)", tree))
    assert {name for name in named if not list(JOBS.rglob(name))} == set()


def test_every_recipe_has_its_line() -> None:
    recipes = {str(path.relative_to(JOBS / "recipes")) for path in (JOBS / "recipes").rglob("*.yaml")}
    assert set(re.findall(r"^\| `([\w/.]+)` \|", README, re.MULTILINE)) == recipes


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert {link for link in links if not (JOBS / link).exists()} == set()
    assert max(map(len, README.splitlines())) <= 110
