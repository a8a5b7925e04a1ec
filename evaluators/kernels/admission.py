"""Problem admission (D16): kernels that compute nothing must fail on every problem, or the problem is not asked.

zeros, ones, mean            outputs that ignore everything
copy                         an input handed back where shape and dtype fit
last                         the output of the previous inputs
tail, scatter                the last 1/64 of the elements, or 1 in 100 of them, left out
rounded                      a float32 answer rounded to bfloat16
ignores <input>              the right function of inputs of which one was exchanged for other values
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from evolve.evaluators.kernels import inputs as values
from evolve.evaluators.kernels.compare import compare, golden, reference
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.outputs import passes


def slipping(problem: Problem, workloads: tuple[Workload, ...] = (), device: str = "cpu") -> list[str]:
    """Names of null kernels that pass on every workload and family tried: empty for a problem fit to be asked."""
    survivors: dict[str, bool] = {}
    run = reference(problem)
    for number, workload in enumerate(workloads or problem.tiny or problem.workloads[:1]):
        for family in values.FAMILIES:
            given = values.make(problem, workload, 1 + number, family, device)
            right, _ = golden(problem, run, given, device)
            for name, wrong in nulls(problem, workload, run, given, right, family, device):
                survivors[name] = survivors.get(name, True) and _accepted(problem, workload, wrong, right)
    return sorted(name for name, passed in survivors.items() if passed)


def nulls(
    problem: Problem,
    workload: Workload,
    run: Any,
    given: Mapping[str, Any],
    right: list[torch.Tensor],
    family: str,
    device: str,
) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """Every null kernel's outputs for one call, in the outputs' own dtypes."""
    dtypes = [values.dtype_of(spec.dtype) for spec in problem.definition.outputs.values()]
    stored = [r.to(d) for r, d in zip(right, dtypes, strict=True)]
    yield "zeros", [torch.zeros_like(x) for x in stored]
    yield "ones", [torch.ones_like(x) for x in stored]
    yield "mean", [torch.full_like(x, x.double().mean().item()) for x in stored]
    yield "tail", [_without_tail(x) for x in stored]
    yield "scatter", [_scattered(x) for x in stored]
    if any(x.dtype == torch.float32 for x in stored):
        yield "rounded", [x.to(torch.bfloat16).to(x.dtype) if x.dtype == torch.float32 else x for x in stored]
    yield "last", _run(problem, run, values.make(problem, workload, 7919, family, device), dtypes, device)
    for name, value in given.items():
        if isinstance(value, torch.Tensor) and any(value.shape == x.shape and value.dtype == x.dtype for x in stored):
            yield f"copy {name}", [value if value.shape == x.shape and value.dtype == x.dtype else x for x in stored]
    other = values.make(problem, workload, 104729, family, device)
    for name, value in given.items():
        if isinstance(value, torch.Tensor) or value != other[name]:
            if workload.inputs[name].kind == "scalar":
                continue
            yield f"ignores {name}", _run(problem, run, {**given, name: other[name]}, dtypes, device)


def _run(
    problem: Problem, run: Any, given: Mapping[str, Any], dtypes: list[torch.dtype], device: str
) -> list[torch.Tensor]:
    answers, _ = golden(problem, run, given, device)
    return [a.to(d) for a, d in zip(answers, dtypes, strict=True)]


def _without_tail(x: torch.Tensor) -> torch.Tensor:
    out = x.clone().flatten()
    out[-max(out.numel() // 64, 1) :] = 0
    return out.reshape(x.shape)


def _scattered(x: torch.Tensor) -> torch.Tensor:
    out = x.clone().flatten()
    out[:: min(100, max(out.numel() // 2, 1))] = 0
    return out.reshape(x.shape)


def _accepted(problem: Problem, workload: Workload, got: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    specs = problem.definition.outputs.items()
    return all(
        x.shape == r.shape
        and passes(
            compare(name, x, r, problem.tolerance(workload, name), spec.dtype), problem.tolerance(workload, name)
        )
        for (name, spec), x, r in zip(specs, got, right, strict=True)
    )
