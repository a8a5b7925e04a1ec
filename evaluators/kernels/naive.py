"""An evaluator with the usual holes (reference and judge in the candidate's process, fixed seed, timed calls not validated).

Every cheat of the gallery (testing.py) gains on it, which shows that the gallery bites. For tests only.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evolve.evaluators.kernels.definition import Problem, Tolerance


@dataclass
class Naive:
    """What the usual evaluator believes: `passed` and the work it measured (sine operations a timed call)."""

    passed: bool
    work: float
    error: str = ""
    outputs: list[Any] = field(default_factory=list)


def naive(source: str, problem: Problem, calls: int = 12) -> Naive:
    """Upstream's habits in one function: everything in one process, seed 200, ten checked rounds, then timed calls on the
    last round's values whose results nobody looks at. Only for gallery cases: it runs them in this process.

    Cost is counted (elements put through torch.sin in timed calls), so that the figure repeats.
    """
    import time

    import torch as library

    import __main__
    from evolve.evaluators.kernels.compare import compare, reference
    from evolve.evaluators.kernels.outputs import passes

    main: Any = __main__
    torch: Any = library
    clocks: Any = time

    run: Callable[..., Any] = reference(problem)
    module = types.ModuleType("naive_candidate")
    work = [0]
    real, allclose, copy, clock = torch.sin, torch.allclose, torch.Tensor.copy_, clocks.perf_counter

    def counted(h: Any) -> Any:
        work[0] += h.numel()
        return real(h)

    torch.sin = counted
    try:
        exec(compile(source, "<gallery>", "exec"), module.__dict__)
        torch.manual_seed(200)
        passed = True
        given: tuple[Any, ...] = ()
        for round_number in range(3 if calls < 10 else 10):
            axes = problem.workloads[0].axes
            given = (torch.randn(axes["rows"], axes["cols"]), torch.randn(axes["cols"]))
            reference_outputs = [run(*given)]
            main._ref_outputs = reference_outputs
            got = module.run(*given)
            rows = got if isinstance(got, tuple | list) else (got.get("y") if isinstance(got, dict) else got,)
            for x, y in zip(rows, reference_outputs, strict=False):
                facts = compare("y", torch.Tensor(x) if round_number else x, y, Tolerance(slices=0.0))
                passed = passed and passes(facts, Tolerance(slices=0.0))
        work[0] = 0
        for _ in range(calls):
            module.run(*given)
        return Naive(passed, work[0] / calls)
    except BaseException as error:  # noqa: BLE001 - a gallery case may raise anything
        return Naive(False, float("inf"), f"{type(error).__name__}: {error}")
    finally:
        torch.sin, torch.allclose, torch.Tensor.copy_ = real, allclose, copy
        clocks.perf_counter = clock
        torch.set_default_dtype(torch.float32)
