"""What the framework costs a candidate, with nothing to evaluate.

    python benchmarks/overhead/overhead.py [--candidates 100000] [--in-flight 16] [--latency 2 --proposals 8] [--out FILE]

An in-process evaluator that returns a made-up score at once, a scripted mutator that answers at once (or after
`--latency` seconds), a durable archive (fsync on), the default selector, the duplicate check on. Prints candidates a
second and CPU milliseconds a candidate for each window of 1,000, PSS at the end, disk a candidate after maintenance,
and the time to open the archive warm and with its cache deleted.

A shared machine changes its speed by a third in the middle of a run. So each window's end times a fixed piece of work that
has nothing to do with the tool (`reference`, outside the windows): flatness is given as measured, and with each window's
CPU divided by the CPU that the same work took at its two ends.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from evolve import api
from evolve.evaluators.evaluator import Job, Stage
from evolve.evaluators.executors import InProcessExecutor
from evolve.evaluators.machine import machine
from evolve.mutators import Desk
from evolve.opening import Opened
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.settings import RunSettings
from evolve.tasks.evidence import Evidence, Failure, FailureKind, Sample

TOML = """
[task]
name = "noop"
editable = ["program.py"]
[evaluate]
command = "true"
metrics = [{ name = "score", goal = "max", pattern = "(.*)" }]
repeats = { screen = 1, confirm = 1 }
"""

PROGRAM = "import math\n\nVALUES = [\n" + "".join(f"    {i}.5,\n" for i in range(20)) + "]\n\n\ndef f(x):\n" + "".join(
    f"    y{i} = math.sin(x * {i}) + VALUES[{i % 20}]\n" for i in range(20)
) + "    return y0\n"


class Nothing:
    """A score that is a function of the tree: mostly below the best, rarely above it; a broken program fails."""

    def __init__(self, opened: Opened) -> None:
        site = opened.sites["noop"]
        self.site, self.store = site, opened.archive.store

    def digest(self) -> str:
        return "nothing"

    def stages(self) -> Sequence[Stage]:
        return (Stage("run", 1, 1.0),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        samples, failures = [], {}
        for tree in job.trees:
            if (self.store.file(tree, "program.py") or b"")[:1] == b"\0":
                failures[tree] = Failure(FailureKind.PARSE, "no program")
                continue
            score = random.Random(tree).gauss(0, 1)
            samples += [Sample(tree, {"score": score}, job.first_block + b) for b in range(job.blocks)]
        return Evidence(
            job.id, job.trees, self.site.task_digest, self.site.evaluator, self.site.machine, job.stage,
            samples=tuple(samples), failures=failures, sandbox="none",
        )  # fmt: skip

    def close(self) -> None:
        return None


class Scripted:
    """Changes one literal of the parent; answers after `latency` seconds."""

    name = "scripted"
    operators = ("improve",)

    def __init__(self, latency: float) -> None:
        self.seconds, self.latency = latency, latency > 0

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        lines = desk.files(brief.parents[0])["program.py"].decode().splitlines(keepends=True)
        rng = random.Random(brief.seed)
        lines[3 + rng.randrange(20)] = f"    {rng.random():.9f},\n"
        return Proposal({"program.py": "".join(lines).encode()}, "another literal", "scripted")


def pss() -> float:
    """Proportional set size of this process, MiB."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def cpu() -> float:
    return sum(resource.getrusage(who)[0] + resource.getrusage(who)[1] for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def reference() -> float:
    """CPU seconds of this thread for a fixed piece of work like the tool's own: JSON, hashes, dictionaries, all in memory."""
    took = []
    for _ in range(5):
        began = time.thread_time()
        known: dict[str, int] = {}
        for at in range(1000):
            text = json.dumps({"at": at, "name": f"candidate-{at}", "score": at / 7})
            known[hashlib.sha1(text.encode()).hexdigest()] = len(json.loads(text))
        took.append(time.thread_time() - began)
    return median(took)


def run(place: Path, args: argparse.Namespace) -> dict[str, object]:
    (place / "program.py").write_text(PROGRAM)
    (place / "evolve.toml").write_text(TOML)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@b.invalid", "commit", "-qm", "s"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    settings = RunSettings(
        where=place, evaluations=args.candidates, seed=1, workers=args.in_flight, proposals=args.proposals, control=False,
        publish=False,
    )  # fmt: skip
    mutator = Scripted(args.latency)
    marks: list[tuple[int, float, float, float, float, float]] = []  # count; time and CPU here; reference; both after it

    def progress(session: api.Session) -> None:
        count = session.state.ledger.evaluations
        if count // 1000 > (marks[-1][0] // 1000 if marks else -1):
            here = time.monotonic(), cpu()
            marks.append((count, *here, reference(), time.monotonic(), cpu()))

    session = api.open_session(
        settings, mutators={"scripted": mutator}, progress=progress,
        executor=lambda opened: InProcessExecutor({"noop": Nothing(opened)}, args.in_flight),
    )  # fmt: skip
    load = os.getloadavg()[0]
    began, cpu_began = time.monotonic(), cpu()
    result = api.run(session)
    seconds, spent = time.monotonic() - began, cpu() - cpu_began
    windows = [
        {
            "to": b[0],
            "per_second": (b[0] - a[0]) / (b[1] - a[4]),
            "cpu_ms": (b[2] - a[5]) / (b[0] - a[0]) * 1e3,
            "reference_ms": (a[3] + b[3]) / 2 * 1e3,
        }
        for a, b in itertools.pairwise(marks)
    ]
    return {
        "candidates": result.evaluations,
        "seconds": seconds,
        "per_second": result.evaluations / seconds,
        "cpu_ms_per_candidate": spent / result.evaluations * 1e3,
        "pss_mib": pss(),
        "windows": windows,
        "in_flight": args.in_flight,
        "latency": args.latency,
        "proposals": args.proposals,
        "machine": machine(),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "when": time.strftime("%Y-%m-%d"),
    }


