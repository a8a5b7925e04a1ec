"""Ours beside openevolve and shinka-evolve: one scripted model, one checker, one budget.

    python benchmarks/search/beside.py --openevolve VENV --shinka VENV [--seeds 10] [--evaluations 200] [--most SECONDS]
    python benchmarks/search/beside.py --smoke            # one task, one seed, a few evaluations, nothing kept

VENV is a virtual environment that holds the peer from the package index; without it the peer is left out. Every run is one
row of results/beside.jsonl and one file of calls in results/calls/; a (tool, task, seed) on record is not run again, so the
script may be stopped and started. `tables.py` turns the rows into the tables of docs/search.md.

Tools: ours (the model alone), ours-keyless (every second brief to the key-less mutator), openevolve, shinka, and three
loops without a framework around the same proposer and checker: greedy (the best so far is the parent), restarts (greedy, begun anew
after chains of Luby's lengths) and best-of-n (the seed is the parent).
A charged evaluation is one run of the checker, whatever it was for: the seed's, failed ones, our noise check and our gates.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import policies  # noqa: E402
import proposer  # noqa: E402
from model_server import ScriptedModel, Serving  # noqa: E402

LOOPS = ("greedy", "restarts", "best-of-n")
TOOLS = ("ours", "ours-keyless", "openevolve", "shinka", *LOOPS)
TASKS = ("heilbronn_triangle", "erdos_overlap", "autocorrelation", "low_autocorrelation_64")
VERSIONS = {"openevolve": "openevolve", "shinka": "shinka-evolve"}

LONGEST = 1200
"""Seconds after which a run counts as hung, whoever's it is: no row is kept of it."""


@dataclass
class Run:
    """What is known of one run while it goes on. curve: [calls, charged evaluations, best score] at each improvement."""

    model: ScriptedModel
    evaluations: int = 0
    own: int = 0
    failed: int = 0
    cpu: float = 0.0
    best: float | None = None
    curve: list[list[float]] = field(default_factory=list)

    def saw(self, score: float | None, cpu: float, calls: int, trials: int | None = None) -> None:
        """trials: of the tuner by then, which are charged too; None: now."""
        self.own += 1
        self.evaluations = self.own + (self.model.trials if trials is None else trials)
        self.cpu += cpu
        self.failed += score is None
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            self.curve.append([calls, self.evaluations, score])


# ---- ours ------------------------------------------------------------------------------------------------------------


def ours(run: Run, url: str, task: str, seed: int, evaluations: int, keyless: bool, place: Path) -> None:
    """A whole run of ours, jail and archive included, through the OpenAI-compatible model mutator."""
    from evolve import api
    from evolve.mutators import load
    from evolve.population import events as ev
    from evolve.settings import RunSettings

    (model,) = load([f"model:openai/scripted@{url}"])
    mutator = Alternate(model, load(["syntactic"])[0]) if keyless else model
    settings = RunSettings(
        tasks=(str(proposer.TASKS / task),),
        where=place,
        evaluations=evaluations,
        seed=seed,
        control=False,
        publish=False,
    )
    session = api.open_session(settings, mutators={mutator.name: mutator})
    append = session.search.append

    def noted(event: Any, artifacts: Any = ()) -> Any:
        if isinstance(event, ev.Measured):
            evidence, calls = event.evidence, len(run.model.log)
            shares = len(evidence.samples) + len(evidence.failures) or 1
            for sample in evidence.samples:
                run.saw(sample.metrics["score"], evidence.cost.cpu / shares, calls)
            for _ in evidence.failures:
                run.saw(None, evidence.cost.cpu / shares, calls)
        return append(event, artifacts)

    session.search.append = noted  # type: ignore[method-assign]
    result = asyncio.run(asyncio.wait_for(session.run(), LONGEST))
    if result.reason in ("interrupted", "terminated"):  # a signal ends it in order, yet it is no whole run
        raise SystemExit(f"{task}, seed {seed}: the run was {result.reason}; no row is kept")


class Alternate:
    """Every second brief to the key-less mutator, where it answers the operator; the others to the model."""

    name = "alternate"
    latency = True

    def __init__(self, model: Any, keyless: Any) -> None:
        self.model, self.keyless = model, keyless
        self.operators = tuple(dict.fromkeys((*model.operators, *keyless.operators)))

    async def propose(self, brief: Any, desk: Any) -> Any:
        able = brief.operator in self.keyless.operators
        only = brief.operator not in self.model.operators
        return await (self.keyless if able and (only or brief.number % 2) else self.model).propose(brief, desk)


# ---- the peers -------------------------------------------------------------------------------------------------------


def peer(run: Run, url: str, task: str, seed: int, evaluations: int, tool: str, venv: Path, place: Path) -> None:
    """A whole run of a peer in its own virtual environment; its evaluations are read from its evaluator's log."""
    program = place / "program.py"
    shutil.copy(proposer.TASKS / task / "seed" / "program.py", program)
    log = place / "evaluations.jsonl"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(place), "OPENAI_API_KEY": "none", "EVOLVE_BENCH_TASK": task,
        "EVOLVE_BENCH_LOG": str(log), "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    words = [str(program), str(HERE / "peer_evaluate.py"), url, str(evaluations), str(seed), str(place / "out")]
    with (place / "peer.log").open("w") as out:
        done = subprocess.run(
            [str(venv / "bin" / "python"), str(HERE / f"peer_{tool}.py"), *words],
            cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=LONGEST,
        )  # fmt: skip
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if done.returncode or not rows:
        tail = (place / "peer.log").read_text()[-2000:]
        raise RuntimeError(f"{tool} ended with {done.returncode} after {len(rows)} evaluations:\n{tail}")
    times = sorted(run.model.times)
    for when, score, cpu in sorted(rows, key=lambda row: row[0]):
        trials = sum(count for moment, count in run.model.trial_times if moment <= when)
        run.saw(score, cpu, sum(moment <= when for moment in times), trials)


