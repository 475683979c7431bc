"""tests/operators/GOLDENS.md: every block of it computes the values that it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("GOLDENS.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
BLOCKS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in SECTIONS.items()}


@pytest.mark.parametrize("name", [name for name, blocks in BLOCKS.items() if blocks])
def test_the_values_follow_from_the_definitions(name: str):
    (block,) = BLOCKS[name]
    assert "assert " in block
    exec(compile(block, name, "exec"), {})


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_names_its_tests_and_its_source(name: str):
    text = " ".join(SECTIONS[name].split())
    assert "Source: " in text
    files = re.findall(r"`((?:[\w/]+/)?test_\w+\.py)`", text)
    assert files
    for file in files:
        assert (ROOT if file.startswith("tests/") else Path(__file__).parent).joinpath(file).exists()
