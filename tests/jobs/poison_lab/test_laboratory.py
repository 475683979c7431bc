"""The laboratory's scores by hand; the recipe against backdoors; the laboratory from end to end."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from jobs.poison_lab.attacks import ATTACKS


def test_figures_of_scores_worked_out_by_hand() -> None:
    from jobs.poison_lab.scores import figures

    poisoned = np.arange(100) < 2
    values = np.where(poisoned, 1.0, 0.0)
    values[1], values[50:60] = 0.5, 0.6  # the second poison comes after ten others
    found = figures(values, poisoned)
    assert found["recall at 1%"] == 0.5
    assert found["recall at 10%"] == 0.5
    assert found["AUROC"] == pytest.approx(1 - 10 / (2 * 98))
    assert found["average precision"] == pytest.approx((1 + 2 / 12) / 2)


def test_few_far_points_are_found_until_the_reference_holds_k_of_them() -> None:
    from jobs.poison_lab.scores import by_reference

    rng = np.random.default_rng(0)
    images = rng.normal(size=(600, 8)).astype(np.float32)
    images[:30] = 40 + 0.1 * images[:30]  # k = 8
    found = by_reference(images, np.arange(600) < 30, (100, 0), (8,), rng)
    assert min(found[100, 8]) > 0.99  # about 5 of the 30 in the reference
    assert max(found[600, 8]) < 0.9  # all of them: they are each other's neighbours


def test_the_recipe_suspects_pairs_that_are_far_away_and_do_not_match() -> None:
    from jobs.poison_lab.scores import RECIPE, by_recipe, suspicion

    rng = np.random.default_rng(0)
    images = rng.normal(size=(600, 8)).astype(np.float32)
    texts = images + 0.1 * rng.normal(size=(600, 8)).astype(np.float32)
    images[:20] *= 9  # far away
    texts[:20] = 9 * rng.normal(size=(20, 8))
    found = by_recipe(RECIPE, {"clip": (images, texts), "other": (images[::-1], images[::-1])})
    cosines = (images * texts).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
    assert np.allclose(found["clip.score"], cosines, atol=1e-5)
    assert np.allclose(found["other.score"], 1, atol=1e-5)
    assert found["keep"].sum() == 540
    assert not found["keep"][:20].any()
    values = suspicion(RECIPE, found)
    assert np.array_equal(values["clip.score"], -found["clip.score"].to_numpy())
    assert np.array_equal(
        np.argsort(-values["suspicion.score"])[:60].sum(), np.flatnonzero(~found["keep"]).sum()
    )


def test_the_page_is_what_the_laboratory_writes_from_the_stored_results(tmp_path: Path) -> None:
    from jobs.poison_lab import report
    from jobs.poison_lab.__main__ import RESULTS

    report.write(RESULTS, tmp_path / "page.md", list(ATTACKS))
    page = (Path(report.__file__).parent / "POISON_LAB.md").read_text()
    assert (tmp_path / "page.md").read_text() == page


def test_the_table_of_the_goal_names_the_worst_seed_for_each_bound() -> None:
    from jobs.poison_lab.report import goal

    def run(name: str, success: float, cleaned: float, change: float) -> dict[str, Any]:
        after = {"cleaned": {"success": cleaned, "recall": 0.9 + change}} if cleaned >= 0 else {}
        return {"attack": name, "poisoned": {"success": success, "recall": 0.9}, "recipe": after}

    patch = [run("patch", 0.8, 0.04, 0), run("patch", 0.79, 0.06, -0.01), run("patch", 0.99, 0.01, 0.02)]
    assert goal([*patch, run("warp", 0.1, -1, 0)]).splitlines()[2:] == [
        "| patch | 3 | 2 | 4.0% | +0.000 | 3 | 6.0% | -0.010 |",
        "| warp | 1 | 0 | - | - | 0 | - | - |",
    ]


def test_the_laboratory_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.poison_lab import __main__ as laboratory

    tiny = laboratory.Experiment(scenes=300, clean=100, test=40, rate=0.02, rare=0.02, start=2, steps=2)
    settings = [f"--{name}={value}" for name, value in asdict(tiny).items()]
    work, report = tmp_path / "work", tmp_path / "report.md"
    results = work / "results"
    chosen = [
        "--attacks=three-triggers",
        "--trap=three-triggers",
        f"--report={report}",
        f"--results={results}",
    ]
    monkeypatch.setattr("sys.argv", ["poison_lab", str(work), *chosen, "--single", *settings])
    monkeypatch.setattr(laboratory, "SUCCEEDED", 0.0)
    main, made = laboratory.main, results / "300-0" / "three-triggers.json"
    main()
    line = orjson.loads(made.read_bytes())
    assert (line["poisons"], line["experiment"]) == (6, asdict(tiny))
    found = {(view, name): figures for view, name, figures in line["detectors"]}
    assert {name for _, name in found} >= {"k-distance", "SLOF", "LID", "DAO", "isolation forest"}
    assert all(0 <= value <= 1 for figures in found.values() for value in figures.values())
    assert line["single"]["left"] == 6 - round(6 * found[tuple(line["best"])]["recall at 10%"])
    assert line["recipe"]["left"] == 6 - round(6 * line["columns"]["suspicion.score"]["recall at 10%"])
    assert line["single"]["removed"] == pytest.approx(0.1)
    parts = [line["poisoned"], *(line[way]["cleaned"] for way in ("single", "recipe"))]
    assert all(0 <= value <= 1 for part in parts for value in part.values())
    text = report.read_text()
    assert "| three-triggers | 0 | 6 |" in text
    assert text.count("| 1.00% | 300 | 3.0 |") == 3
    made.write_bytes(orjson.dumps({**line, "recipe": {"left": 6}}))  # as `--once` leaves it
    main()  # with the models that are kept
    assert {**orjson.loads(made.read_bytes()), "cpu_minutes": 0} == {**line, "cpu_minutes": 0}
    monkeypatch.setattr("sys.argv", ["poison_lab", str(work), *chosen, *settings, "--rate=0.5"])
    with pytest.raises(SystemExit):
        main()
