"""What a rung costs: milliseconds to run a program, to start Python, and to call a function of the clean parent's child.

    python benchmarks/sandbox/overhead.py [--runs 200] [--out results/overhead.json]

"bare" columns are the same work by subprocess without any rung. Medians and 95th percentiles of wall time.
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


def rung(name: str, folder: Path, runs: int) -> dict[str, Any]:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "program.py").write_text("def f(n):\n    return [0.5] * n\n")
    sandbox = LocalSandbox(name, folder / name)
    call = Command((), tree, wall=20, frame=1 << 16)
    try:
        return {
            "label": sandbox.label,
            "true": timed(lambda: sandbox.run(Command(("/bin/true",), tree, wall=20)), runs),
            "python": timed(lambda: sandbox.run(Command((sys.executable, "-I", "-c", ""), tree, wall=20)), runs // 4),
            "call": timed(lambda: sandbox.call(call, "program.py:f", (26,)), runs),
        }
    finally:
        sandbox.close()


def measure(runs: int) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kernel": platform.release(), "cpus": os.cpu_count(), "uid": os.getuid(), "runs": runs,
        "load": os.getloadavg(), "python": platform.python_version(),
        "subprocess": {
            "true": timed(lambda: subprocess.run(["/bin/true"], check=False), runs),
            "python": timed(lambda: subprocess.run([sys.executable, "-I", "-c", ""], check=False), runs // 4),
        },
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in LABELS:
            report = test_rung(name)
            facts[name] = rung(name, Path(folder), runs) if report.available else f"unavailable: {report.why}"
    return facts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out")
    options = parser.parse_args()
    text = json.dumps(measure(options.runs), indent=1)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