def version(tool: str, venv: Path | None) -> str:
    if venv is None:
        from evolve import __version__

        return str(__version__)
    code = f"import importlib.metadata as m; print(m.version({VERSIONS[tool]!r}))"
    return subprocess.run(
        [str(venv / "bin/python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


# ---- without a framework ---------------------------------------------------------------------------------------------


def loop(run: Run, task: str, evaluations: int, kind: str) -> None:
    """The same proposer and checker with nothing around them; an answer that does not apply costs a call only. kind: of LOOPS."""
    seed = (proposer.TASKS / task / "seed" / "program.py").read_text()
    score = proposer.scorer(task)
    first = score(proposer.table_of(seed))
    best, best_score, chain, ends = seed, first, 1, policies.Restarts.unit
    run.saw(best_score, 0.0, 0)
    while run.own <= evaluations and len(run.model.log) < 4 * evaluations:
        if kind == "restarts" and len(run.model.log) >= ends:
            chain += 1
            best, best_score, ends = seed, first, ends + policies.Restarts.unit * policies.luby(chain)
        prompt = f'# The program\n\nprogram.py\n```\n{seed if kind == "best-of-n" else best}```\n\nAnswer in format "whole".'
        run.model.answer([{"role": "user", "content": prompt}])
        made = run.model.made
        if not made:
            continue
        began = time.process_time()
        try:
            found: float | None = score(proposer.table_of(made))
        except (ValueError, SyntaxError):
            found = None
        run.saw(found, time.process_time() - began, len(run.model.log))
        if found is not None and found >= best_score:
            best, best_score = made, found


# ---- one run, all runs -----------------------------------------------------------------------------------------------


def one(tool: str, task: str, seed: int, evaluations: int, venv: Path | None, tuner: bool = False) -> tuple[dict[str, Any], list[list[Any]]]:
    """A row and the log of its calls."""
    run = Run(ScriptedModel(task, seed, tuner=tuner))
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="evolve-beside-") as folder:
        if tool in LOOPS:
            loop(run, task, evaluations, tool)
        else:
            with Serving(run.model) as url:
                if venv:
                    peer(run, url, task, seed, evaluations, tool, venv, Path(folder))
                else:
                    ours(run, url, task, seed, evaluations, tool == "ours-keyless", Path(folder))
    row = {
        "tool": tool, "version": version(tool, venv), "task": task, "seed": seed, "budget": evaluations, "best": run.best,
        "evaluations": run.evaluations, "failed": run.failed, "evaluator_cpu": round(run.cpu, 3),
        "calls": len(run.model.log), "embeddings": run.model.embeddings,
        "tokens_in": sum(call[4] for call in run.model.log), "tokens_out": sum(call[5] for call in run.model.log),
        **({"tuner_trials": run.model.trials} if tuner else {}),
        "seconds": round(time.monotonic() - began, 1), "curve": run.curve,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)], "when": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip
    return row, run.model.log


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(out: Path, row: dict[str, Any], calls: list[list[Any]]) -> None:
    """The calls first, then the row that says that they are there."""
    folder = out.parent / ("calls" if out.stem == "beside" else f"calls_{out.stem}")
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(call, separators=(",", ":")) + "\n" for call in calls)
    name = f"{row['tool']}.{row['task']}.{row['seed']}.jsonl.gz"
    (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    with out.open("a", buffering=1 << 20) as file:  # one write a row: two scripts may append at once
        file.write(json.dumps(row) + "\n")


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openevolve", type=Path)
    parser.add_argument("--shinka", type=Path)
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--most", type=float, default=float("inf"), help="start no further run after so many seconds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "beside.jsonl")
    parser.add_argument("--tuner", action="store_true", help="The same numeric tuner for all, inside the model; its trials are charged.")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    venvs: dict[str, Path | None] = {"openevolve": options.openevolve, "shinka": options.shinka}
    done = set() if options.smoke else {(r["tool"], r["task"], r["seed"], r["budget"]) for r in read(options.out)}
    evaluations, seeds = (12, 1) if options.smoke else (options.evaluations, options.seeds)
    began = time.monotonic()
    for seed in range(seeds):
        for task in options.tasks.split(",")[: 1 if options.smoke else None]:
            for tool in options.tools.split(","):
                venv = venvs.get(tool)
                if (tool in venvs and venv is None) or (tool, task, seed, evaluations) in done:
                    continue
                if time.monotonic() - began > options.most:
                    return 0
                row, calls = one(tool, task, seed, evaluations, venv, options.tuner)
                say(json.dumps({k: v for k, v in row.items() if k not in ("curve", "machine")}))
                if not options.smoke:
                    keep(options.out, row, calls)
    return 0


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
