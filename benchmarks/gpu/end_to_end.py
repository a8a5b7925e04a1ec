"""Short runs of the bundled GPU tasks as a user starts them, `evolve run`, all at once: one card each where there are two.

    python3 benchmarks/gpu/end_to_end.py --data DIR --out DIR --seconds 200
    python3 benchmarks/gpu/end_to_end.py --out DIR --seconds 40 --dry          the same tasks on a CPU

--data: what training_pack.py wrote; without it NanoChat is left out. --out: gets <task>.log (what a person saw), <task>.jsonl
(`evolve log --json`) and <task>.status. Needs the package itself installed with its dependencies, unlike the other scripts here:
evaluators are found by its entry points, which a path does not have (`pip wheel . --no-deps -w build/whl` here, `pip install` there).
A run is told to stop after --seconds and given as long again to end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]


@dataclass
class Started:
    task: str
    where: Path
    process: subprocess.Popen[bytes]
    began: float


def evolve(*words: str) -> list[str]:
    return [sys.executable, "-m", "evolve", *words]


def packed(folder: Path, to: Path) -> Path:
    """The data as a folder that the track opens without packing."""
    import training_pack

    from evolve.evaluators.training import data, tracks

    data.write(training_pack.unpack(folder), to, tracks.TRACKS["nanochat/30s"])
    return to


def plan(options: argparse.Namespace, work: Path) -> dict[str, list[str]]:
    """Words of `evolve run` by task."""
    common = ["--time", f"{options.seconds:g}s", "--no-control", "--name", "first"]
    kernels = ["sol_execbench", "--workers", "1", *common]
    training = ["nanochat_autoresearch", "--workers", "1", "--set", "evaluate.repeats.screen=1", *common]
    if options.dry:
        kernels += ["--set", "evaluate.settings.device=cpu"]
        training += ["--set", "evaluate.settings.track=cpu"]
        return {"sol_execbench": kernels, "nanochat_autoresearch": training}
    plans = {"sol_execbench": kernels}
    if options.data:
        folder = packed(Path(options.data), work / "data")
        training += ["--set", "evaluate.settings.track=30s", "--set", f"evaluate.settings.data={folder}"]
        plans["nanochat_autoresearch"] = training
    return plans


def start(task: str, words: list[str], work: Path, out: Path) -> Started:
    where = work / task
    where.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "NO_COLOR": "1"}
    with (out / f"{task}.log").open("wb") as log:
        process = subprocess.Popen(
            evolve("run", *words), cwd=where, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    return Started(task, where, process, time.monotonic())


def finish(run: Started, seconds: float, out: Path) -> None:
    """Wait, stop it if it must be, and keep what the archive says."""
    try:
        run.process.wait(max(1.0, run.began + 2 * seconds - time.monotonic()))
    except subprocess.TimeoutExpired:
        run.process.terminate()
        run.process.wait(60)
    took = time.monotonic() - run.began
    archive = next((p for p in sorted(run.where.rglob("*.git")) if p.is_dir()), None)
    inside = next(iter(sorted(p for p in run.where.iterdir() if p.is_dir())), run.where)
    for name, words in (("jsonl", ("log", "--json")), ("status", ("status",)), ("best", ("best",))):
        done = subprocess.run(
            evolve(*words, "--name", "first"), cwd=inside, capture_output=True, text=True, check=False
        )
        (out / f"{run.task}.{name}").write_text(done.stdout + done.stderr, encoding="utf-8")
    candidates = len((out / f"{run.task}.jsonl").read_text().splitlines())
    print(
        f"{run.task}: exit code {run.process.returncode} after {took:.0f} s, {candidates} candidates, archive {archive}"
    )
    print("".join((out / f"{run.task}.log").read_text(errors="replace").splitlines(keepends=True)[-25:]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="")
    parser.add_argument("--out", required=True)
    parser.add_argument("--work", default="/tmp/evolve-end-to-end")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    if not any(point.name == "kernels" for point in entry_points(group="evolve.evaluators")):
        sys.exit("evolve-search is not installed here: its evaluators are found by entry points; pip install its wheel")
    work, out = Path(options.work), Path(options.out)
    work.mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    runs = [start(task, words, work, out) for task, words in plan(options, work).items()]
    for run in runs:
        finish(run, options.seconds, out)


if __name__ == "__main__":
    main()
