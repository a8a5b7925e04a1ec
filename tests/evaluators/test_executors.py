from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolve.evaluators.evaluator import Executor, Job, Site
from evolve.evaluators.executors import InProcessExecutor, LocalExecutor
from evolve.evaluators.executors.local import without_keys
from evolve.evaluators.testing import ExecutorContract
from evolve.tasks.errors import BaselineError
from evolve.tasks.evidence import Evidence, Sample
from tests.evaluators.conftest import MakeTree, job
from tests.evaluators.test_evaluators import SCRIPT

GRADE = """
import os
def evaluate(trial):
    if b"deadly" in trial.read("program.py"):
        os._exit(7)
    return {"score": trial.call("program.py:value")}
"""


@pytest.mark.jail
class TestLocal(ExecutorContract):
    @pytest.fixture
    def executor(self, site: Callable[..., Site], tree: MakeTree) -> Iterator[Executor]:
        yield LocalExecutor({"t": site(SCRIPT, tree(**{"program.py": "def value(): return 1"}), GRADE)}, 2)

    @pytest.fixture
    def good(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "def value(): return 2"}))

    @pytest.fixture
    def slow(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "import time\ndef value(): time.sleep(4); return 2"}))

    @pytest.fixture
    def deadly(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "def value(): return 'deadly'"}))

    def test_nothing_is_left_on_disk(self, executor: LocalExecutor, good: Job) -> None:
        self._run(executor, good)
        scratch = Path(executor.sites["t"].scratch)
        assert [p.name for p in scratch.iterdir() if p.name.startswith("slot-")] == []


class _Fake:
    def digest(self) -> str:
        return "d" * 16

    def stages(self) -> tuple[()]:
        return ()

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        time.sleep(0.01)
        samples = tuple(Sample(t, {"score": 1.0}) for t in job.trees)
        return Evidence(job.id, job.trees, "t", "e", "m", job.stage, samples=samples)

    def close(self) -> None:
        return None


class TestInProcess(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return InProcessExecutor({"t": _Fake()}, 2)

    @pytest.fixture
    def good(self) -> Job:
        return job("a" * 40)

    @pytest.fixture
    def slow(self) -> None:
        return None

    @pytest.fixture
    def deadly(self) -> None:
        return None


def test_keys_stay_out_of_a_slots_environment() -> None:
    assert without_keys({"OPENAI_API_KEY": "x", "hf_token": "x", "PATH": "/bin", "DB_PASSWORD": "x"}) == {"PATH": "/bin"}


@pytest.mark.jail
def test_an_error_of_the_task_keeps_its_class_across_the_slot(site: Callable[..., Site], tree: MakeTree) -> None:
    import asyncio

    name = tree(**{"program.py": "def value(): return 1"})
    toml = SCRIPT + '[environment]\nsetup = "exit 9"\n'
    executor = LocalExecutor({"t": site(toml, name, GRADE)}, 1)

    async def one() -> None:
        try:
            await (await executor.start(job(name))).result()
        finally:
            await executor.close()

    with pytest.raises(BaselineError, match="exit code 9"):
        asyncio.run(one())


@pytest.mark.jail
def test_progress_lines_arrive(site: Callable[..., Site], tree: MakeTree) -> None:
    import asyncio

    from tests.evaluators.test_evaluators import COMMAND

    name = tree(**{"program.py": "print('loss: 1')"})
    executor = LocalExecutor({"t": site(COMMAND, name)}, 1)
    lines: list[str] = []

    async def one() -> None:
        await (await executor.start(job(name, blocks=2), lines.append)).result()
        await executor.close()

    asyncio.run(one())
    assert lines == ["block 0", "block 1"]
