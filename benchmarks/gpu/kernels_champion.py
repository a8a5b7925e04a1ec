"""Champions' further checks on a card: repeats, launches left out, torch's profiler as third clock, compute-sanitizer.

    python3 kernels_champion.py          ~25 s on an H100 without the tools, ~40 s more for each kernel with them
Honest Triton kernels must pass them all; a decoy's launches are not needed (ghost), a kernel on an unjoined stream claims less than the profiler
sees, a read out of bounds is found by compute-sanitizer. The tools (sanitizer, ncu) start processes of their own, so they come last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, open_referee, table

from evolve.evaluators.kernels import extras, pack
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files

HONEST = ("rmsnorm", "softmax", "swiglu", "gemm_square", "cross_entropy")
TEXT = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
# reads the weight's length past its end, and makes something of it that no compiler can know to be nothing
BEYOND = TEXT.replace("    tl.store(", "    odd = tl.load(w + at + hidden, mask=mask).to(tl.float32) == 2.0**121\n    tl.store(", 1).replace(
    "(h * scale *", "(tl.where(odd, 1.0, 0.0) + h * scale *", 1
)
PLANTED = {
    # its own launch is not needed: PyTorch makes the answer
    "decoy": TEXT.replace("def run(", "def shown(")
    + "\n\ndef run(x, weight):\n    shown(x, weight)\n    h = x.float()\n    r = torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)\n"
    + "    return (h * r * weight.float()).to(x.dtype)\n",
    # done on a stream that nobody joins
    "unjoined stream": TEXT.replace("def run(", "def work(")
    + "\n\nside = None\n\n\ndef run(x, weight):\n    global side\n    side = side or torch.cuda.Stream()\n"
    + "    with torch.cuda.stream(side):\n        return work(x, weight)\n",
}  # fmt: skip


def one(problem_name: str, text: str, tools: bool = False) -> dict[str, Any]:
    problem = pack.get(problem_name)
    problem = replace(problem, workloads=problem.tiny if args.device == "cpu" else problem.workloads[1:3])
    plan = Plan(blocks=2, calls=4, seconds=60, champion=True)
    kept = extras.sanitizer.check, extras.counters.check
    if not tools:
        extras.sanitizer.check = extras.counters.check = lambda *unused: {"ran": False, "why": "left to the items with tools"}
    try:
        evidence = referee.measure(problem, from_files({"k.py": text}, "k.py::run"), plan)
    finally:
        extras.sanitizer.check, extras.counters.check = kept
    verdict = judge_kernel(evidence)
    return {
        "status": verdict.status.value,
        "kind": verdict.kind,
        "reason": verdict.reason[:500],
        "extras": dict(evidence.extras),
        "fault": evidence.fault.message[:500] if evidence.fault else "",
    }


def main() -> None:
    global args, referee
    args = arguments("champions' further checks")
    raw = Raw(args, "kernels_champion")
    raw.attempt("machine", machine_facts)
    nursery, referee = open_referee(args)
    texts = {name: (ROOT / f"benchmarks/kernels/triton/{name}.py").read_text() for name in HONEST}
    for name in HONEST[:1] if args.quick else HONEST:
        raw.attempt(f"honest {name}", lambda n=name: one(n, texts[n]))
    for name, text in PLANTED.items():
        raw.attempt(f"planted {name}", lambda t=text: one("rmsnorm", t))
    raw.attempt("tools honest rmsnorm", lambda: one("rmsnorm", TEXT, True))
    raw.attempt("tools planted out of bounds", lambda: one("rmsnorm", BEYOND, True))
    referee.close()
    nursery.close()
    lines = []
    for row in raw.rows:
        if "extras" in row:
            seen = row["extras"]
            third = [(round(w["us"], 1), round(w["profile_us"], 1)) for w in seen.get("profiler", {}).get("workloads", ())]
            ran = [name for name in seen if seen[name].get("ran")]
            lines.append([row["item"], row["status"], row["kind"], third or "-", ran, (row["reason"] or row["fault"])[:60]])
    print(table(["kernel", "verdict", "kind", "claim, profile us", "ran", "reason"], lines))


if __name__ == "__main__":
    main()
