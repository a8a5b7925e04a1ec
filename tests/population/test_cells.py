"""MAP-Elites cells: descriptors as a fold, cells cut when looked at."""

from __future__ import annotations

import pytest

from evolve.population import events as ev
from evolve.population.candidate import Candidate, Standing
from evolve.population.folds.cells import Cells, cut, descriptors, edges, place
from evolve.population.novelty import sketch
from evolve.tasks.task import DIFFERENCE, SIZE, Task
from evolve.tasks.verdict import Estimate, Status, Verdict
from tests.pick.scene import TOML


def scored(value: float, **metrics: float) -> Verdict:
    found = {name: Estimate(v, v, v, 1) for name, v in metrics.items()}
    return Verdict(Status.SCORED, value, value, value, (value,), found)


def candidate(number: int, verdict: Verdict | None, **more: object) -> Candidate:
    return Candidate(f"{number:040x}", "t" * 40, (), "knobs", number, verdict=verdict, **more)  # type: ignore[arg-type]


def test_size_and_difference_are_kept_of_what_scored() -> None:
    seed, near, far = ({"p.py": text} for text in (b"a = 1\nb = 2\nc = 3\nd = 4\n" * 9, b"a = 1\nb = 2\nc = 3\nd = 5\n" * 9, b"import os\n" * 9))
    cells = Cells()
    asked: list[tuple[str, str]] = []

    def size_of(task: str, tree: str) -> int:
        asked.append((task, tree))
        return len(tree)

    def born(commit: str, tree: str, files: dict[str, bytes]) -> None:
        cells.apply(ev.Born(1, "knobs", commit, tree, ("s",), 1, sketch=sketch(files)), size_of)

    cells.apply(ev.Imported("knobs", "s", "seed", (), 0, "seed", sketch=sketch(seed)), size_of)
    born("n", "near", near)
    born("f", "farther", far)
    born("x", "broken", far)
    for commit, verdict in (("s", scored(1)), ("n", scored(2)), ("f", scored(1.5)), ("x", Verdict(Status.INVALID, reason="broken"))):
        cells.apply(ev.Judged("knobs", commit, "e", verdict), size_of)
    cells.apply(ev.Judged("knobs", "n", "e", scored(3)), size_of)
    assert cells.sizes == {"s": 4, "n": 4, "f": 7} and len(asked) == 3
    assert cells.differences["s"] == 0.0 < cells.differences["n"] < cells.differences["f"] == 1.0
    assert "x" not in cells.differences


def test_a_cell_holds_its_fittest_and_the_older_of_equals() -> None:
    found = [
        candidate(0, scored(1.0, a=0.0, b=0.0)),
        candidate(1, scored(3.0, a=0.1, b=0.1)),
        candidate(2, scored(3.0, a=0.1, b=0.1)),
        candidate(3, scored(2.0, a=10.0, b=4.0)),
        candidate(4, Verdict(Status.INVALID, reason="broken")),
        candidate(5, scored(9.0, a=10.0, b=4.0), standing=Standing.QUARANTINED),
        candidate(6, scored(9.0, a=10.0)),
    ]
    made = cut(Cells(), found, "a", "b", bins=4)
    assert [(c.column, c.row, c.count, c.elite.number) for c in made.cells] == [(0, 0, 3, 1), (3, 3, 1, 3)]
    assert made.placed == 4 and made.filled == ((1, 1), (4, 2))
    assert made.columns == (0.0, 2.5, 5.0, 7.5, 10.0)
    assert cut(Cells(), found, SIZE, "a").cells == ()


def test_a_metric_of_the_name_goes_before_the_code() -> None:
    cells = Cells(sizes={f"{0:040x}": 7})
    assert cells.value(candidate(0, scored(1.0)), SIZE) == 7
    assert cells.value(candidate(0, scored(1.0, code_size=3.0)), SIZE) == 3.0
    assert cells.value(candidate(0, scored(1.0)), DIFFERENCE) is None


@pytest.mark.parametrize(
    ("values", "cuts"),
    [([], ()), ([2.0, 2.0], (2.0, 2.0)), ([0.0, 1.0], (0.0, 0.5, 1.0)), ([1.0, 100.0], (1.0, pytest.approx(10.0), 100.0))],
)
def test_edges_in_steps_or_ratios(values: list[float], cuts: tuple[float, ...]) -> None:
    assert edges(values, 2) == cuts


def test_every_value_has_a_bin() -> None:
    values = [0.1 * k for k in range(31)]
    cuts = edges(values, 12)
    bins = [place(cuts, v) for v in values]
    assert bins == sorted(bins) and bins[0] == 0 and bins[-1] == 11 and set(bins) == set(range(12))
    assert place((2.0, 2.0), 2.0) == 0


def test_declared_descriptors_come_first() -> None:
    assert descriptors(Task.parse(TOML)) == (SIZE, DIFFERENCE, "score")
    declared = Task.parse(TOML.replace("[evaluate]\n", '[evaluate]\ndescriptors = ["score"]\n'))
    assert descriptors(declared) == ("score", SIZE, DIFFERENCE)
