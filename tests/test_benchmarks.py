"""`make bench`: what benchmarks print becomes their blocks of RESULTS.md; the rest of the page stays."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as runner

PAGE = "# Results\n\nWritten by hand.\n"


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch) -> Path:
    """A folder with two benchmarks and a page of results."""
    monkeypatch.setattr(runner, "QUICK", {"sum": ["--rows", "3"], "plain": []})
    monkeypatch.setattr(runner, "machine", lambda: "A machine, torch 2; 2026-01-01")
    (tmp_path / "RESULTS.md").write_text(PAGE)
    (tmp_path / "bench_sum.py").write_text(
        "import sys\nprint('begins')\nprint('| arguments |\\n|---|\\n|', *sys.argv[1:], '|')\nprint('ends')"
    )
    (tmp_path / "bench_plain.py").write_text("print('7 rows\\n\\n8 rows')")
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    """The exit status, and the page without the folder's place and the seconds."""
    status = runner.main(words, folder / "RESULTS.md", folder)
    page = (folder / "RESULTS.md").read_text()
    return status, re.sub(r"; \d+ s\.", "; N s.", re.sub(r"\S*/bench_", "bench_", page))


SUM = """
### `bench_sum.py`

<!-- bench_sum.py: written by make bench -->
    python bench_sum.py --rows 3

A machine, torch 2; 2026-01-01; N s.

| arguments |
|---|
| --rows 3 |
<!-- end of bench_sum.py -->
"""
PLAIN = """
### `bench_plain.py`

<!-- bench_plain.py: written by make bench -->
    python bench_plain.py

A machine, torch 2; 2026-01-01; N s.

    7 rows

    8 rows
<!-- end of bench_plain.py -->
"""


def test_blocks_are_appended(benchmarks):
    assert run(benchmarks) == (0, PAGE + SUM + PLAIN)


def test_a_block_is_replaced_and_what_is_around_it_stays(benchmarks):
    run(benchmarks)
    path = benchmarks / "RESULTS.md"
    path.write_text(path.read_text().replace("### `bench_plain.py`", "A finding.\n\n### Plainly"))
    status, page = run(benchmarks, "--full", "sum")
    full = SUM.replace("bench_sum.py --rows 3", "bench_sum.py").replace("| --rows 3 |", "| |")
    assert status == 0
    assert page.replace("|  |", "| |") == PAGE + full + PLAIN.replace(
        "### `bench_plain.py`", "A finding.\n\n### Plainly"
    )


def test_one_that_fails_keeps_its_block_and_the_others_run(benchmarks, capfd):
    run(benchmarks)
    (benchmarks / "bench_sum.py").write_text("raise SystemExit('no photos')")
    (benchmarks / "bench_plain.py").write_text("print('9 rows')")
    assert run(benchmarks) == (1, PAGE + SUM + PLAIN.replace("7 rows\n\n    8 rows", "9 rows"))
    assert "bench_sum.py: no photos\n" in capfd.readouterr().err


def test_one_that_lacks_a_package_keeps_its_block_and_is_no_failure(benchmarks, capfd):
    run(benchmarks)
    lacks = "import sys\nprint('needs openvino', file=sys.stderr)\nsys.exit(77)"
    (benchmarks / "bench_sum.py").write_text(lacks)
    assert run(benchmarks) == (0, PAGE + SUM + PLAIN)
    assert "bench_sum.py: needs openvino\n" in capfd.readouterr().err


def test_those_that_read_photos_are_left_out_where_there_are_none(benchmarks, capfd, monkeypatch):
    monkeypatch.setattr(runner, "READ_DATA", {"sum"})
    monkeypatch.setattr(runner, "DATA", benchmarks / "nowhere")
    assert run(benchmarks) == (0, PAGE + PLAIN)
    assert re.search(r"^bench_sum.py: needs photos and captions in .*nowhere, ", capfd.readouterr().err)


def test_one_that_takes_too_long_is_stopped(benchmarks, capfd, monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE", 1)
    (benchmarks / "bench_sum.py").write_text("import time; time.sleep(60)")
    assert run(benchmarks, "sum") == (1, PAGE)
    assert "bench_sum.py: has not ended after 1 s\n" in capfd.readouterr().err


def test_a_name_that_is_none(benchmarks, capsys):
    with pytest.raises(SystemExit):
        runner.main(["sums"], benchmarks / "RESULTS.md", benchmarks)
    assert "not a benchmark: sums; there are sum, plain" in capsys.readouterr().err


def test_every_benchmark_has_a_quick_run_with_options_that_it_knows():
    sources = {path.stem.removeprefix("bench_"): path.read_text() for path in runner.HERE.glob("bench_*.py")}
    assert set(runner.QUICK) == set(sources)
    for name, arguments in runner.QUICK.items():
        for option in (word.removeprefix("--") for word in arguments if word.startswith("--")):
            assert re.search(rf'"(--)?{option}"', sources[name]), (name, option)


def test_every_benchmark_imports_what_is_there() -> None:
    """Names move; nothing else runs all of them. Those that lack a peer say so when they run."""
    names = sorted(path.stem for path in runner.HERE.glob("bench_*.py"))
    assert {name.removeprefix("bench_") for name in names} == set(runner.QUICK)
    code = f"import sys; sys.path.insert(0, {str(runner.HERE)!r})\n" + "\n".join(f"import {n}" for n in names)
    done = subprocess.run([sys.executable, "-c", code], cwd=runner.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_self_test_of_make_gpu(tmp_path: Path) -> None:
    """Every line of it but those that need CUDA, with drawn pictures."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--seconds", "0.1", "--photos", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=runner.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "No CUDA device: a self-test on the CPU with a tiny model." in done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["FAISS"] == {"equal": 1.0}
    assert found["models"]["tiny"]["exact"]["failed"] == 0
    assert "| tiny, exact |" in (tmp_path / "out" / "results.md").read_text()
