"""The whole pack: every reference and torch.compile of it (max-autotune for products with --autotune 1), two workloads each.

    python3 kernels_pack.py --budget 440             resumes with --resume earlier.jsonl; ~5 s a problem on an H100
Writes what `Baselines` needs: seconds per variant and workload. Names in --only are taken first.

References and torch.compile are trusted, so workers are plain forks here, and many processes compile first, into caches that
the workers share (--compilers; a minute on 16 cores; 0 leaves it to the workers, one problem after another).
"""

from __future__ import annotations

import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from kernels_common import Raw, arguments, machine_facts, mine, open_referee, table

from evolve.evaluators.kernels import baseline, inputs, pack
from evolve.evaluators.kernels.bench import layout
from evolve.evaluators.kernels.definition import Problem
from evolve.evaluators.kernels.judge import judge_kernel
from evolve.evaluators.kernels.outputs import passes
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.sides import Side, Sides
from evolve.tasks.records import to_json


def chosen(name: str) -> Problem:
    problem = pack.get(name)
    return replace(
        problem, workloads=problem.tiny if args.device == "cpu" else (problem.workloads[2], problem.workloads[3])
    )


def caches() -> dict[str, str]:
    return {"TORCHINDUCTOR_CACHE_DIR": f"{args.caches}/inductor", "TRITON_CACHE_DIR": f"{args.caches}/triton"}


def compile_one(job: tuple[str, str]) -> str:
    """Compile one variant on both workloads into the shared caches; a failure here shows again, and counts, in its worker."""
    import torch

    name, variant = job
    try:
        problem = chosen(name)
        path = Path(args.caches) / f"{name}_{variant.replace('-', '_')}.py"
        path.write_text(baseline.variant(problem, variant).sources["reference.py"])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dynamo looks a function's module up by name
        spec.loader.exec_module(module)
        torch.set_grad_enabled(False)
        for workload in problem.workloads:
            given = inputs.make(problem, workload, 1, "default", args.device)
            module.run(*[v.clone() if isinstance(v, torch.Tensor) else v for v in given.values()])
            del given
        return ""
    except Exception as error:  # noqa: BLE001 - one problem that does not compile must not end the sitting
        return f"{name} {variant}: {type(error).__name__}: {str(error)[:200]}"
    finally:
        if args.device == "cuda":
            torch.cuda.empty_cache()


def compile_apart(job: tuple[str, str]) -> str:
    """One job in a process of its own; one that does not end says where it stands and is ended."""
    said = Path(args.caches) / f"{job[0]}-{job[1]}.said"
    process = multiprocessing.get_context("forkserver").Process(target=_compiling, args=(args, job, str(said)))
    process.start()
    process.join(args.each)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGUSR1)
        time.sleep(1.0)
        process.kill()
        process.join()
        return f"{job[0]} {job[1]}: not compiled after {args.each} s: {said.read_text()[:1500]}"
    return said.read_text() if process.exitcode == 0 else f"{job[0]} {job[1]}: exit code {process.exitcode}"


def _compiling(given: Any, job: tuple[str, str], said: str) -> None:
    global args
    args = given
    with Path(said).open("w") as file:
        faulthandler.register(signal.SIGUSR1, file, all_threads=True)
        file.write(compile_one(job))


def compile_all(jobs: list[tuple[str, str]]) -> dict[str, Any]:
    """`--compilers` processes at a time."""
    began = time.monotonic()
    Path(args.caches).mkdir(parents=True, exist_ok=True)
    os.environ.update(caches(), TORCHINDUCTOR_COMPILE_THREADS="1", OMP_NUM_THREADS="2")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "triton"])
    with ThreadPoolExecutor(args.compilers) as pool:
        failed = [said for said in pool.map(compile_apart, jobs) if said]
    return {"jobs": len(jobs), "failed": failed, "wall": round(time.monotonic() - began, 1)}


class Pool(Sides):
    """Workers that serve one problem after another: starting one and importing the compiler would take most of the time.

    Right for what is trusted only: a candidate gets a process of its own.
    """

    def __init__(self, *rest: Any, size: int) -> None:
        super().__init__(*rest)
        self.size = size
        self.idle: list[Side] = []
        self.all: list[Side] = []

    def open(self, name: str, size: int) -> Side:
        if size > self.size:
            raise MemoryError(f"a problem needs {size} bytes of shared memory, the pool's workers have {self.size}")
        if not self.idle:
            self.idle.append(super().open(name, self.size))
            self.all.append(self.idle[-1])
        side = self.idle.pop()
        side.name, side.seen = name, {}
        return side

    def end(self, side: Side) -> None:
        if side in self.all and Path(f"/proc/{side.link.pid}").exists():
            self.idle.append(side)

    def close(self) -> None:
        for side in self.all:
            super().end(side)
        self.all, self.idle = [], []


