"""Problems nobody here wrote; solutions and traces; expressions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from evolve.evaluators.kernels import expressions, formats
from evolve.evaluators.kernels.definition import Problem
from evolve.tasks.errors import UsageError
from tests.support import require

DATA = Path(os.environ.get("EVOLVE_TEST_DATA", "")) / "kernels"
needs_data = pytest.mark.skipif(
    not os.environ.get("EVOLVE_TEST_DATA") or not DATA.is_dir(), reason="EVOLVE_TEST_DATA names no kernels/"
)


def foreign() -> list[Problem]:
    return formats.load(DATA / "nvidia_examples") + formats.load(DATA / "flashinfer_trace")


@needs_data
def test_all_38_problems_load_and_survive_a_round_trip() -> None:
    index = json.loads((DATA / "index.json").read_text())
    problems = foreign()
    assert len(problems) == len(index) == 38
    assert sum(len(p.workloads) for p in problems) == sum(row["workloads"] for row in index)
    for problem in problems:
        again = formats.definition_from_json(formats.definition_to_json(problem.definition))
        assert again.digest() == problem.definition.digest()
        for workload in problem.workloads:
            assert formats.workload_from_json(formats.workload_to_json(workload), again).axes == workload.axes


@needs_data
@pytest.mark.torch
def test_references_without_blobs_run_and_pass_scaled_down() -> None:
    require("torch")
    from evolve.evaluators.kernels import inputs
    from evolve.evaluators.kernels.compare import compare, golden, outputs_of, reference
    from evolve.evaluators.kernels.outputs import passes, why

    ran = 0
    index = {row["dir"]: row for row in json.loads((DATA / "index.json").read_text())}
    for problem in foreign():
        row = next(
            r for d, r in index.items() if d.removesuffix("/definition.json") in problem.source or d in problem.source
        )
        if row["needs_blobs"] or not row["hopper_ok"] or "triton" in formats.imports_of(problem.definition.reference):
            continue  # a Triton reference needs a GPU (or its interpreter, chosen before triton is imported)
        sizes = [problem.definition.sizes(w.axes) for w in problem.workloads]
        weights = [sum(problem.definition.nbytes(s, z) for s in problem.definition.inputs.values()) for z in sizes]
        workload = problem.workloads[weights.index(min(weights))]
        if min(weights) > 300 << 20:
            continue
        given = inputs.make(problem, workload, 3)
        run = reference(problem)
        right, _ = golden(problem, run, given, "cpu")
        got = outputs_of(run(*given.values()), list(problem.definition.outputs))
        for (name, spec), x, y in zip(problem.definition.outputs.items(), got, right, strict=True):
            facts = compare(name, x, y, workload.tolerance, spec.dtype)
            assert passes(facts, workload.tolerance), f"{problem.name}: {why(facts, workload.tolerance)}"
        ran += 1
    assert ran >= 20


def test_expressions_are_arithmetic_and_nothing_else() -> None:
    assert expressions.evaluate("(a + 3) // 2 * b", {"a": 5, "b": 7}) == 28
    for text in ("__import__('os')", "a.b", "a if b else c", "10 ** 40", "a / 2", "c + 1", "1 // 0"):
        with pytest.raises(UsageError):
            expressions.evaluate(text, {"a": 5, "b": 7})


def _definition(**changes: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "axes": {"n": {"type": "var"}},
        "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
        "outputs": {"y": {"shape": ["n"], "dtype": "float32"}},
        "reference": "def run(x):\n    return x\n",
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "def go(x):\n    return x\n"},
        {"reference": "def run(z):\n    return z\n"},
        {"reference": "def run(x"},
        {"inputs": {"x": {"shape": ["m"], "dtype": "float32"}}},
        {"inputs": {"x": {"shape": ["n"], "dtype": "complex64"}}},
        {"outputs": {"x": {"shape": ["n"], "dtype": "float32"}}},
        {"custom_inputs_entrypoint": "nowhere"},
        {"outputs": {}},
    ],
)
def test_a_broken_definition_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="t: "):
        formats.definition_from_json(_definition(**changes))
    formats.definition_from_json(_definition())


def test_custom_inputs_are_all_or_nothing() -> None:
    definition = formats.definition_from_json(
        _definition(
            inputs={"x": {"shape": ["n"], "dtype": "float32"}, "z": {"shape": ["n"], "dtype": "float32"}},
            reference="def run(x, z):\n    return x\n",
        )
    )
    row = {"uuid": "u", "axes": {"n": 3}, "inputs": {"x": {"type": "custom"}, "z": {"type": "random"}}}
    with pytest.raises(UsageError, match="all or nothing"):
        formats.workload_from_json(row, definition)


def test_solutions_and_traces_follow_upstreams_rules() -> None:
    made = formats.solution("t", {"k.py": "x"}, "k.py::run", languages=["triton"])
    assert made["spec"]["destination_passing_style"] is False and made["sources"] == [{"path": "k.py", "content": "x"}]
    for bad in ({"languages": ["triton", "cuda_cpp"]}, {"languages": ["perl"]}):
        with pytest.raises(UsageError):
            formats.solution("t", {"k.py": "x"}, "k.py::run", **bad)
    with pytest.raises(UsageError, match="relative"):
        formats.solution("t", {"k.py": "x", "../e.py": "y"}, "k.py::run", languages=["triton"])
    with pytest.raises(UsageError, match="needs performance"):
        formats.trace(
            "t", {}, "s", "PASSED", hardware="H100", libraries={}, correctness=formats.correctness_block(0, 0)
        )
    with pytest.raises(ValueError):
        formats.trace(
            "t",
            {},
            "s",
            "INCORRECT_NUMERICAL",
            hardware="H100",
            libraries={},
            correctness={"max_relative_error": float("nan")},
        )
    assert formats.content_hash({"a": "bc"}) != formats.content_hash({"ab": "c"})


def test_parquet_of_json_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    row = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in _definition().items()}
    row["workloads"] = json.dumps([{"uuid": "u", "axes": {"n": 4}, "inputs": {"x": {"type": "random"}}}])
    parquet.write_table(pyarrow.table({k: [v] for k, v in row.items()}), tmp_path / "L1.parquet")
    (problem,) = formats.load(tmp_path / "L1.parquet")
    assert problem.name == "t" and problem.workloads[0].axes == {"n": 4}


KERNELBENCH = """
import torch

class Model(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        return torch.relu(x) * self.k

def get_inputs():
    return [torch.randn(4, 5)]

def get_init_inputs():
    return [3]
"""


@pytest.mark.torch
def test_a_kernelbench_module_becomes_a_problem(tmp_path: Path) -> None:
    require("torch")
    file = tmp_path / "relu.py"
    file.write_text(KERNELBENCH)
    problem = formats.load_kernelbench(file)
    assert problem.definition.inputs["x"].shape == ("4", "5") and problem.definition.outputs["out0"].dtype == "float32"
