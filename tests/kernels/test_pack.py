"""The pack: every problem admitted, its reference right, its seed what was generated, its hidden workloads legal."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import admission, bounds, inputs, pack  # noqa: E402
from evolve.evaluators.kernels.compare import compare, golden, outputs_of, reference  # noqa: E402
from evolve.evaluators.kernels.outputs import passes, why  # noqa: E402

pytestmark = pytest.mark.torch
NAMES = list(pack.load())


def test_there_are_at_least_48_problems_of_every_family() -> None:
    assert len(NAMES) >= 48
    families = {p.family for p in pack.load().values()}
    assert families == {"norm", "activation", "rope", "loss", "gemm", "attention", "moe", "scan", "misc"}


@pytest.mark.parametrize("name", NAMES)
def test_null_kernels_fail(name: str) -> None:
    assert admission.slipping(pack.get(name)) == []


def test_admission_notices_a_problem_that_ignores_an_input() -> None:
    problem = pack.get("rmsnorm")
    source = problem.definition.reference.replace("* weight.to(acc)", "")
    broken = replace(problem, definition=replace(problem.definition, reference=source))
    assert "ignores weight" in admission.slipping(broken)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_passes_its_own_check(name: str) -> None:
    problem = pack.get(name)
    run = reference(problem)
    for workload in problem.tiny:
        for family in inputs.FAMILIES:
            given = inputs.make(problem, workload, 5, family)
            right, exact = golden(problem, run, given, "cpu")
            assert exact or not any(x.is_floating_point() for x in right)
            got = outputs_of(run(*given.values()), list(problem.definition.outputs))
            for (output, spec), x, y in zip(problem.definition.outputs.items(), got, right, strict=True):
                tolerance = problem.tolerance(workload, output)
                facts = compare(output, x, y, tolerance, spec.dtype)
                assert passes(facts, tolerance), f"{family}: {why(facts, tolerance)}"


@pytest.mark.parametrize("name", NAMES)
def test_hidden_workloads_are_drawn_from_the_secret(name: str) -> None:
    problem = pack.get(name)
    assert problem.draw is not None
    drawn = [problem.draw(random.Random(i)) for i in range(8)]
    assert problem.draw(random.Random(3)).axes == drawn[3].axes
    assert len({tuple(w.axes.items()) for w in drawn}) > 2
    for workload in drawn:
        assert bounds.bound(problem, workload, bounds.MACHINES["H100"]).seconds > 0


def test_the_seed_is_what_the_pack_generates() -> None:
    folder = Path(pack.__file__).resolve().parents[2] / "tasks/sol_execbench/seed/kernels"
    assert sorted(p.stem for p in folder.glob("*.py")) == sorted(NAMES)
    for name in NAMES:
        assert (folder / f"{name}.py").read_text() == pack.seed_source(pack.get(name)), (
            f"{name}: run the pack's --write"
        )
