"""Each check with a planted fault that it catches and a good case, close to the fault, that it passes.

Most rows are evidence: a good record with one thing planted. `python -m evolve.evaluators.kernels.matrix` prints the table of
docs/kernels.md; tests/kernels/test_matrix.py judges every row, with the check on and off, and holds the page to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from evolve.evaluators.kernels.evidence import Call, KernelEvidence, WorkloadFacts
from evolve.evaluators.kernels.outputs import OutputFacts

Plant = Callable[[KernelEvidence], KernelEvidence]
SECRET = bytes(range(32))
TOLERANCE = {
    "atol": 0.0,
    "rtol": 1e-2,
    "ratio": 0.999,
    "cap": None,
    "negative_inf": False,
    "rms_atol": 1e-2,
    "slices": 0.9,
    "steps": 0,
}
RIGHT = OutputFacts("y", 1.0, 1.0, 0.4, 1e-3, 0.01)


@dataclass(frozen=True, slots=True)
class Row:
    """fault, good: evidence made from a good one; None: the check works on something else, and a test of its own has it.

    alone: with this check off the fault is scored (else another check stops it too, which `note` names). verdict: on the fault.
    """

    check: str
    what: str
    planted: str
    passed: str
    verdict: str
    fault: Plant | None = None
    good: Plant | None = None
    alone: bool = True
    note: str = ""


def evidence() -> KernelEvidence:
    """A good measurement on a GPU: one workload, 10 calls a side of 50 and 100 us, bound 20 us."""
    calls = [
        Call(
            n, side, 0, ("default", "scaled")[n % 2], n // 10, us, us + 900.0, us + 60.0, us + 120.0, held=132, late_us=0.1,
            span_us=us + 4.0, outputs=(RIGHT,), reference_error=(1e-3,),
        )
        for side, us in (("A", 50.0), ("B", 100.0)) for n in range(20)
    ]  # fmt: skip
    return KernelEvidence(
        "planted", "d", "pytorch", "NVIDIA H100 80GB HBM3", "gate", hashlib.sha256(SECRET).hexdigest(), SECRET.hex(),
        (WorkloadFacts("w", {"n": 1}, 20e-6, "declared", hidden=True, tolerance={"y": TOLERANCE}),), tuple(calls),
        census={"load": {"processes": 1}, "end": {"processes": 1, "threads": 3}}, integrity={"changed": []}, sms=132,
        overhead={"flag": 2.0, "copy": 10.0},
    )  # fmt: skip


def ours(**changes: Any) -> Plant:
    """Change these fields in every call of the candidate."""
    return every(lambda call: replace(call, **changes))


def every(change: Callable[[Call], Call], side: str = "A") -> Plant:
    return lambda e: replace(e, calls=tuple(change(c) if c.side == side else c for c in e.calls))


def one(change: Callable[[Call], Call]) -> Plant:
    """Change the last call of the candidate only."""
    last = max(c.n for c in evidence().calls)
    return every(lambda call: change(call) if call.n == last else call)


def with_(**changes: Any) -> Plant:
    return lambda e: replace(e, **changes)


def lie(us: float, clocks: Mapping[str, float]) -> Plant:
    """Claims of `us` microseconds, the referee's clocks as given."""
    return ours(us=us, span_us=0.0, flag_us=clocks["flag"], seen_us=clocks["copy"], wall_us=clocks["done"])


