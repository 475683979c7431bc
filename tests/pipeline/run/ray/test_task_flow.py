"""Tasks in flight: every item once, never more than the limit, any order of ending, one merged result."""

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.ray.task_flow import run_all, run_tree


class Tasks:
    """Tasks that end in a drawn order; a handle is a list that holds the task's result."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.started = self.most = self.running = 0

    def start(self, item):
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        return [item]

    def wait(self, running):
        ended = self.rng.sample(running, self.rng.randint(1, len(running)))
        self.running -= len(ended)
        return ended, [handle for handle in running if not any(handle is other for other in ended)]


@given(st.integers(0, 40), st.integers(1, 7), st.integers())
def test_every_task_ends_once_and_few_run_at_a_time(count, limit, seed):
    tasks = Tasks(seed)
    results = [handle[0] for handle in run_all(tasks.start, tasks.wait, range(count), limit)]
    assert sorted(results) == list(range(count))
    assert tasks.most == min(count, limit)


def test_items_are_taken_as_there_is_room():
    """An endless list of items is no problem."""
    tasks = Tasks(0)
    taken = []
    results = run_all(tasks.start, tasks.wait, (taken.append(n) or n for n in iter(int, 1)), 3)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 3


@given(st.integers(1, 60), st.integers(1, 7), st.integers(2, 8), st.integers())
def test_a_tree_merges_every_result_once(count, limit, fan_in, seed):
    tasks = Tasks(seed)
    sizes = []

    def merge(handles):
        sizes.append(len(handles))
        return tasks.start(sorted(n for handle in handles for n in handle[0]))

    root = run_tree(lambda n: tasks.start([n]), merge, tasks.wait, range(count), limit, fan_in)
    assert root[0] == list(range(count))
    assert all(2 <= size <= fan_in for size in sizes)
    assert tasks.started == count + len(sizes)
    assert tasks.running == 0
