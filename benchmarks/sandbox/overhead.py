"""What a rung costs: milliseconds to run a program, to start Python, and to call a function of the clean parent's child.

    python benchmarks/sandbox/overhead.py [--runs 200] [--rungs native] [--out results/overhead.json]

cpu_ms is the CPU time of the launcher and all below it for each run, which another's load changes little. "subprocess" is the
same work without any rung. Medians and 95th percentiles of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.ladder import test_rung
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox


def timed(work: Callable[[], Any], runs: int) -> dict[str, float]:
    work()
    walls = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        walls.append((time.perf_counter() - began) * 1e3)
    walls.sort()
    return {"median_ms": round(walls[runs // 2], 2), "p95_ms": round(walls[int(runs * 0.95)], 2)}


def used(sandbox: LocalSandbox) -> float:
    """CPU seconds of the launcher and of all that it has reaped."""
    assert sandbox._launcher is not None
    fields = Path(f"/proc/{sandbox._launcher.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def rung(name: str, folder: Path, runs: int) -> dict[str, Any]:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "program.py").write_text("def f(n):\n    return [0.5] * n\n")
    sandbox = LocalSandbox(name, folder / name)
    call = Command((), tree, wall=20, frame=1 << 16)
    try:
        works = {
            "true": (lambda: sandbox.run(Command(("/bin/true",), tree, wall=20)), runs),
            "python": (lambda: sandbox.run(Command((sys.executable, "-I", "-c", ""), tree, wall=20)), runs // 4),
            "call": (lambda: sandbox.call(call, "program.py:f", (26,)), runs),
        }
        out: dict[str, Any] = {"label": sandbox.label}
        for what, (work, count) in works.items():
            work()
            before = used(sandbox)
            out[what] = timed(work, count)
            out[what]["cpu_ms"] = round((used(sandbox) - before) * 1e3 / (count + 1), 2)
        return out
    finally:
        sandbox.close()


def measure(runs: int, rungs: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kernel": platform.release(), "cpus": os.cpu_count(), "uid": os.getuid(), "runs": runs,
        "load": os.getloadavg(), "nice": os.nice(0), "python": platform.python_version(),
        "subprocess": {
            "true": timed(lambda: subprocess.run(["/bin/true"], check=False), runs),
            "python": timed(lambda: subprocess.run([sys.executable, "-I", "-c", ""], check=False), runs // 4),
        },
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in rungs:
            report = test_rung(name)
            facts[name] = rung(name, Path(folder), runs) if report.available else f"unavailable: {report.why}"
    return facts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rungs", default=",".join(LABELS))
    parser.add_argument("--out")
    options = parser.parse_args()
    text = json.dumps(measure(options.runs, options.rungs.split(",")), indent=1)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
