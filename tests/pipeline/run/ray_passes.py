"""Passes on the Ray of the tests."""

from pipeline.plan.session import Session
from pipeline.recipe.sections import Recipe
from pipeline.run.compute import compute
from pipeline.run.on_ray import RayExecutor


def run_on_ray(made: Recipe) -> object:
    """compute() on the tests' Ray."""
    return compute(Session.open(made), RayExecutor(made))
