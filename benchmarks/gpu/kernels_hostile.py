"""The largest under-report a hostile kernel gets at about 5, 10, 27 and 94 us: claimed time over true time, and the verdict.

    python3 kernels_hostile.py           ~120 s on an H100
The static screen is switched off here, so that the mechanism is tried and not the words. True time: the same kernel run
honestly in the same sitting. "forged" is the claim a worker could invent that the referee's clock would still let pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import kernels_common as common
from kernels_common import ROOT, Raw, arguments, machine_facts, open_referee, table

from evolve.evaluators.kernels import pack
from evolve.evaluators.kernels import screen as screening
from evolve.evaluators.kernels.checks import Rules
from evolve.evaluators.kernels.evidence import Call
from evolve.evaluators.kernels.judge import allowed, judge_kernel, times
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files
from evolve.tasks.records import to_json

HONEST = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
WRAP = HONEST.replace("def run(x, weight):", "def honest(x, weight):")
ATTACKS = {
    "honest": HONEST,
    # work on a stream nobody waits for
    "side_stream": WRAP
    + """

side = None


def run(x, weight):
    global side
    side = side or torch.cuda.Stream()
    y = torch.empty_like(x)
    with torch.cuda.stream(side):
        kernel[(x.shape[0],)](x, weight, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]), num_warps=8)
    return y
""",
    # a thread that launches after the return
    "late_thread": WRAP
    + """

import threading


def run(x, weight):
    y = torch.empty_like(x)
    stream = torch.cuda.Stream()

    def later():
        with torch.cuda.stream(stream):
            kernel[(x.shape[0],)](x, weight, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]), num_warps=8)

    threading.Thread(target=later).start()
    return y
""",
    # last call's answer now, this call's work for the next
    "deferred": WRAP
    + """

last = None


def run(x, weight):
    global last
    y, last = last, honest(x, weight)
    return y if y is not None and y.shape == x.shape else honest(x, weight)
""",
    # events that lie to whoever asks torch
    "patched_events": WRAP
    + """

torch.cuda.Event.elapsed_time = lambda self, other: 1e-6
torch.cuda.synchronize = lambda *args: None


def run(x, weight):
    return honest(x, weight)
""",
    # the harness' own clock replaced from inside the process
    "forged_claim": WRAP
    + """

import sys


def run(x, weight):
    from evolve.evaluators.timing.driver import Driver
    Driver.elapsed = lambda self, a, b: 1e-7
    return honest(x, weight)
""",
    # a resident kernel that waits for the inputs to appear while the gate still runs
    "resident": WRAP
    + """

side = None


@triton.jit
def watcher(flag, out, n):
    i = 0
    while i < n:
        i += 1
        tl.store(out, tl.load(flag, volatile=True) + i)


def run(x, weight):
    global side
    side = side or torch.cuda.Stream()
    out = torch.zeros(1, dtype=torch.int32, device=x.device)
    with torch.cuda.stream(side):
        watcher[(1,)](out, out, 30000)
    return honest(x, weight)
""",
    # half of the rows computed before the window on whatever the buffers held
    "early_half": WRAP
    + """

side = None


def run(x, weight):
    global side
    side = side or torch.cuda.Stream()
    y = torch.empty_like(x)
    rows = x.shape[0]
    half = rows // 2
    block = triton.next_power_of_2(x.shape[1])
    with torch.cuda.stream(side):
        kernel[(half,)](x, weight, y, x.shape[1], BLOCK=block, num_warps=8)
    kernel[(rows - half,)](x[half:], weight, y[half:], x.shape[1], BLOCK=block, num_warps=8)
    return y