def slow_calls(number: int) -> Plant:
    """Every tenth call takes 500 us, or in `number` cases in all; the median never shows it."""
    return every(lambda c: _slower(c, 450.0) if c.n % 10 < number // 2 else c)


def _slower(call: Call, us: float) -> Call:
    parts = {name: getattr(call, name) + us for name in ("us", "span_us", "flag_us", "seen_us", "wall_us")}
    return replace(call, **parts)


def _wrong(**changes: Any) -> tuple[OutputFacts, ...]:
    return (replace(RIGHT, **changes),)


def extra(name: str, **found: Any) -> Plant:
    return with_(extras={name: {"ran": True, **found}})


ROWS: tuple[Row, ...] = (
    Row("commitment", "the secret is the one committed to before", "another secret revealed", "the committed one", "audit",
        with_(secret=bytes(32).hex()), with_()),
    Row("D1", "plain tensors of the right count, shape, dtype, storage", "a lazy subclass in one call", "a view of its own larger buffer",
        "invalid", one(lambda c: replace(c, structure="structure: output 'y' is a Lazy, not a plain torch.Tensor")), with_()),
    Row("D2", "tolerance against the golden, overall and per slice", "one row of 96 left out in one call", "0.05% of elements off, scattered",
        "invalid", one(lambda c: replace(c, outputs=_wrong(slice=0.0))), one(lambda c: replace(c, outputs=_wrong(matched=0.9995, slice=0.95)))),
    Row("D3", "several value families, hidden sizes for champions", "one family only", "two families", "audit",
        every(lambda c: replace(c, family="default")), with_()),
    Row("D4", "inputs and guard bands untouched (the worker's word)", "an input overwritten", "scratch of its own reused", "invalid",
        one(lambda c: replace(c, notes=("input 0 was changed",))), with_()),
    Row("D5", "champions: same inputs, same answer; compute-sanitizer", "an answer that changes by itself", "0.1% of elements differ within the tolerance",
        "invalid", extra("repeat", differ=[1.0], beyond=["w"]), extra("repeat", differ=[0.001], beyond=[])),
    Row("D6", "not below the physics floor", "19 us where the bound is 20", "19.8 us: scores 1.0 with a note", "audit",
        ours(us=19.0, span_us=23.0, flag_us=79.0, seen_us=139.0, wall_us=919.0), ours(us=19.8, span_us=23.8, flag_us=79.8, seen_us=139.8, wall_us=919.8)),
    Row("D7", "the referee's clocks support the claimed time", "25 us claimed of 50, the clocks unmoved",
        "the slower clock 100 us later, as one process's Python is",
        "invalid", lie(25.0, {"flag": 110.0, "copy": 170.0, "done": 950.0}), ours(wall_us=1050.0)),
    Row("D8", "nobody else on an SM while the gate held it", "a resident kernel on one SM", "one call of twenty with a late block", "audit",
        ours(held=131), one(lambda c: replace(c, held=131))),
    Row("D9", "amortised work: the mean counts where it is above the median", "2 of 10 calls take 500 us for the rest",
        "the first call of a worker slow (warm-up)",
        "the time", slow_calls(4), every(lambda c: replace(_slower(c, 450.0), warm=True) if c.n < 2 else c)),
    Row("D10", "error over the reference's own, against float64", "bfloat16 arithmetic in a float32 problem", "another order of sums: 3 times the error",
        "invalid", ours(outputs=_wrong(error=0.05)), ours(outputs=_wrong(error=0.003))),
    Row("D11", "static screen by syntax tree; compile flags by allow-list", "`import ctypes`", "the word in a comment", "invalid"),
    Row("D12", "no further process left in the session", "a child left behind", "Inductor's threads", "audit",
        with_(census={"load": {"processes": 1}, "end": {"processes": 2}}), with_(census={"load": {"processes": 1}, "end": {"processes": 1, "threads": 40}})),
    Row("D13", "champions: wrong without its own Triton launches", "a kernel launched for show", "no kernel of its own (PyTorch only)", "audit",
        extra("ghost", launches=2, right=["w"]), extra("ghost", launches=0, right=["w"])),
    Row("third clock", "champions: the profiler's span of kernels supports the claim", "60 us of kernels, 50 claimed", "8.3 us seen, 10.8 claimed",
        "invalid", extra("profiler", workloads=[{"workload": "w", "profile_us": 60.0, "us": 50.0}]),
        extra("profiler", workloads=[{"workload": "w", "profile_us": 8.3, "us": 10.8}])),
    Row("D15", "harness functions unchanged (the worker's word; behind D7)", "the event timer replaced", "torch flags set to their present value", "cheat",
        with_(integrity={"changed": ["Driver.elapsed"]}), with_()),
    Row("D16", "null kernels fail on every problem of the pack", "a problem that ignores an input", "the pack's 52", "not asked"),
    Row("N1", "fresh values and addresses at every call", "a cache by content hash", "a buffer reused, recomputed", "invalid or the time"),
    Row("N5", "work that still runs at the end counts", "the kernel on an unjoined stream", "side streams joined by events", "the time",
        ours(us=25.0), with_()),
)  # fmt: skip
"""The rows without `fault` are tested where what they need is: D11 and N1 in the gallery, D16 on the pack."""


def table() -> str:
    """The table of docs/kernels.md."""
    head = ["| check | what | planted fault it catches | good case it passes | on the fault |", "|---|---|---|---|---|"]
    body = [
        f"| {r.check} | {r.what} | {r.planted} | {r.passed} | {r.verdict.upper() if r.fault and r.verdict != 'the time' else r.verdict} |"
        for r in ROWS
    ]
    return "\n".join([*head, *body]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
