"""What holds for every bundled task that ships a seed: it loads, grades its seed through the real executor, and says
what it asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evolve import api
from evolve.evaluators.evaluator import Job
from evolve.settings import RunSettings
from evolve.tasks import bundled
from evolve.tasks.task import Task
from tests.tasks.grading import folder, seed

KEYLESS = ("circle_packing", "exp2_in_c", "low_autocorrelation", "online_bin_packing")


def test_the_key_less_tasks_are_bundled() -> None:
    assert set(KEYLESS) <= set(bundled.names())


@pytest.mark.parametrize("name", KEYLESS)
def test_a_task_says_what_it_asks_and_how(name: str) -> None:
    task = Task.load(folder(name))
    assert task.name == name and task.evaluate.evaluator == "script" and not task.self_reported
    assert any(task.may_edit(path) for path in seed(name))
    readme = (folder(name) / "README.md").read_text()
    assert readme.startswith(f"# {name}\n") and task.instructions == "README.md"
    assert not any(task.may_edit(path) for path in ("evaluate.py", "task.toml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYLESS)
def test_the_seed_scores_in_the_sandbox_and_a_broken_one_does_not(name: str, tmp_path: Path) -> None:
    session = api.open_session(
        RunSettings(tasks=(name,), where=tmp_path, evaluations=2, seed=1, control=False, publish=False)
    )
    opened = session.opened
    ground = opened.grounds[name]
    editable = next(path for path in seed(name) if ground.task.may_edit(path))
    broken = opened.archive.store.edit(ground.base_tree, {editable: b"\x00) no program ("})
    opened.writer.flush()

    async def measure() -> None:
        for tree, scores in ((ground.base_tree, True), (broken, False)):
            job = Job(f"0/run/{tree[:6]}", name, (tree,), ground.stages[-1].name, 2)
            evidence = await (await session.executor.start(job)).result()
            assert (tree in evidence.failures) != scores, evidence.failures
            assert len(evidence.of(tree)) == (2 if scores else 0)
            assert all(set(s.metrics) == {m.name for m in ground.task.evaluate.metrics} for s in evidence.of(tree))
        await session.executor.close()

    try:
        asyncio.run(measure())
    finally:
        opened.writer.close()
