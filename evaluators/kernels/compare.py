"""Is an output right? Against a float64 (or exact) golden, element by element and slice by slice (D2, D10)."""

from __future__ import annotations

import linecache
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evolve.evaluators.kernels.definition import Problem, Tolerance
from evolve.evaluators.kernels.inputs import dtype_of
from evolve.evaluators.kernels.outputs import OutputFacts

SLICE = 8
"""Slices of fewer elements are left to the overall ratio: one tie would be an eighth of them."""


def reference(problem: Problem) -> Any:
    """The compiled `run` of a problem's reference. Runs trusted code only: a problem's, never a candidate's."""
    scope: dict[str, Any] = {"__name__": f"reference_of_{problem.name}"}
    text, file = problem.definition.reference, f"<reference of {problem.name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # a Triton reference reads its own source
    exec(compile(text, file, "exec"), scope)
    return scope["run"]


def outputs_of(result: Any, names: Sequence[str]) -> list[Any]:
    """A reference's answer (tensor, tuple, list or dict) as a list in output order."""
    if isinstance(result, Mapping):
        return [result[name] for name in names]
    if isinstance(result, tuple | list):
        return list(result)
    return [result]


def golden(problem: Problem, run: Any, inputs: Mapping[str, Any], device: str) -> tuple[list[torch.Tensor], bool]:
    """Right answers for these inputs and whether they were computed in float64.

    A foreign reference that names float32 itself stays in its own precision; then D10 has nothing to measure against.
    """
    names = list(problem.definition.outputs)
    wide = {n: v.to(torch.float64) if _wide(v) else v for n, v in inputs.items()}
    try:
        answers = [_tensor(x, device) for x in outputs_of(run(*wide.values()), names)]
        exact = all(a.dtype == torch.float64 for a in answers if a.is_floating_point())
    except (RuntimeError, TypeError, AssertionError, ValueError, NotImplementedError) as error:
        if problem.golden:
            raise
        answers, exact = [], False
        del error
    if not exact:
        clones = [v.clone() if isinstance(v, torch.Tensor) else v for v in inputs.values()]
        answers = [_tensor(x, device) for x in outputs_of(run(*clones), names)]
    return answers, exact


def _wide(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype.itemsize > 1


def _tensor(value: Any, device: str) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(value, device=device)


def compare(name: str, got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance, dtype: str = "") -> OutputFacts:
    """One output against its golden answer; `got` is a plain tensor the referee owns."""
    if tuple(got.shape) != tuple(want.shape):
        return OutputFacts(name, fault="shape", detail=f"{list(got.shape)}, not {list(want.shape)}")
    if dtype and got.dtype != dtype_of(dtype):
        return OutputFacts(name, fault="dtype", detail=f"{str(got.dtype).removeprefix('torch.')}, not {dtype}")
    if got.numel() == 0:
        return OutputFacts(name, 1.0, 1.0, 0.0, 0.0, 0.0)
    if not want.is_floating_point():
        return _whole(name, got, want, tolerance)
    x = got.to(torch.float64 if want.dtype == torch.float64 else torch.float32)
    y = want.to(x.dtype)
    facts = _finite(name, x, y, tolerance)
    if all(math.isfinite(v) for v in (facts.error, facts.worst, facts.largest)):
        return facts  # most outputs are finite, and each look at them costs a pass and a wait
    if bool(torch.isnan(x).any()):
        return OutputFacts(name, fault="nan", detail=f"{int(torch.isnan(x).sum())} of {x.numel()} elements are NaN")
    if fault := _infinite(name, x, y, tolerance):
        return fault
    finite = torch.isfinite(y)
    return _finite(name, torch.where(finite, x, 0.0), torch.where(finite, y, 0.0), tolerance)


def _finite(name: str, x: torch.Tensor, y: torch.Tensor, tolerance: Tolerance) -> OutputFacts:
    """Of finite numbers, with one wait for the device; where some are not, `error`, `worst` or `largest` is not either."""
    off = (x - y).abs_()
    norm, distance, largest = y.norm(), off.norm(), off.max()
    floor = norm * (tolerance.rms_atol / math.sqrt(y.numel())) + max(tolerance.atol, torch.finfo(x.dtype).tiny)
    share = off.div_(torch.add(floor, y.abs(), alpha=tolerance.rtol))
    good = share <= 1
    n, d, most, worst, hits = torch.stack([f.double() for f in (norm, distance, largest, share.max(), good.sum())]).tolist()
    if n > 0 and d == n and not bool(x.any()):  # all zeros are as far from the answer as it is large
        good, hits = torch.zeros_like(good), 0
    matched = hits / good.numel()
    return OutputFacts(name, matched, 1.0 if matched == 1.0 else _slice(good), worst, d / n if n > 0 else d, most)


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    """||got - want|| / ||want||, `error` of `OutputFacts` and nothing else of it; inf for shapes that differ or no numbers.

    0.0 where there is nothing to compare.
    """
    if tuple(got.shape) != tuple(want.shape):
        return math.inf
    if got.numel() == 0:
        return 0.0
    y = want.double()
    x = got.to(y.dtype)
    off, norm = torch.stack([(x - y).norm(), y.norm()]).tolist()
    if not math.isfinite(off) or not math.isfinite(norm):  # infinities in the same places are no error
        off, norm = torch.stack([torch.where(x == y, 0.0, x - y).norm(), torch.where(y.isfinite(), y, 0.0).norm()]).tolist()
    if not math.isfinite(off):
        return math.inf
    return float(off / norm if norm > 0 else off)


def _infinite(name: str, x: torch.Tensor, y: torch.Tensor, tolerance: Tolerance) -> OutputFacts | None:
    infinite = torch.isinf(x)
    if not bool(infinite.any()) and not bool(torch.isinf(y).any()):
        return None
    if tolerance.negative_inf and bool((infinite == torch.isinf(y)).all()) and not bool((x == math.inf).any()):
        return None
    return OutputFacts(name, fault="inf", detail=f"{int(infinite.sum())} elements are infinite")


def _whole(name: str, got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance) -> OutputFacts:
    off = (got.to(torch.int64) - want.to(torch.int64)).abs()
    good = off <= tolerance.steps
    largest = float(off.max())
    norm = float(want.double().norm())
    error = float(off.double().norm()) / norm if norm > 0 else float(off.double().norm())
    return OutputFacts(
        name, float(good.double().mean()), _slice(good), largest / max(tolerance.steps, 1), error, largest
    )


def _slice(good: torch.Tensor) -> float:
    """Smallest share of matching elements over any index of any axis whose slices have SLICE elements or more."""
    least = 1.0
    for axis in range(good.ndim):
        if good.shape[axis] > 1 and good.numel() // good.shape[axis] >= SLICE:
            others = [i for i in range(good.ndim) if i != axis]
            counts = good.sum(dim=others)
            least = min(least, float(counts.min()) * good.shape[axis] / good.numel())
    return least