def one(name: str, variant: str) -> dict[str, Any]:
    problem = chosen(name)
    solution = baseline.variant(problem, variant)
    plan = Plan(blocks=2, calls=2 if args.quick else 5, seconds=150, warm=2)
    try:
        evidence = referee.measure(problem, solution, plan)
    except BaseException:
        referee.sides.close()  # whatever state its workers are in, the next problem gets new ones
        raise
    if evidence.fault:
        referee.sides.close()
    verdict = judge_kernel(evidence)
    wrong = sum(
        not passes(facts, problem.tolerance(problem.workloads[c.workload], facts.name))
        for c in evidence.of("B", timed=False)
        for facts in c.outputs
    )
    times = {
        w.uuid: {
            "A": median(c.us for c in evidence.of("A", i)) * 1e-6,
            "B": median(c.us for c in evidence.of("B", i)) * 1e-6,
        }
        for i, w in enumerate(evidence.workloads)
        if evidence.of("A", i) and evidence.of("B", i)
    }
    return {
        "status": verdict.status.value,
        "kind": verdict.kind,
        "reason": verdict.reason[:600],
        "score": verdict.score,
        "times": times,
        "reference": {"calls": len(evidence.of("B", timed=False)), "wrong": wrong},
        "speedup": verdict.speedup,
        "headroom": verdict.headroom,
        "definition": problem.definition.digest(),
        "device": evidence.device,
        "axes": {w.uuid: dict(w.axes) for w in evidence.workloads},
        "bound": {w.uuid: w.bound for w in evidence.workloads},
        "workloads": [to_json(w) for w in verdict.workloads],
        "libraries": dict(evidence.libraries),
    }


def main() -> None:
    global args, referee
    args = arguments("the pack's references and torch.compile", only="", autotune=0, compilers=14, each=60, caches="")
    args.workers = "fork"
    args.caches = args.caches or tempfile.mkdtemp(prefix="pack-caches-")
    raw = Raw(args, "kernels_pack")
    raw.attempt("machine", machine_facts)
    listed = list(pack.load())
    first = [n for n in args.only.split(",") if n]
    names = [n for k, n in enumerate([*first, *(n for n in listed if n not in first)]) if mine(args, k)]
    variants = ("eager", "compile") if args.device == "cuda" else ("eager",)
    wanted = [(n, "compile") for n in names if args.device == "cuda" and not raw.done(f"{n} compile")]
    wanted += [(n, "max-autotune") for n in names if args.autotune and n.startswith("gemm")]
    if args.compilers and wanted:
        print(
            "compiled:", raw.attempt(f"compilation {args.part} {len(wanted)}", lambda: compile_all(wanted)), flush=True
        )
    more = {**caches(), "TORCHINDUCTOR_COMPILE_THREADS": "1"} if args.compilers else {}
    nursery, referee = open_referee(args, more=more)
    size = max(layout(chosen(n), w)[2] for n in names for w in chosen(n).workloads) + (1 << 20)
    referee.sides = Pool(nursery, referee.device, referee.bench, referee.env, size=size)
    # the compiled variant first: the reference runs beside it, and its calls are validated as well
    for variant in variants[::-1]:
        for name in names:
            raw.attempt(f"{name} {variant}", lambda n=name, v=variant: one(n, v))
    if args.autotune:
        for name in [n for n in names if n.startswith("gemm")]:
            raw.attempt(f"{name} max-autotune", lambda n=name: one(n, "max-autotune"))
    referee.close()
    nursery.close()
    lines = [
        [r["item"], r["status"], r["speedup"], r["headroom"], r["seconds"], r["reason"][:70]]
        for r in raw.rows
        if "status" in r
    ]
    print(table(["problem variant", "verdict", "speed-up over eager", "T_b/T_SOL", "s", "reason"], lines))
    count = len(names) * len(variants)
    print(
        f"{sum(1 for r in raw.rows if r.get('status') == 'scored')} of {count} scored; not run or failed: "
        f"{[r['item'] for r in raw.rows if r.get('status') not in (None, 'scored') or 'error' in r]}"
    )


if __name__ == "__main__":
    main()