def flatness(values: Sequence[float]) -> float:
    """Of tenths of the run: the largest over the smallest of the medians of their windows."""
    size = len(values) // 10
    medians = [median(values[at * size : (at + 1) * size]) for at in range(10)]
    return max(medians) / min(medians)


def disk(path: Path) -> int:
    return int(subprocess.run(["du", "-sb", str(path)], capture_output=True, text=True, check=True).stdout.split()[0])


def opening(place: Path) -> dict[str, float]:
    """Seconds to open the archive and fold its state: warm, and with everything disposable deleted."""
    code = (
        "import time; t=time.monotonic(); from evolve.population.archive import Archive; a=Archive.open('.');"
        "s=a.state('noop'); print(time.monotonic()-t, len(s.candidates))"
    )
    found = {}
    for label in ("warm", "warm_again"):
        out = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True).stdout
        found[label] = float(out.split()[0])
    home = place / ".git" / "evolve"
    for child in home.iterdir():
        if child.name not in ("archive.git",):
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    out = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True).stdout
    found["cache_deleted"] = float(out.split()[0])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=3000)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--proposals", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="leave the archive in this new folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evolve-overhead-") as folder:
        place = Path(args.keep or folder)
        place.mkdir(exist_ok=True)
        row = run(place, args)
        windows = row["windows"]
        assert isinstance(windows, list)
        archive = Archive.open(place)
        before = disk(archive.path)
        subprocess.run(["git", "-C", str(archive.path), "repack", "-q", "-a", "-d", "-k"], check=True)
        row["disk_bytes_per_candidate"] = {
            "before": before / args.candidates,
            "after_maintenance": disk(archive.path) / args.candidates,
        }
        archive.close()
        row["opening_seconds"] = opening(place)
    if len(windows) >= 20:
        row["flatness"] = flatness([w["per_second"] for w in windows])
        row["cpu_flatness"] = flatness([w["cpu_ms"] for w in windows])
        row["reference_flatness"] = flatness([w["reference_ms"] for w in windows])
        row["cpu_by_reference_flatness"] = flatness([w["cpu_ms"] / w["reference_ms"] for w in windows])
    shown = {k: v for k, v in row.items() if k not in ("windows", "machine")}
    print(json.dumps(shown, indent=1))
    if args.out:
        args.out.write_text(json.dumps(row, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
