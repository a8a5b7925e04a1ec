"""Thousands of candidates, three in ten hostile, through the executor: does anything leak, is every verdict right?

    python benchmarks/sandbox/soak.py [--count 10000] [--slots 2] [--out results/soak.json]

Watched before and after: processes, mounts, control groups whose user id nobody holds, files left in shared folders; and
after each block: bytes of scratch, memory and open files of the slots. Throughput of the honest is compared with that of
honest ones alone, in blocks between, net of the slot time that hostile ones use (each up to its own limit and a second).
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
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


def system(groups: set[str]) -> dict[str, int]:
    """What is there now. groups: folders of control groups that the slots' candidates were seen in."""
    return {
        "processes": len(descendants(os.getpid())), "mounts": Path("/proc/self/mountinfo").read_text().count("evolve-soak-"),
        "groups": sum(os.path.isdir(group) and not _leased(group) for group in groups),
        "left in /tmp": int(Path("/tmp/left").exists()) + int(Path("/dev/shm/left").exists()),
    }  # fmt: skip


def _leased(group: str) -> bool:
    """Whether somebody holds the user id that a group is named after; elsewhere on the machine others come and go."""
    try:
        with open(f"/run/evolve-uids/{group.rpartition('-')[2]}") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def groups_below(root: int) -> set[str]:
    found = set()
    for pid in descendants(root):
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            continue
        names = {line.rsplit("/", 1)[1] for line in text.splitlines() if "/evolve-6" in line}
        found |= {str(path) for name in names for path in Path("/sys/fs/cgroup").glob(f"*/{name}")}
        found |= {str(path) for name in names for path in Path("/sys/fs/cgroup").glob(name)}
    return found


def slots_files() -> int:
    total = 0
    for pid in descendants(os.getpid()):
        try:
            total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return total


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
        """The kinds in blocks of BLOCK, each after ALONE honest ones by themselves, so that both see the same load."""
        before = system(set())
        executor = LocalExecutor({"soak": self.site}, self.slots)
        await (await executor.start(Job("warm", "soak", (self.site.base,), "run"))).result()
        wrong: Counter[str] = Counter()
        seen: dict[str, list[int]] = {"slots_pss_mib": [], "slots_files": [], "scratch_bytes": []}
        groups: set[str] = set()
        hostile_seconds, wall, alone_wall, alone = 0.0, 0.0, 0.0, 0

        async def one(name: str, kind: str) -> None:
            nonlocal hostile_seconds
            tree = self.tree((HONEST if kind == "honest" else HOSTILE[kind]) + f"# {name}\n")
            evidence: Evidence = await (await executor.start(Job(name, "soak", (tree,), "run"))).result()
            if bool(evidence.samples) != (kind == "honest"):
                wrong[kind] += 1
            if kind != "honest":
                hostile_seconds += min(evidence.cost.wall, 1.5)
            groups.update(groups_below(os.getpid()) if len(groups) < 3 * self.slots else ())

        for start in range(0, len(kinds), BLOCK):
            began = time.monotonic()
            await asyncio.gather(*(one(f"a{start + i}", "honest") for i in range(ALONE)))
            alone_wall, alone = alone_wall + time.monotonic() - began, alone + ALONE
            began = time.monotonic()
            await asyncio.gather(*(one(str(start + i), kind) for i, kind in enumerate(kinds[start : start + BLOCK])))
            wall += time.monotonic() - began
            for name, value in (("slots_pss_mib", slots_pss()), ("slots_files", slots_files()),
                                ("scratch_bytes", scratch_bytes(self.folder / "scratch"))):  # fmt: skip
                seen[name].append(value)
            print(f"{start + BLOCK} of {len(kinds)}, {wall + alone_wall:.0f} s, wrong: {dict(wrong)}", file=sys.stderr, flush=True)
        await executor.close()
        honest = kinds.count("honest") / (wall * self.slots - hostile_seconds)
        return {
            "count": len(kinds), "hostile": len(kinds) - kinds.count("honest"), "wall_s": round(wall, 1),
            "hostile_slot_s": round(hostile_seconds, 1), "wrong": dict(wrong), "before": before, "after": system(groups),
            "groups_used": len(groups), **seen, "honest_per_slot_s": round(honest, 2), "alone": alone,
            "alone_wall_s": round(alone_wall, 1), "alone_per_slot_s": round(alone / (alone_wall * self.slots), 2),
        }  # fmt: skip


BLOCK, ALONE = 500, 60


def soak(count: int, slots: int, seed: int = 1) -> dict[str, Any]:
    rng = random.Random(seed)
    kinds = [rng.choice(list(HOSTILE)) if rng.random() < 0.3 else "honest" for _ in range(count)]
    out: dict[str, Any] = {"slots": slots, "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory(prefix="evolve-soak-") as folder:
        mixed = asyncio.run(Soak(Path(folder) / "b", slots).run(kinds))
    out |= {"load_after": os.getloadavg(), "mixed": mixed}
    out["throughput_ratio"] = round(mixed["honest_per_slot_s"] / mixed["alone_per_slot_s"], 3)
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
