"""Whole runs killed at any moment and started again with the same command.

    python benchmarks/resume/kills.py --kills 500 --out benchmarks/resume/results.json

Each cycle starts `evolve run` on a small repository (sandbox, two workers, the syntactic mutator), waits a uniform time
from its start, reads the record as another process does, and kills the runner with SIGKILL. After each kill:

- every verdict read before the kill is there, in the same order (no verdict lost);
- every brief read as answered, by a commit or a refusal, is answered still (no answer lost);
- no job has two measurements (nothing measured twice);
- candidates and briefs are numbered without a gap (no id burned);
- what the ledger has charged never shrinks;
- the next start with the same command goes on.

`git fsck --full` runs over the archive every 50 kills and at the end. A repository is given up for a fresh one after
`--each` kills, so that kills also fall into a run's first seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.tasks.errors import EvolveError
from tests.search.scene import make_repository

COMMAND = (sys.executable, "-m", "evolve", "run", "--no-control", "--seed", "2", "--workers", "2")


@dataclass(slots=True)
class Seen:
    """What a reader of the record saw."""

    verdicts: list[str] = field(default_factory=list)
    answers: set[int] = field(default_factory=set)
    charged: float = 0.0
    events: int = 0


def read(place: Path) -> Seen:
    """The record now; empty while there is none. Raises AssertionError where it contradicts itself."""
    if not (place / ".git/evolve/archive.git").exists():
        return Seen()
    try:
        archive = Archive.open(place)
    except EvolveError:  # a kill while the archive was being made; the next start makes it
        return Seen()
    try:
        if "toy" not in archive.runs():
            return Seen()
        happened = [recorded.event for recorded in archive.events("toy")]
        state = archive.state("toy")
    finally:
        archive.close()
    jobs = Counter(event.job for event in happened if isinstance(event, ev.Measured))
    assert not jobs or max(jobs.values()) == 1, f"measured twice: {jobs.most_common(3)}"
    numbers = [candidate.number for candidate in state.candidates.values()]
    assert numbers == list(range(len(numbers))), f"candidates are numbered {numbers}"
    briefs = sorted(event.brief.number for event in happened if isinstance(event, ev.Asked))
    assert briefs == list(range(1, len(briefs) + 1)), f"briefs are numbered {briefs}"
    answers = {event.brief for event in happened if isinstance(event, ev.Born | ev.Refused)}
    return Seen(list(state.lineage.verdict_order), answers, state.ledger.evaluator_cpu, len(happened))


def check(before: Seen, after: Seen) -> None:
    """Nothing a reader saw may be gone."""
    assert after.verdicts[: len(before.verdicts)] == before.verdicts, "a verdict is gone or changed places"
    assert before.answers <= after.answers, f"answers lost: {before.answers - after.answers}"
    assert after.charged >= before.charged - 1e-9, f"charged {before.charged}, then {after.charged}"
    assert after.events >= before.events, f"{before.events} events, then {after.events}"


def whole(place: Path) -> None:
    archive = place / ".git/evolve/archive.git"
    if archive.exists():
        done = subprocess.run(["git", "-C", str(archive), "fsck", "--full"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def cycle(place: Path, rng: random.Random, most: float, last: Seen) -> tuple[Seen, float]:
    """Start, wait, look, kill, look again."""
    process = subprocess.Popen(COMMAND, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = rng.uniform(0.0, most)
    time.sleep(after)
    try:
        before = read(place)
        assert process.poll() is None, f"it ended by itself: {process.communicate()[1][-2000:]}"
    finally:
        process.kill()
        process.communicate()
    check(last, before)
    now = read(place)
    check(before, now)
    return now, after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--each", type=int, default=25, help="kills of one run before a new one")
    parser.add_argument("--most", type=float, default=4.0, help="seconds from start to kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    began, load = time.monotonic(), os.getloadavg()[0]
    totals: dict[str, Any] = {"kills": 0, "verdicts": 0, "answers": 0, "runs": 0, "kills_before_the_first_verdict": 0}
    with tempfile.TemporaryDirectory(prefix="evolve-kills-") as folder:
        while totals["kills"] < options.kills:
            place = make_repository(Path(folder) / f"run{totals['runs']}")
            seen = Seen()
            for _ in range(min(options.each, options.kills - totals["kills"])):
                seen, _ = cycle(place, rng, options.most, seen)
                totals["kills"] += 1
                totals["kills_before_the_first_verdict"] += not seen.verdicts
                print(f"\r{totals['kills']} kills, {len(seen.verdicts)} verdicts", end="", file=sys.stderr, flush=True)
            whole(place)
            done = subprocess.run(
                [*COMMAND, "--evals", str(len(seen.verdicts) + 3)], cwd=place, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            check(seen, read(place))
            totals["runs"] += 1
            totals["verdicts"] += len(seen.verdicts)
            totals["answers"] += len(seen.answers)
    totals |= {
        "lost": 0, "measured_twice": 0, "seconds": round(time.monotonic() - began, 1), "seed": options.seed,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip
    print()
    print(json.dumps(totals))
    if options.out:
        options.out.write_text(json.dumps(totals, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
