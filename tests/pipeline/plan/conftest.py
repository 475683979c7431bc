"""Fixtures of the tests of `pipeline.plan`."""

from typing import Any

import pytest

from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from tests.pipeline.plan.chains import CHAIN


@pytest.fixture
def recipe(planted):
    def build(compute: dict[str, Any] = CHAIN, **sections: Any) -> Recipe:
        pool = {"shards": "unused.tar", "store": "unused"}
        return parse({"pool": pool, "compute": compute, "plugins": [planted], **sections})

    return build
