"""The task page's example is a task that runs: its task file, its evaluate.py, in a repository of a user's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evolve import api
from evolve.tasks.verdict import Status

PAGE = Path(__file__).parents[2] / "docs/tasks.md"
PROGRAM = """def choose(sizes, values, capacity):
    chosen, room = [], capacity
    for i, size in enumerate(sizes):
        if size <= room:
            chosen.append(i)
            room -= size
    return chosen
"""


@pytest.mark.slow
def test_the_example_of_the_task_page_runs(repo: tuple[Path, Callable[..., str]], tmp_path: Path) -> None:
    if not PAGE.exists():
        pytest.skip("the docs are not in this distribution")
    page = PAGE.read_text(encoding="utf-8")
    toml = re.search(r"```toml\n(\[task\]\nname = \"knapsack\".+?)```", page, re.DOTALL)
    script = re.search(r"```python\n(def evaluate\(trial\).+?)```", page, re.DOTALL)
    assert toml and script, "docs/tasks.md shows a task file and its evaluate.py"
    place, git = repo
    (place / "evolve.toml").write_text(toml[1])
    (place / "evaluate.py").write_text(script[1])
    (place / "knapsack.py").write_text(PROGRAM)
    git("add", ".")
    git("commit", "--quiet", "-m", "A task")
    result = api.evolve(where=place, evaluations=8, seed=3, control=False)
    best = result.best["knapsack"]
    assert result.evaluations == 8 and best.verdict is not None and best.verdict.status is Status.SCORED
    assert (
        best.verdict.fitness is not None
        and best.verdict.fitness > 500
        and set(best.verdict.metrics) == {"value", "seconds"}
    )
