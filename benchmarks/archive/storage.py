"""What the record costs: candidates and their events from 1 to N through the archive, nothing else.

    python benchmarks/archive/storage.py --candidates 100000 --out benchmarks/archive/results/storage.json

A candidate is one edit (a 300-line file of a repository of 326 files, a few lines changed), one commit and five events
(asked, born, started, measured, judged) with four barriers, `--flight` candidates at a time, every event folded into
the run's state. Figures per window of 1,000: candidates a second of wall time, CPU of this process in ms a candidate.
Then: proportional set size, disk before and after maintenance, opening warm and cold, push, fetch and fsck.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.folds import RunState
from evolve.population.writer import Writer
from evolve.tasks.evidence import Cost, Evidence, Sample
from evolve.tasks.verdict import Estimate, Status, Verdict

WINDOW = 1000
PATH = "src/train.py"


def user_repository(path: Path) -> None:
    rng = random.Random(0)
    for k in range(325):
        file = path / f"pkg{k % 20}" / f"module_{k}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "".join(f"name_{rng.randrange(10**6)} = {rng.random()}\n" for _ in range(rng.randrange(200, 1200)))
        )
    (path / PATH).parent.mkdir()
    (path / PATH).write_text(
        "".join(f"parameter_{n} = {n / 7}  # line {n} of the program under search\n" for n in range(300))
    )
    git = ["git", "-C", str(path), "-c", "user.name=u", "-c", "user.email=u@example.com"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *arguments], check=True)


class Load:
    """The events of a search, without a search."""

    def __init__(self, archive: Archive, writer: Writer, base: str) -> None:
        self.archive, self.writer, self.base = archive, writer, base
        self.state = RunState()
        self.rng = random.Random(1)
        self.recent = [base]
        self.number = 0
        tree = archive.store.tree_of(base)
        self.apply(ev.RunOpened("r", {"t": ev.TaskOpened(base, "[task]", "d" * 64)}, 7, "0"))
        self.apply(ev.EpochOpened("t", "e" * 16, "d" * 64, "v" * 64, "cpu"))
        self.apply(ev.Imported("t", base, tree, (), 0, source="seed"))

    def apply(self, event: ev.Event) -> None:
        self.state.apply(self.writer.append(event))

    async def candidate(self) -> None:
        self.number += 1
        n, store, rng = self.number, self.archive.store, self.rng
        parent = rng.choice(self.recent)
        self.apply(ev.Asked(Brief(n, "t", "improve", (parent,), rng.getrandbits(63), saw=dict(self.state.seen))))
        await self.writer.durable()
        lines = (store.file(parent, PATH) or b"").splitlines(keepends=True)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(lines))
            lines[at] = b"parameter_%d = %.17g  # line %d of the program under search\n" % (at, rng.random(), at)
        tree = store.edit(parent, {PATH: b"".join(lines)})
        commit = store.commit(
            tree, [parent], f"change a constant in line {at}\n\nEvolve-Run: r\nEvolve-Brief: {n}\n", self.writer.now()
        )
        shape = hashlib.sha256(tree.encode()).hexdigest()
        self.apply(
            ev.Born(
                n,
                "t",
                commit,
                tree,
                (parent,),
                n,
                "syntactic/constant",
                idea=f"change a constant in line {at}",
                shape=shape,
                sketch=rng.randbytes(512).hex()[:683],
            )
        )
        await self.writer.durable()
        job = f"{n}/screen/0"
        self.apply(ev.Started(job, "t", (commit,), "screen", seconds=10.0, secret="5" * 64))
        await self.writer.durable()
        value = rng.random()
        evidence = Evidence(
            job,
            (tree,),
            "d" * 64,
            "v" * 64,
            "m" * 16,
            "screen",
            "5" * 64,
            (Sample(tree, {"score": value}, seconds=0.1),),
            cost=Cost(0.1, 0.1),
        )
        self.apply(ev.Measured(job, "t", (commit,), "e" * 16, evidence))
        verdict = Verdict(Status.SCORED, value, value, value, (value,), {"score": Estimate(value, value, value, 1)})
        self.apply(ev.Judged("t", commit, "e" * 16, verdict))
        await self.writer.durable()
        self.recent.append(commit)
        if len(self.recent) > 50:
            self.recent.pop(0)


async def drive(load: Load, candidates: int, flight: int) -> list[dict[str, float]]:
    windows: list[dict[str, float]] = []
    mark = time.perf_counter(), time.process_time()

    async def one() -> None:
        nonlocal mark
        while load.number < candidates:
            await load.candidate()
            if load.number // WINDOW > len(windows):
                now = time.perf_counter(), time.process_time()
                windows.append({"per_second": WINDOW / (now[0] - mark[0]), "cpu_ms": (now[1] - mark[1]) / WINDOW * 1e3})
                mark = now

    await asyncio.gather(*(one() for _ in range(flight)))
    return windows


def pss() -> float:
    """MB, as the kernel apportions shared pages."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no Pss")


