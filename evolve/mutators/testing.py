"""Contract tests for mutators: inherit, supply `mutator`, and pytest does the rest. No run is needed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
import pytest

from evolve.mutators import Desk, Mutator, Reply
from evolve.population.brief import Brief, Inspiration, Proposal
from evolve.population.candidate import Candidate
from evolve.population.git import Store
from evolve.tasks.evidence import Evidence
from evolve.tasks.policy import check_edit
from evolve.tasks.task import Task
from evolve.tasks.verdict import Estimate, Status, Verdict

TASK = """
[task]
name = "t"
editable = ["*.py", "settings.toml", "kernel.c"]
[evaluate]
command = "python main.py"
metrics = [{ name = "score", pattern = "score: (.*)" }]
"""

PROGRAM = b'''"""Boxes of a shelf."""

import math

WIDTH = 10.0
SIZES = [
    (1.5, 2.0),
    (0.25, 4.0),
    (3.0, 1.0),
]


def room(sizes, width=WIDTH):
    """How much is left."""
    used = 0.0
    for low, high in sizes:
        if low < high and used + high <= width:
            used += max(low, high)
        else:
            used -= 0.5  # squeezed in
    return math.sqrt(abs(width - used))


def main():
    print("score:", room(SIZES))
'''


def verdict(fitness: float) -> Verdict:
    return Verdict(
        Status.SCORED, fitness, fitness, fitness, (fitness,), {"score": Estimate(fitness, fitness, fitness, 1)}
    )


@dataclass
class Bench:
    """A desk on a real object store, without a run: `born` adds candidates; `call` is closed."""

    path: Path
    task: Task = field(default_factory=lambda: Task.parse(TASK))
    candidates: dict[str, Candidate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pygit2.init_repository(str(self.path), bare=True)
        self.store = Store(self.path, durable=False)

    def born(
        self,
        files: Mapping[str, bytes],
        parents: tuple[str, ...] = (),
        fitness: float | None = None,
        idea: str = "seed",
    ) -> str:
        """Commit a candidate; its hex id. Files are the whole tree."""
        tree = self.store.edit(self.store.tree({}), dict(files))
        number = len(self.candidates)
        commit = self.store.commit(tree, parents, f"{idea}\n", 1.7e9 + number)
        self.store.flush()
        judged = None if fitness is None else verdict(fitness)
        self.candidates[commit] = Candidate(commit, tree, parents, self.task.name, number, idea=idea, verdict=judged)
        return commit

    def files(self, commit: str) -> Mapping[str, bytes]:
        return self.store.files(commit, self.task.may_edit)

    def read(self, commit: str, path: str) -> bytes | None:
        return self.store.file(commit, path)

    def candidate(self, commit: str) -> Candidate:
        return self.candidates[commit]

    def evidence(self, commit: str) -> tuple[Evidence, ...]:
        return ()

    def children(self, commit: str) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates.values() if c.parents[:1] == (commit,))

    def merge_base(self, ours: str, theirs: str) -> str | None:
        return self.store.merge_base(ours, theirs)

    def merge(self, base: str, ours: str, theirs: str) -> Mapping[str, bytes] | None:
        tree = self.store.merge(base, ours, theirs)
        return None if tree is None else self.store.files(tree, self.task.may_edit)

    async def call(
        self, request: bytes, send: Callable[[bytes], Awaitable[Reply]], *, model: str, money: float | None = None, tokens: int = 0
    ) -> Reply:  # fmt: skip
        raise AssertionError("this desk has no line to the outside")


def family(path: Path, files: Mapping[str, bytes] | None = None) -> tuple[Bench, str, str]:
    """A bench with a seed and two of its children, which differ from it in different places; the children's ids."""
    bench = Bench(path)
    whole = dict(
        files or {"shelf.py": PROGRAM, "settings.toml": b"[box]\nsize = 3.5\nrows = 4\n", "README.md": b"Boxes.\n"}
    )
    seed = bench.born(whole, fitness=1.0)
    one = {**whole, "shelf.py": PROGRAM.replace(b"WIDTH = 10.0", b"WIDTH = 12.0")}
    two = {**whole, "shelf.py": PROGRAM.replace(b"used -= 0.5", b"used -= 0.25").replace(b"low < high", b"low <= high")}
    first = bench.born(one, (seed,), 2.0, "step 0.2: move 1 number in shelf.py")
    second = bench.born(two, (seed,), 1.5, "other")
    return bench, first, second


