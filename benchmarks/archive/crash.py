"""Kills and power cuts against the record alone, in numbers that CI has no time for.

    python benchmarks/archive/crash.py --kills 500 --cuts 2000 --out benchmarks/archive/results/crash.json

Kills: a writer with four coroutines, folds and maintenance under way is killed at a uniform time; every acknowledged
event must be in the log, the repository whole for `git fsck`, the next process must go on. Cuts: every write, rename
and fsync of a writer is recorded, and the disk rebuilt as a power cut at a random operation would leave it
(tests/population/powercut.py); the same with fsync off and with the ref moved first, which must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.population import test_archive_crash as crash
from tests.population.scene import opened, repository


def fresh(folder: Path, name: str) -> Path:
    repo = repository(folder / name)
    archive, writer, _ = opened(repo)
    writer.close()
    archive.close()
    return repo


def kill(folder: Path, number: int, rng: random.Random) -> dict[str, int | float]:
    """One kill; raises AssertionError where something acknowledged is gone."""
    repo, acks = fresh(folder, f"kill{number}"), folder / f"acks{number}"
    process = crash.write(repo, acks, "none", "0", "100000", "maintain=yes", f"fold={rng.choice([2, 4, 128])}")
    while not acks.exists():
        time.sleep(0.005)
        assert process.poll() is None, process.communicate()[1].decode()
    after = rng.uniform(0.0, 1.5)
    time.sleep(after)
    process.kill()
    process.communicate()
    acked = crash.acknowledged(acks)
    found = crash.check_whole(repo / ".git/evolve/archive.git", acked)
    crash.check_goes_on(repo)
    shutil.rmtree(repo)
    return {"after_s": after, "acknowledged": len(acked), "found": found}


def cut(folder: Path, name: str, samples: int, *options: str) -> dict[str, object]:
    place = folder / name
    place.mkdir()
    made, wrong = crash.power_cuts(fresh(place, "user"), place, samples, *options, whole=1)
    return {"options": options, "cuts": made, "wrong": len(wrong), "first": wrong[:3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng, kills = random.Random(11), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.kills):
            kills.append(kill(folder, number, rng))
        each = max(options.cuts // 6, 1)  # three ways of cutting at each place, in two settings
        cuts = [
            cut(folder, "plain", each, "fold=4"),
            cut(folder, "maintenance", each, "fold=2", "maintain=yes"),
            cut(folder, "no-fsync", 20, "durable=no"),
            cut(folder, "ref-first", 60, "order=ref-first"),
        ]
    out = {
        "kills": len(kills),
        "acknowledged": sum(int(k["acknowledged"]) for k in kills),
        "lost": 0,  # a lost one ends the script
        "each_kill": [[round(k["after_s"], 3), k["acknowledged"], k["found"]] for k in kills],
        "cuts": cuts,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "git": subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    assert not cuts[0]["wrong"] and not cuts[1]["wrong"], cuts
    assert cuts[2]["wrong"] and cuts[3]["wrong"], "the power cut test must see what is wrong on purpose"
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps({k: v for k, v in out.items() if k != "each_kill"}, indent=1))


if __name__ == "__main__":
    main()