def disk(path: Path) -> int:
    return sum(f.stat().st_blocks * 512 for f in path.rglob("*") if f.is_file())


def opening(where: Path) -> float:
    """Seconds in a new process from import to the whole state, imports aside."""
    code = (
        "import sys, time\nfrom evolve.population.archive import Archive\nt = time.perf_counter()\n"
        "state = Archive.open(sys.argv[1]).state('r')\nprint(time.perf_counter() - t, len(state.candidates))"
    )
    out = subprocess.run([os.sys.executable, "-c", code, str(where)], capture_output=True, text=True, check=True).stdout  # type: ignore[attr-defined]
    return float(out.split()[0])


def timed(*command: str) -> dict[str, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": time.perf_counter() - start, "cpu_s": cpu}


def measure(candidates: int, flight: int, folder: Path) -> dict[str, Any]:
    user = folder / "user"
    user_repository(user)
    archive = Archive.open(user, create=True)
    base = archive.import_commit(user, "HEAD")
    empty = disk(archive.path)
    load = Load(archive, archive.writer("r", exclusive=True), base)
    start, cpu = time.perf_counter(), time.process_time()
    windows = asyncio.run(drive(load, candidates, flight))
    out: dict[str, Any] = {
        "candidates": load.number, "flight": flight, "events": sum(load.state.seen.values()), "flushes": archive.group.flushes,
        "wall_s": time.perf_counter() - start, "main_cpu_ms_each": (time.process_time() - cpu) / load.number * 1e3,
        "windows": windows,
    }  # fmt: skip
    gc.collect()
    out["main_pss_mb"] = pss()
    load.writer.close()
    archive.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    out["maintenance_cpu_ms_each"] = (children.ru_utime + children.ru_stime) / load.number * 1e3
    out["disk_bytes_each_before"] = (disk(archive.path) - empty) / load.number
    tip = next(iter(archive.tips("r").values()))
    del load
    start = time.perf_counter()
    again = Archive.open(user)
    assert again.maintain()
    again.close()
    out["last_maintenance_s"] = time.perf_counter() - start
    out["disk_bytes_each"] = (disk(archive.path) - empty) / candidates
    shutil.rmtree(archive.home / "cache", ignore_errors=True)
    out["open_cold_s"] = opening(user)
    out["open_after_cold_s"] = [opening(user) for _ in range(3)]
    with Archive.open(user) as again:
        again.save(again.state("r"))
    out["open_warm_s"] = [opening(user) for _ in range(3)]
    out["cache_bytes_each"] = disk(archive.home / "cache") / candidates
    copy = folder / "copy.git"
    subprocess.run(["git", "init", "-q", "--bare", str(copy)], check=True)
    push = ["git", "-C", str(archive.path), "push", "-q", str(copy)]
    old = subprocess.run(
        ["git", "-C", str(archive.path), "rev-parse", f"{tip}~100"], capture_output=True, text=True, check=True
    )
    out["push_all"] = timed(*push, f"{old.stdout.strip()}:refs/evolve/r/log/x-1")
    out["push_100_events"] = timed(*push, f"{tip}:refs/evolve/r/log/x-1")
    out["push_nothing"] = timed(*push, f"{tip}:refs/evolve/r/log/x-1")
    out["fsck"] = timed("git", "-C", str(archive.path), "fsck", "--full", "--no-dangling")
    out["log_graph_20"] = timed("git", "-C", str(archive.path), "log", "--graph", "--oneline", "-20", tip)
    return out


def summary(out: dict[str, Any]) -> dict[str, float]:
    speeds = [w["per_second"] for w in out["windows"]]
    cpus = [w["cpu_ms"] for w in out["windows"]]
    return {
        "median_per_second": statistics.median(speeds),
        "first_10_windows_cpu_ms": statistics.median(cpus[:10]),
        "last_10_windows_cpu_ms": statistics.median(cpus[-10:]),
        "first_10_windows_per_second": statistics.median(speeds[:10]),
        "last_10_windows_per_second": statistics.median(speeds[-10:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--flight", type=int, default=16)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="make the archive in this new folder and leave it there")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir()
        out = measure(options.candidates, options.flight, options.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            out = measure(options.candidates, options.flight, Path(folder))
    out["summary"] = summary(out)
    out["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    text = json.dumps(out, indent=1)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    print(json.dumps({k: v for k, v in out.items() if k != "windows"}, indent=1))


if __name__ == "__main__":
    main()
