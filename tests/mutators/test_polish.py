"""Polishing by a task's gradients: the table found in the text, the problem solved, the bundled task's file, the mutator's answers."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from evolve.mutators import polish
from evolve.mutators.tune import Tune
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from evolve.tasks.errors import TaskError
from evolve.tasks.task import Task
from tests.models.desk import FakeDesk
from tests.mutators.scene import P, verdict

ROOT = Path(__file__).parents[2]
TOML = (
    '[task]\nname = "t"\neditable = ["*.py"]\n[evaluate]\nscript = "e.py"\nmetrics = [{ name = "x" }]\n'
    'settings = { polish = "polish.py" }\n'
)
HOOK = '''
TABLE = "p.py:POINT"

def problem(numbers):
    if len(numbers) != 2:
        raise ValueError(f"{len(numbers)} numbers, not two")
    return {"start": numbers, "objective": lambda v: ((v[0] - 3) ** 2 + (v[1] + 1) ** 2, [2 * (v[0] - 3), 2 * (v[1] + 1)]),
            "constraints": lambda v: ([2 - v[0]], [[-1.0, 0.0]]), "bounds": [(-5, 5), (-0.5, 5)], "numbers": list}
'''


def test_the_table_is_found_by_its_name() -> None:
    text = b"A = 1.5\nOTHER = [9.0]\nPOINT = [\n    [0.5, -2],\n    [1.0, 3.0],\n]\nLATER = [7.0]\n"
    path, numbers = polish.table_of({"p.py": text}, "p.py:POINT")
    assert path == "p.py" and [n.value for n in numbers] == [0.5, -2, 1.0, 3.0]
    assert polish.table_of({"p.py": b"POINT = 3.0\n\nX = [1.0]\n"}, "p.py:POINT")[1] == []
    assert polish.table_of({"p.py": text}, "p.py:POIN")[1] == polish.table_of({}, "p.py:POINT")[1] == []


def test_a_problem_is_solved_within_its_constraints_and_bounds() -> None:
    spec: dict[str, object] = {}
    exec(HOOK, spec)
    found = polish.solve(spec["problem"]([0.0, 0.0]), 2)  # type: ignore[operator]
    assert found["numbers"] == pytest.approx([2.0, -0.5], abs=1e-6) and found["after"] < found["before"]
    with pytest.raises(ValueError, match="gave 2 numbers, not 3"):
        polish.solve(spec["problem"]([0.0, 0.0]), 3)  # type: ignore[operator]


def answered(place: Path, program: bytes, hook: str = HOOK) -> tuple[polish.Proposal, FakeDesk]:
    (place / "polish.py").write_text(hook)
    desk = FakeDesk({P: {"p.py": program}}, {P: Candidate(P, P, (), "t", 0, verdict=verdict(1.0))}, task=Task.parse(TOML, root=place))
    brief = Brief(1, "t", "tune", (P,), 5, hint={"study": "s", "trial": 0, "polish": True})
    return asyncio.run(Tune().propose(brief, desk)), desk


def test_the_mutator_changes_the_numbers_alone_and_its_request_is_on_record(tmp_path: Path) -> None:
    made, desk = answered(tmp_path, b"import os\nPOINT = [0.25, 1.0]  # here\nX = 1\n")
    content = made.files["p.py"]
    assert content is not None and made.operator == "tune/s#0" and "by SLSQP" in made.idea
    spec: dict[str, list[float]] = {}
    exec(content, spec)
    assert spec["POINT"] == pytest.approx([2.0, -0.5], abs=1e-6)
    assert content.startswith(b"import os\nPOINT = [") and content.endswith(b"]  # here\nX = 1\n")
    ((request, money, tokens, reply),) = desk.calls
    assert money == 0.0 and tokens == 0 and reply.outcome == "ok" and b'"numbers": [0.25, 1.0]' in request


@pytest.mark.parametrize(
    ("program", "hook", "why"),
    [
        (b"X = 1\n", HOOK, "no longer the table"),
        (b"POINT = [1.0, 2.0, 3.0]\n", HOOK, "3 numbers, not two"),
        (b"POINT = [1.0, 2.0]\n", HOOK + "\nraise RuntimeError('broken hook')\n", "broken hook"),
    ],
)
def test_what_cannot_be_polished_says_why(tmp_path: Path, program: bytes, hook: str, why: str) -> None:
    made, _ = answered(tmp_path, program, hook)
    assert why in made.stillborn and not made.files


def test_a_polish_that_never_ends_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish, "SECONDS", 0.3)
    made, _ = answered(tmp_path, b"POINT = [1.0, 2.0]\n", HOOK + "\nwhile True:\n    pass\n")
    assert "took longer than 0.3 s" in made.stillborn


def test_a_task_that_names_no_file_of_its_own_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no file"):
        polish.hook_of(Task.parse(TOML, root=tmp_path))
    (tmp_path / "polish.py").write_text("table = 1\n")
    with pytest.raises(TaskError, match="has no line TABLE"):
        answered(tmp_path, b"POINT = [1.0, 2.0]\n", "table = 1\n")
    assert polish.hook_of(Task.parse(TOML.replace('settings = { polish = "polish.py" }\n', ""), root=tmp_path)) is None


# ---- circle_packing --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def circles() -> ModuleType:
    spec = importlib.util.spec_from_file_location("circle_polish", ROOT / "tasks" / "circle_packing" / "polish.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gradients_of_circle_packing_are_right(circles: ModuleType) -> None:
    rng = np.random.default_rng(3)
    point = np.asarray(circles.problem(rng.random(52).tolist())["start"])
    step = 1e-7 * rng.standard_normal(len(point))
    for function in (circles.objective, circles.constraints):
        value, slope = function(point)
        moved: npt.NDArray[np.float64] = function(point + step)[0]
        assert np.asarray(moved - value) == pytest.approx(np.asarray(slope) @ step, abs=1e-11)


def test_a_polish_of_the_seed_of_circle_packing_gains_most_of_what_there_is(circles: ModuleType) -> None:
    seed: dict[str, object] = {}
    exec((ROOT / "tasks" / "circle_packing" / "seed" / "program.py").read_text(), seed)
    numbers = [value for row in seed["CENTRES"] for value in row]  # type: ignore[attr-defined]
    found = polish.solve(circles.problem(numbers), len(numbers))["numbers"]
    seed["CENTRES"] = list(zip(found[::2], found[1::2], strict=True))
    radii = sum(r for _, _, r in seed["pack"]())  # type: ignore[operator]
    assert radii > 2.4, "from 0.96"
    with pytest.raises(ValueError, match="holds 50 numbers, not 52"):
        circles.problem(numbers[:50])
