"""Sittings of training runs on one GPU: noise floor, paired changes, the speedrun's `mini`. Resumes from raw JSON lines.

    python3 benchmarks/gpu/training_runs.py smoke   --data DIR --out DIR
    python3 benchmarks/gpu/training_runs.py blocks  --data DIR --out DIR --budget 440 --variants seed,pairs,shift,warmdown
    python3 benchmarks/gpu/training_runs.py mini    --data DIR --out DIR --budget 440 --variants seed,shift

--data: what training_pack.py wrote. --out: gets <what>.jsonl, one line a run, flushed after each; lines of earlier
sittings are read from --have FILE (repeatable) and continued. A block is one run of each variant with one seed, in an
order that turns with the block, so that drift favours nobody; a sitting starts no run that would not fit its budget.
--dry: the same on a CPU with the help text and few tokens. Needs torch, numpy, a GPU's driver and root or user
namespaces; nothing of pygit2 or pyarrow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import training_pack
import training_variants as variants

from evolve.evaluators.machine import machine
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.evaluators.training import data, supervisor, tracks
from evolve.evaluators.training.packing import chunk
from evolve.evaluators.training.sample import sample
from evolve.evaluators.training.supervisor import Program

FIRST_GUESS = {"nanochat": 130.0, "speedrun": 110.0, "dry": 20.0}
"""Seconds a run is thought to take before one was seen (compilation included)."""


class Sitting:
    """One process's runs of one track: the sandbox, the data, programs with their compile caches."""

    def __init__(self, task: str, options: argparse.Namespace) -> None:
        self.task, self.options = task, options
        self.work = Path(options.work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.work.chmod(0o755)
        self.track = self._track()
        self.data = self._data()
        self.began = time.monotonic()
        self.sandbox = open_sandbox(self.work / "sandbox", gpus=self.track.gpus, preload=supervisor.PRELOAD)
        self.hidden = supervisor.masks(self.track, self.work, self.sandbox.rung)
        self.took: dict[str, float] = {}
        self.out = Path(options.out) / f"{options.what}.jsonl"
        self.out.parent.mkdir(parents=True, exist_ok=True)

    def _track(self) -> tracks.Track:
        if self.options.dry or self.options.cpu:
            track = tracks.TRACKS[f"{self.task}/cpu"]
            if self.options.cpu:
                return replace(track, target=99.0 if self.task == "speedrun" else None)
            return replace(track, tokens=8 * 8 * 128 if self.task == "nanochat" else None, target=99.0)
        name = "nanochat/30s" if self.task == "nanochat" else "speedrun/mini"
        track = replace(tracks.TRACKS[name], target=99.0 if self.task == "speedrun" else None)
        return replace(track, seconds=self.options.seconds) if self.options.seconds else track

    def _data(self) -> data.Dataset:
        if self.options.dry or self.options.cpu:
            return data.load(self.track, None, cache=self.work / "data")
        found = training_pack.unpack(Path(self.options.data))
        if self.track.sequence == 2048:
            return found
        parts = [
            chunk(rows[:, :-1].ravel(), self.track.sequence) for rows in (found.train, found.validation, found.holdout)
        ]
        return replace(found, train=parts[0], validation=parts[1], holdout=parts[2])

    def run(self, variant: str, seed: int, block: int) -> dict[str, Any]:
        """One run, written down at once."""
        began = time.monotonic()
        source = variants.source(self.task, variant)
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        folder = self.work / digest
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(source)
        lower = self.work / f"{digest}.lower"
        keep = None if (lower / "ready").exists() else lower / ".cache"
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            keep.chmod(0o777)
        found = sample(
            self.sandbox, Program(folder, lower=None if keep else lower), self.track, self.data, seed, hidden=self.hidden,
            keep=keep,
        )  # fmt: skip
        if keep and found.failure is None:
            for path in (keep, *(p for p in keep.rglob("*") if p.is_dir() and not p.is_symlink())):
                path.chmod(0o777)
            (lower / "ready").touch()
        wall = time.monotonic() - began
        self.took[variant] = wall
        line = {
            "what": self.options.what, "track": self.track.id, "variant": variant, "source": digest, "block": block,
            "seed": seed, "cold": keep is not None, "wall": round(wall, 2), "metrics": dict(found.metrics),
            "failure": found.failure.message if found.failure else None,
            "checks": {check.name: [check.outcome.value, check.detail] for check in found.checks}, "facts": found.facts,
            "data": self.data.digest, "machine": machine(), "versions": _versions(), "time": round(time.time()),
        }  # fmt: skip
        if found.failure is not None and found.outcome is not None:
            line["stderr"] = found.outcome.stderr[-3000:]
        with open(self.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = {name: round(value, 5) for name, value in found.metrics.items()}
        print(f"{variant:12} block {block} {wall:6.1f} s {line['failure'] or shown}", flush=True)
        return line

    def fits(self, variant: str) -> bool:
        guess = self.took.get(variant, FIRST_GUESS["dry" if self.options.dry or self.options.cpu else self.task])
        return time.monotonic() - self.began + guess <= self.options.budget

    def close(self) -> None:
        self.sandbox.close()


def _versions() -> dict[str, str]:
    import torch

    return {"torch": torch.__version__, "cuda": str(torch.version.cuda), "numpy": np.__version__}


def earlier(paths: Sequence[str], what: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines() if line.strip()]
    return [line for line in lines if line["what"] == what and line["failure"] is None]


def seed_of(block: int) -> int:
    """Seeds of a published benchmark need no secret: one a block, the same in every sitting."""
    return int.from_bytes(hashlib.sha256(f"training block {block}".encode()).digest()[:4], "little")


def blocks(sitting: Sitting, names: list[str], have: list[dict[str, Any]], most: int) -> None:
    """Fill in what is missing, block by block."""
    sources = {name: hashlib.sha256(variants.source(sitting.task, name).encode()).hexdigest()[:16] for name in names}
    done = {(line["source"], line["block"]) for line in have}
    for block in range(most):
        turned = names[block % len(names) :] + names[: block % len(names)]
        for name in turned:
            if (sources[name], block) in done:
                continue
            if not sitting.fits(name):
                print(
                    f"the budget of {sitting.options.budget:g} s is used up before {name} of block {block}", flush=True
                )
                return
            sitting.run(name, seed_of(block), block)
    print("nothing is left to do", flush=True)


def smoke(sitting: Sitting) -> None:
    """One short run and what it took: does the jail see the card, do the logits come back, do the probes pass?"""
    for block in range(2):
        line = sitting.run("seed", seed_of(block), block)
        print(json.dumps({key: line[key] for key in ("wall", "checks", "facts")}, indent=1)[:6000], flush=True)
        print(line.get("stderr", ""), flush=True)
        if line["failure"] or not sitting.fits("seed"):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("smoke", "blocks", "mini"))
    parser.add_argument("--data", default="")
    parser.add_argument("--out", required=True)
    parser.add_argument("--work", default="/tmp/evolve-training-runs")
    parser.add_argument("--budget", type=float, default=440.0)
    parser.add_argument("--seconds", type=float, default=None, help="another training time (smoke)")
    parser.add_argument("--variants", default="seed")
    parser.add_argument("--most", type=int, default=10, help="blocks in all")
    parser.add_argument("--have", action="append", default=[])
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="the `cpu` track as it is")
    options = parser.parse_args()
    sitting = Sitting("speedrun" if options.what == "mini" else "nanochat", options)
    try:
        if options.what == "smoke":
            smoke(sitting)
        else:
            blocks(sitting, options.variants.split(","), earlier(options.have, options.what), options.most)
    finally:
        sitting.close()


if __name__ == "__main__":
    main()