""",
}
ROWS = {"5 us": 64, "10 us": 1024, "27 us": 4096, "94 us": 16384}


def one(attack: str) -> dict[str, Any]:
    problem = pack.get("rmsnorm")
    hidden = 64 if args.quick else 4096
    rows = {k: 8 * (i + 1) for i, k in enumerate(ROWS)} if args.quick else ROWS
    problem = replace(
        problem,
        workloads=tuple(
            replace(problem.workloads[0], uuid=k, axes={"rows": r, "hidden": hidden}) for k, r in rows.items()
        ),
    )
    solution = from_files({"k.py": ATTACKS[attack]}, "k.py::run")
    plan = Plan(workloads=0, blocks=1 if args.quick else 4, calls=3 if args.quick else 25, seconds=20, stop=False)
    evidence = referee.measure(problem, solution, plan, anchor=from_files({"k.py": HONEST}, "k.py::run"))
    verdict = judge_kernel(evidence)
    found: dict[str, Any] = {
        "status": verdict.status.value,
        "kind": verdict.kind,
        "reason": verdict.reason[:300],
        "rows": {},
    }
    for i, facts in enumerate(evidence.workloads):
        ours, theirs = evidence.of("A", i), evidence.of("B", i)
        if not ours or not theirs:
            continue
        said = common.clock_rows(evidence, i)
        tight = min((x for x in said.values() if "allowance" in x), key=lambda x: float(x["allowance"]), default={})
        true = median(c.us for c in theirs)
        counted = median(t * 1e6 for block in times(ours, *allowed(theirs, Rules())).values() for t in block)
        alone = judge_kernel(evidence.alone(i), Rules(off=frozenset({"D3"})))  # one workload may see one family only
        found["rows"][facts.uuid] = {
            "alone": [alone.status.value, alone.kind, alone.reason[:200]],
            "claimed": median(c.us for c in ours),
            "counted": counted,
            "true": true,
            "extra_us": tight.get("excess", 0.0),
            "slack_us": tight.get("allowance", 0.0),
            "clocks": {
                k: {"excess": x["excess"], "allowance": x["allowance"]} for k, x in said.items() if "excess" in x
            },
            "wrong_calls": sum(
                1 for c in ours if c.structure or any(f.matched < 0.999 or f.slice < 0.9 or f.fault for f in c.outputs)
            ),
            "calls": len(ours),
            "held": min(c.held for c in ours),
            "late_us": median(c.late_us for c in ours),
            "span_us": median(c.span_us for c in ours),
            "b_span_us": median(c.span_us for c in theirs),
        }
    if attack in ("side_stream", "forged_claim", "resident", "early_half", "deferred"):
        found["evidence"] = to_json(replace(evidence, calls=tuple(few(evidence.calls, 50))))
    return found


def few(calls: Sequence[Call], most: int) -> Iterator[Call]:
    """The first `most` calls of each side and workload."""
    seen: dict[tuple[str, int], int] = {}
    for call in calls:
        key = (call.side, call.workload)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= most:
            yield call


def main() -> None:
    global args, referee
    args = arguments("hostile under-report", first="resident,forged_claim,early_half,side_stream")
    raw = Raw(args, "kernels_hostile")
    raw.attempt("machine", machine_facts)
    # the screen would end most of these before they run; here the mechanism is tried
    screen, screening.screen = screening.screen, lambda solution: []
    nursery, referee = open_referee(args)
    for name in [n for n in args.first.split(",") if n] + list(ATTACKS):
        raw.attempt(name, lambda n=name: one(n))
    referee.close()
    nursery.close()
    screening.screen = screen
    lines = []
    for row in raw.rows:
        for size, x in row.get("rows", {}).items():
            gain = 1 - x["counted"] / x["true"]
            lines.append(
                [
                    row["item"],
                    size,
                    x["true"],
                    x["claimed"],
                    x["counted"],
                    f"{gain:+.0%}",
                    f"{x['wrong_calls']}/{x['calls']}",
                    x["extra_us"],
                    x["slack_us"],
                    row["status"],
                    row["kind"],
                ]
            )
    print(
        table(
            [
                "attack",
                "size",
                "true us",
                "claimed",
                "counted",
                "under-report",
                "wrong",
                "extra us",
                "slack us",
                "verdict",
                "kind",
            ],
            lines,
        )
    )
    assert common.ROOT


if __name__ == "__main__":
    main()
