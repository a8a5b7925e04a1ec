"""Thousands of candidates, three in ten hostile, through the executor: does anything leak, is every verdict right?

    python benchmarks/sandbox/soak.py [--count 10000] [--slots 2] [--out results/soak.json]

Watched before and after: processes, mounts, cgroups, leased user ids, bytes of scratch, memory of the slots. Throughput of
the honest is compared with a run of honest ones alone, net of the slot time that hostile ones use (each up to its own
limit and a second).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pygit2

sys.path.append(str(Path(__file__).resolve().parents[2]))

from evolve.evaluators import machine_fingerprint
from evolve.evaluators.evaluator import Job, Site
from evolve.evaluators.executors import LocalExecutor
from evolve.evaluators.sandbox.keeper import descendants
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task

TASK = """
[task]
name = "soak"
editable = ["program.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "score" }]
timeout = "0.5s"
[limits]
memory = "96M"
processes = 24
disk = "4M"
inodes = 400
output = "4K"
"""

GRADE = """
def evaluate(trial):
    x = trial.random.randrange(2, 10**6)
    if trial.call("program.py:square", x) != x * x:
        raise trial.Incorrect("wrong")
    return {"score": 1.0}
"""

HONEST = "def square(x):\n    return x * x\n"

HOSTILE = {
    "daemon": "import os, time\ndef square(x):\n    if os.fork() == 0:\n        os.setsid(), time.sleep(60)\n    return 0\n",
    "hang": "def square(x):\n    while True: pass\n",
    "sleep": "import time, signal\ndef square(x):\n    signal.signal(15, signal.SIG_IGN)\n    time.sleep(60)\n",
    "fork bomb": "import os\ndef square(x):\n    while True:\n        try: os.fork()\n        except OSError: pass\n",
    "memory": "def square(x):\n    b = bytearray(1 << 30)\n    b[::4096] = b'x' * len(b[::4096])\n    return 0\n",
    "flood": "import os\ndef square(x):\n    while True: os.write(1, b'x' * 65536)\n",
    "disk": "def square(x):\n    with open('f', 'wb') as f:\n        while True: f.write(b'x' * 65536)\n",
    "inodes": "def square(x):\n    for i in range(100000): open(str(i), 'w').close()\n",
    "segfault": "import ctypes\ndef square(x):\n    ctypes.string_at(0)\n",
    "exit": "import os\ndef square(x):\n    os._exit(0)\n",
    "forge": "import os\ndef square(x):\n    os.write(3, b'EVOLVE\\0\\1' + b'\\xff' * 100)\n    os._exit(0)\n",
    "lie": "def square(x):\n    return -1\n",
    "leave": "import os\ndef square(x):\n    for p in ('/tmp/left', '/dev/shm/left'): open(p, 'w').write('x')\n    return 0\n",
}


def system() -> dict[str, int]:
    root = Path("/sys/fs/cgroup")
    groups = sum(1 for path in root.rglob("evolve-6*") if path.is_dir()) if root.is_dir() else 0
    return {
        "processes": len(descendants(os.getpid())), "mounts": Path("/proc/self/mountinfo").read_text().count("evolve-soak-"),
        "groups": groups, "left in /tmp": int(Path("/tmp/left").exists()) + int(Path("/dev/shm/left").exists()),
    }  # fmt: skip


def slots_pss() -> int:
    total = 0
    for pid in descendants(os.getpid()):
        try:
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total >> 10


def scratch_bytes(folder: Path) -> int:
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and "secrets" not in p.parts)


class Soak:
    def __init__(self, folder: Path, slots: int) -> None:
        self.folder, self.slots = folder, slots
        task = folder / "task"
        task.mkdir(parents=True)
        (task / "evaluate.py").write_text(GRADE)
        pygit2.init_repository(str(folder / "archive"), bare=True)
        self.repository = pygit2.Repository(str(folder / "archive"))
        self.site = Site(
            task=Task.parse(TASK, root=task), archive=str(folder / "archive"), base=self.tree(HONEST), task_digest="t",
            evaluator="e", machine=machine_fingerprint(), scratch=str(folder / "scratch"),
        )  # fmt: skip

    def tree(self, text: str) -> str:
        builder = self.repository.TreeBuilder()
        builder.insert("program.py", self.repository.create_blob(text.encode()), pygit2.enums.FileMode.BLOB)
        return str(builder.write())

    async def run(self, kinds: list[str]) -> dict[str, Any]:
        trees = [self.tree((HONEST if k == "honest" else HOSTILE[k]) + f"# {i}\n") for i, k in enumerate(kinds)]
        before = system()
        executor = LocalExecutor({"soak": self.site}, self.slots)
        await (await executor.start(Job("warm", "soak", (self.site.base,), "run"))).result()
        memory: list[int] = []
        wrong: Counter[str] = Counter()
        hostile_seconds = 0.0
        began = time.monotonic()

        async def one(index: int) -> None:
            nonlocal hostile_seconds
            evidence: Evidence = await (await executor.start(Job(str(index), "soak", (trees[index],), "run"))).result()
            scored = bool(evidence.samples)
            if scored != (kinds[index] == "honest"):
                wrong[kinds[index]] += 1
            if kinds[index] != "honest":
                hostile_seconds += min(evidence.cost.wall, 1.5)
            if index % max(len(kinds) // 10, 1) == 0:
                memory.append(slots_pss())

        for start in range(0, len(kinds), 200):
            await asyncio.gather(*(one(i) for i in range(start, min(start + 200, len(kinds)))))
        wall = time.monotonic() - began
        during = {"scratch_bytes": scratch_bytes(self.folder / "scratch"), "slots_pss_mib": memory}
        await executor.close()
        return {
            "count": len(kinds), "hostile": sum(k != "honest" for k in kinds), "wall_s": round(wall, 1),
            "hostile_slot_s": round(hostile_seconds, 1), "wrong": dict(wrong), "before": before, "after": system(), **during,
            "honest_per_slot_s": round(kinds.count("honest") / (wall * self.slots - hostile_seconds), 2),
        }  # fmt: skip


def soak(count: int, slots: int, seed: int = 1) -> dict[str, Any]:
    rng = random.Random(seed)
    kinds = [rng.choice(list(HOSTILE)) if rng.random() < 0.3 else "honest" for _ in range(count)]
    out: dict[str, Any] = {"slots": slots, "load": os.getloadavg()}
    with tempfile.TemporaryDirectory(prefix="evolve-soak-") as folder:
        alone = ["honest"] * max(min(count // 5, 500), 20)
        out["honest_alone"] = asyncio.run(Soak(Path(folder) / "a", slots).run(alone))
        out["mixed"] = asyncio.run(Soak(Path(folder) / "b", slots).run(kinds))
    out["throughput_ratio"] = round(out["mixed"]["honest_per_slot_s"] / out["honest_alone"]["honest_per_slot_s"], 3)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--out")
    options = parser.parse_args()
    text = json.dumps(soak(options.count, options.slots), indent=1)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
