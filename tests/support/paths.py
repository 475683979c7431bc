"""Folders that several tests need."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
PLUGINS = (
    ROOT / "tests" / "plugins"
)  # operators of the tests: `plugins: [<this folder>]`, `use: planted.Length`
DATA = ROOT.parent / "shared" / "data"  # real sample data, which may be absent
