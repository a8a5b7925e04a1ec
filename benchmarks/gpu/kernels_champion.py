"""Champions' further checks on a card: repeats, launches left out, torch's profiler as third clock, compute-sanitizer.

    python3 kernels_champion.py          ~200 s on an H100
Honest Triton kernels must pass them all; a kernel with a race and one with a read out of bounds must be found by the sanitizer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, open_referee, table

from evolve.evaluators.kernels import pack
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import from_files

HONEST = ("rmsnorm", "softmax", "swiglu", "gemm_square", "cross_entropy")
TEXT = (ROOT / "benchmarks/kernels/triton/rmsnorm.py").read_text()
PLANTED = {
    # reads far behind the weight's end and multiplies by nothing of it
    "out of bounds": TEXT.replace("h * scale * tl.load(w + at,", "h * scale * tl.load(w + at + 0 * tl.load(w + at + (1 << 24)).to(tl.int32),"),
    # its own launch is not needed: PyTorch makes the answer
    "decoy": TEXT.replace("def run(", "def shown(")
    + "\n\ndef run(x, weight):\n    shown(x, weight)\n    h = x.float()\n    r = torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)\n"
    + "    return (h * r * weight.float()).to(x.dtype)\n",
}  # fmt: skip


def one(problem_name: str, text: str) -> dict[str, Any]:
    problem = pack.get(problem_name)
    problem = replace(problem, workloads=problem.tiny if args.device == "cpu" else problem.workloads[1:3])
    plan = Plan(blocks=2, calls=4, seconds=60, champion=True)
    evidence = referee.measure(problem, from_files({"k.py": text}, "k.py::run"), plan)
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
    for name in HONEST[:1] if args.quick else HONEST:
        text = (ROOT / f"benchmarks/kernels/triton/{name}.py").read_text()
        raw.attempt(f"honest {name}", lambda n=name, t=text: one(n, t))
    for name, text in PLANTED.items():
        raw.attempt(f"planted {name}", lambda t=text: one("rmsnorm", t))
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