def answer(mutator: Mutator, brief: Brief, desk: Desk) -> Proposal:
    return asyncio.run(mutator.propose(brief, desk))


class MutatorContract:
    """What every mutator owes the search."""

    seeds = range(25)

    def mutator(self) -> Mutator:
        raise NotImplementedError("supply the mutator under test")

    @pytest.fixture
    def bench(self, tmp_path: Path) -> tuple[Bench, str, str]:
        return family(tmp_path / "store.git")

    def brief(self, operator: str, one: str, two: str, seed: int) -> Brief:
        parents = (one, two) if operator in ("crossover", "transplant") else (one,)
        return Brief(seed + 1, "t", operator, parents, random.Random(seed).getrandbits(64), self.mutator().name,
                     inspirations=(Inspiration(two, "best of another island"),))  # fmt: skip

    def answers(self, bench: tuple[Bench, str, str]) -> list[tuple[Brief, Proposal]]:
        desk, one, two = bench
        briefs = [self.brief(op, one, two, seed) for op in self.mutator().operators for seed in self.seeds]
        return [(brief, answer(self.mutator(), brief, desk)) for brief in briefs]

    def test_says_what_it_is(self) -> None:
        mutator = self.mutator()
        assert isinstance(mutator, Mutator)
        assert mutator.name and mutator.operators and isinstance(mutator.latency, bool)

    def test_an_answer_is_an_edit_or_says_why_there_is_none(self, bench: tuple[Bench, str, str]) -> None:
        born = 0
        for brief, proposal in self.answers(bench):
            if proposal.stillborn:
                assert not proposal.files, brief
                continue
            born += 1
            assert proposal.files and proposal.idea and "\n" not in proposal.idea, brief
            base = bench[0].files((proposal.parents or brief.parents)[0])
            assert any(base.get(path) != content for path, content in proposal.files.items()), brief
            assert set(proposal.parents) <= set(bench[0].candidates), brief
        assert born, "it never proposed anything"

    def test_only_editable_files_change(self, bench: tuple[Bench, str, str]) -> None:
        desk = bench[0]
        for brief, proposal in self.answers(bench):
            parent = desk.candidate((proposal.parents or brief.parents)[0])
            assert check_edit(desk.task, desk.store.modes(parent.tree), proposal.files) is None, brief

    def test_one_brief_has_one_answer(self, bench: tuple[Bench, str, str]) -> None:
        for brief, proposal in self.answers(bench):
            assert answer(self.mutator(), brief, bench[0]) == proposal

    def test_leaves_the_lineage_and_global_random_state_alone(self, bench: tuple[Bench, str, str]) -> None:
        desk = bench[0]
        before = {commit: dict(desk.files(commit)) for commit in desk.candidates}
        random.seed(5)
        state = random.getstate()
        self.answers(bench)
        assert random.getstate() == state
        assert {commit: dict(desk.files(commit)) for commit in desk.candidates} == before

    @pytest.mark.parametrize("content", [b"", b"\x00\xff\x00", b"def (:\n", b"x" * 3000, "é = 1\n".encode("latin-1")])
    def test_a_file_that_cannot_be_read_raises_nothing(self, tmp_path: Path, content: bytes) -> None:
        desk = Bench(tmp_path / "odd.git")
        one, two = desk.born({"odd.py": content}, fitness=1.0), desk.born({"odd.py": content + b"\n"}, fitness=1.0)
        for operator in self.mutator().operators:
            answer(self.mutator(), self.brief(operator, one, two, 1), desk)
