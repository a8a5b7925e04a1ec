"""The control draws from the seed and learns nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

from evolve.mutators import Mutator
from evolve.mutators.random_search import RandomSearch, draw, redraw
from evolve.mutators.testing import PROGRAM, MutatorContract, answer, family
from evolve.mutators.workpiece import Workpiece, parses
from evolve.population.brief import Brief
from evolve.tasks import bundled


class TestRandomSearch(MutatorContract):
    def mutator(self) -> Mutator:
        return RandomSearch()


def test_draws_are_independent_programs() -> None:
    files = {"a.py": PROGRAM, "b.toml": b"rate = 0.25\n"}
    drawn = [draw(files, random.Random(seed)) for seed in range(120)]
    contents = [tuple(sorted(d.items())) for d in drawn if d]
    assert len(contents) > 100 and len(set(contents)) > 0.9 * len(contents)
    assert all(content is not None and parses(path, content) for d in drawn for path, content in d.items())
    assert [draw(files, random.Random(seed)) for seed in range(120)] == drawn


def test_every_literal_is_replaced_now_and_then() -> None:
    seed = Path(str(bundled.find("circle_packing"))) / "seed" / "program.py"
    source = seed.read_bytes()
    before = [source[n.start : n.end] for n in Workpiece.of("p.py", source).numbers]
    changed = [0] * len(before)
    for number in range(60):
        content = redraw({"p.py": source}, random.Random(number)).get("p.py")
        if content is None:
            continue
        after = [content[n.start : n.end] for n in Workpiece.of("p.py", content).numbers]
        changed = [count + (a != b) for count, a, b in zip(changed, before, after, strict=True)]
    assert min(changed) > 10


def test_the_parent_is_always_where_the_lineage_began(tmp_path: Path) -> None:
    bench, one, _ = family(tmp_path / "s.git")
    (seed,) = bench.candidates[one].parents
    for number in range(20):
        proposal = answer(RandomSearch(), Brief(number, "t", "improve", (one,), number), bench)
        assert proposal.parents == (seed,) or proposal.stillborn
    bench.candidates[one].parents = ("0" * 40,)  # begins in the user's history
    assert answer(RandomSearch(), Brief(1, "t", "improve", (one,), 1), bench).parents == (one,)


def test_a_draw_is_cheap() -> None:
    """Below 10 ms of CPU on average, so that the control costs a run little; asserted at a quarter of that speed."""
    began = time.process_time()
    for seed in range(40):
        draw({"a.py": PROGRAM}, random.Random(seed))
    assert (time.process_time() - began) / 40 < 40e-3
