"""Whether a candidate costs the same in a small archive and in a large one, on a machine whose own speed changes.

    python benchmarks/overhead/flat.py [--sizes 1000,30000,100000] [--rounds 12] [--seconds S] [--out FILE]
    python benchmarks/overhead/flat.py --smoke

One long run sees its windows minutes apart, in which a shared machine changes by a third. Here an archive of each size is made
once (overhead.py's search: no-op evaluator, scripted mutator, durable, default selector, duplicate check), and then the sizes take
turns: each goes on by 1,000 candidates in a process of its own, opening not counted, in an order that turns round. A round is
one window of each size, seconds apart; what is compared is the ratio within rounds. The small ones begin each round from a copy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import overhead

from evolve import api
from evolve.evaluators.executors import InProcessExecutor
from evolve.evaluators.machine import machine
from evolve.settings import RunSettings

IN_FLIGHT = 16


def go_on(place: Path, count: int) -> dict[str, float]:
    """One window: candidates a second and CPU milliseconds a candidate, from the first new one to the last."""
    mutator = overhead.Scripted(0.0)
    have = size_of(place)
    settings = RunSettings(where=place, evaluations=have + count, workers=IN_FLIGHT, control=False, publish=False)
    session = api.open_session(
        settings, mutators={"scripted": mutator},
        executor=lambda opened: InProcessExecutor({"noop": overhead.Nothing(opened)}, IN_FLIGHT),
    )  # fmt: skip
    marks: list[tuple[int, float, float]] = []

    def progress(at: api.Session) -> None:
        done = at.state.ledger.evaluations
        if not marks or done > marks[-1][0]:
            marks.append((done, time.monotonic(), overhead.cpu()))

    session.progress = progress
    asyncio.run(session.run())
    inside = [mark for mark in marks if mark[0] >= have + count // 10]  # the first tenth warms caches up
    (a, began, cpu_began), (b, ended, cpu_ended) = inside[0], inside[-1]
    return {"per_second": (b - a) / (ended - began), "cpu_ms": (cpu_ended - cpu_began) / (b - a) * 1e3}


def size_of(place: Path) -> int:
    from evolve.population.archive import Archive

    archive = Archive.open(place)
    try:
        return archive.state("noop").ledger.evaluations
    finally:
        archive.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,30000,100000")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further round after so many")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--window", nargs=2, metavar=("PLACE", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.window:
        print(json.dumps(go_on(Path(options.window[0]), int(options.window[1]))))
        return 0
    sizes, rounds, count = [int(word) for word in options.sizes.split(",")], options.rounds, 1000
    if options.smoke:
        sizes, rounds, count = [100, 200], 2, 100
    found: list[dict[str, dict[str, float]]] = []
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="evolve-flat-") as folder:
        for size in sizes:
            place = Path(folder) / str(size)
            place.mkdir()
            made = argparse.Namespace(candidates=size, in_flight=IN_FLIGHT, proposals=8, latency=0.0)
            overhead.run(place, made)
            print(f"made an archive of {size}", file=sys.stderr, flush=True)
        for number in range(rounds):
            if time.monotonic() - began > options.seconds:
                break
            row = {}
            for size in sizes[number % len(sizes) :] + sizes[: number % len(sizes)]:
                place = Path(folder) / str(size)
                if size != max(sizes):
                    place = Path(shutil.copytree(place, Path(folder) / "copy", symlinks=True))
                words = [sys.executable, str(Path(__file__).resolve()), "--window", str(place), str(count)]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                row[str(size)] = json.loads(done.stdout.splitlines()[-1])
                shutil.rmtree(Path(folder) / "copy", ignore_errors=True)
            found.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    small = str(sizes[0])
    ratios: dict[str, Any] = {
        str(size): {
            "rate": median(row[small]["per_second"] / row[str(size)]["per_second"] for row in found),
            "cpu": median(row[str(size)]["cpu_ms"] / row[small]["cpu_ms"] for row in found),
        }
        for size in sizes[1:]
    }
    result = {
        "sizes": sizes, "window": count, "rounds": found, "slower_than_smallest": ratios, "machine": machine(),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)], "when": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    print(json.dumps({"slower_than_smallest": ratios, "rounds": len(found), "load": result["load"]}, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
