"""What a candidate costs in ours, openevolve and shinka-evolve, with nothing to evaluate and a model that answers at once.

    python benchmarks/overhead/peers.py --openevolve VENV --shinka VENV [--candidates 1000] [--shinka-candidates 500]
    python benchmarks/overhead/peers.py --smoke                      # ours alone, 20 candidates, nothing kept

All three reach the same scripted model (benchmarks/search/model_server.py) on loopback by the OpenAI protocol, each by its
own client, with its own prompts and at its defaults; the evaluator makes up a score. VENV is a virtual environment that holds
the peer from the package index. A row of results/peers.jsonl holds candidates a second over the run and over its first and
last fifth, CPU milliseconds a candidate of the whole process tree (the model's own share is in `model_cpu_ms`), and the load.
Ours runs with a durable archive and its duplicate check; it evaluates in the process, as openevolve does, and shinka starts a
process for each. benchmarks/overhead/overhead.py has ours without a network at 100,000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SEARCH = HERE.parent / "search"
sys.path[:0] = [str(SEARCH), str(HERE)]

from beside import version  # noqa: E402
from model_server import ScriptedModel, Serving  # noqa: E402

TASK = "heilbronn_triangle"


def ours(url: str, candidates: int, place: Path) -> list[float]:
    """Times at which verdicts came, through the OpenAI-compatible model mutator."""
    from overhead import TOML, Nothing

    from evolve import api
    from evolve.evaluators.executors import InProcessExecutor
    from evolve.mutators import load
    from evolve.settings import RunSettings

    shutil.copy(SEARCH / "tasks" / TASK / "seed" / "program.py", place / "program.py")
    (place / "evolve.toml").write_text(TOML)
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=b", "-c", "user.email=b@b.invalid", "commit", "-qm", "s"],
    ):
        subprocess.run(["git", *words], cwd=place, check=True)
    settings = RunSettings(
        where=place, evaluations=candidates, seed=1, workers=16, proposals=16, control=False, publish=False
    )
    (model,) = load([f"model:openai/scripted@{url}"])
    model.gate = None  # type: ignore[attr-defined]  # neither peer loads a program before it evaluates it
    times: list[float] = []

    def progress(session: Any) -> None:
        times.extend([time.time()] * (session.state.ledger.evaluations - len(times)))

    session = api.open_session(
        settings, mutators={model.name: model}, progress=progress,
        executor=lambda opened: InProcessExecutor({"noop": Nothing(opened)}, 16),
    )  # fmt: skip
    asyncio.run(session.run())
    return times


def peer(tool: str, venv: Path, url: str, candidates: int, place: Path) -> list[float]:
    """Times at which a peer's evaluator was called."""
    program, log = place / "program.py", place / "times"
    shutil.copy(SEARCH / "tasks" / TASK / "seed" / "program.py", program)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "OPENAI_API_KEY": "none",
        "EVOLVE_BENCH_LOG": str(log),
    }
    words = [str(program), str(HERE / "noop_evaluate.py"), url, str(candidates), "1", str(place / "out")]
    with (place / "peer.log").open("w") as out:
        subprocess.run(
            [str(venv / "bin" / "python"), str(SEARCH / f"peer_{tool}.py"), *words],
            cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=1500, check=True,
        )  # fmt: skip
    return sorted(float(line) for line in log.read_text().split())


def cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class TimedModel(ScriptedModel):
    """Counts the CPU its answers take in its own threads."""

    spent = 0.0

    def answer(self, messages: list[dict[str, str]]) -> tuple[str, int, int]:
        began = time.thread_time()
        try:
            return super().answer(messages)
        finally:
            with threading.Lock():
                self.spent += time.thread_time() - began


def measure(tool: str, venv: Path | None, candidates: int) -> dict[str, Any]:
    model = TimedModel(TASK, 1)
    load, began, spent = os.getloadavg()[0], time.monotonic(), cpu()
    with tempfile.TemporaryDirectory(prefix="evolve-peers-") as folder, Serving(model) as url:
        times = peer(tool, venv, url, candidates, Path(folder)) if venv else ours(url, candidates, Path(folder))
    seconds, spent = time.monotonic() - began, cpu() - spent
    fifth = max(len(times) // 5, 2)
    return {
        "tool": tool, "version": version(tool, venv), "candidates": len(times), "calls": len(model.log),
        "per_second": len(times) / max(times[-1] - times[0], 1e-9), "seconds_with_start": round(seconds, 1),
        "first_fifth": (fifth - 1) / max(times[fifth - 1] - times[0], 1e-9),
        "last_fifth": (fifth - 1) / max(times[-1] - times[-fifth], 1e-9),
        "cpu_ms": (spent - model.spent) / len(times) * 1e3, "model_cpu_ms": model.spent / len(times) * 1e3,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)], "when": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openevolve", type=Path)
    parser.add_argument("--shinka", type=Path)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--shinka-candidates", type=int, default=500)
    parser.add_argument("--tools", default="ours,openevolve,shinka")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "peers.jsonl")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    venvs: dict[str, Path | None] = {"openevolve": options.openevolve, "shinka": options.shinka}
    for tool in options.tools.split(","):
        venv = venvs.get(tool)
        if tool in venvs and venv is None:
            continue
        count = 20 if options.smoke else options.shinka_candidates if tool == "shinka" else options.candidates
        row = measure(tool, venv, count)
        say(json.dumps(row))
        if not options.smoke:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
