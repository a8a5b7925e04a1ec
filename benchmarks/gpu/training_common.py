"""One training run on one card, and the line it leaves: what the training scripts of this folder share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import training_variants as variants

from evolve.evaluators.machine import machine
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.evaluators.training import data, gpu, supervisor, tracks
from evolve.evaluators.training.sample import sample
from evolve.evaluators.training.supervisor import Program
from evolve.evaluators.training.tracks import Track

NO_TARGET = 99.0
"""A speedrun's target while it is still to be found."""

Line = dict[str, Any]

KINDS: Mapping[str, Track] = {
    "30s": replace(tracks.TRACKS["nanochat/30s"], wall=150.0),
    "mini": replace(tracks.TRACKS["speedrun/mini"], target=NO_TARGET, wall=120.0),
    "1gpu": replace(tracks.TRACKS["speedrun/mini"], target=NO_TARGET, wall=120.0),
    "2gpu": replace(tracks.TRACKS["speedrun/mini"], target=NO_TARGET, processes=2, gpus=2, wall=100.0),
    "cpu": tracks.TRACKS["nanochat/cpu"],
    "cpu-speedrun": tracks.TRACKS["speedrun/cpu"],
}
"""What is run: a kind -> its track, with less patience for a run that hangs. 1gpu and 2gpu: the same few steps of `mini`, by accumulation and by NCCL."""

GUESS = {"30s": (80.0, 46.0), "mini": (50.0, 28.0), "1gpu": (55.0, 30.0), "2gpu": (60.0, 45.0), "cpu": (20.0, 20.0),
         "cpu-speedrun": (20.0, 20.0)}  # fmt: skip
"""Seconds a run is thought to take before one was seen: without and with its compile cache."""


def digest(kind: str, variant: str) -> str:
    """Names a program: 16 hex digits of its source."""
    return hashlib.sha256(variants.source(KINDS[kind].task, variant).encode()).hexdigest()[:16]


def seed_of(block: int) -> int:
    """Seeds of a published benchmark need no secret: one a block, the same in every sitting."""
    return int.from_bytes(hashlib.sha256(f"training block {block}".encode()).digest()[:4], "little")


def unpacked(packed: Path, work: Path) -> data.Dataset:
    """The data that training_pack.py packed, as plain arrays below `work`; unpacked once."""
    import training_pack

    meta = json.loads((packed / "meta.json").read_text(encoding="utf-8"))
    place = work / f"data-{meta['digest'][:16]}"
    if not place.is_dir():
        found = training_pack.unpack(packed)
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        for name in training_pack.PARTS:
            np.save(partial / f"{name}.npy", getattr(found, name))
        try:
            partial.rename(place)
        except OSError:  # another process was quicker
            shutil.rmtree(partial)
    arrays = {name: np.load(place / f"{name}.npy") for name in training_pack.PARTS}
    return data.Dataset(**arrays, digest=meta["digest"], source=meta["source"])


class Bench:
    """One card's runs: the sandbox, the data, the programs with their compile caches. Close it."""

    def __init__(
        self, work: Path, packed: Path | None, raw: Path, card: str, *, dry: bool = False, gpus: int = 1
    ) -> None:
        """packed: None on a CPU track. raw: file that gets a line a run. card: its UUID, written into the lines."""
        self.work, self.packed, self.raw, self.card, self.dry = work, packed, raw, card, dry
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o755)
        raw.parent.mkdir(parents=True, exist_ok=True)
        self._data: dict[str, data.Dataset] = {}
        self.took: dict[tuple[str, str, bool], float] = {}
        on_gpu = packed is not None and not dry
        own = work / f"sandbox-{os.getpid()}"
        modules = supervisor.preload(KINDS["30s" if on_gpu else "cpu"])
        self.sandbox = open_sandbox(own, gpus=gpus if on_gpu else 0, preload=modules)
        self.second = None
        if on_gpu:
            self.second = open_sandbox(own.with_name(f"{own.name}-2"), gpus=gpus, preload=modules)
            import torch

            torch.zeros(1, device="cuda")  # an evaluator's process has its context from the first run on

    def track(self, kind: str) -> Track:
        track = KINDS[kind]
        if not self.dry:
            return track
        small = tracks.TRACKS[f"{track.task}/cpu"]
        if track.task == "nanochat":
            return replace(small, tokens=8 * 8 * 128)
        return replace(small, target=NO_TARGET, processes=track.processes)

    def data(self, kind: str) -> data.Dataset:
        track = self.track(kind)
        if track.id not in self._data:
            if track.device == "cpu" or self.packed is None:
                self._data[track.id] = data.load(track, None, cache=self.work / "data")
            else:
                self._data[track.id] = data.cut(unpacked(self.packed, self.work), track)
        return self._data[track.id]

    # ---- compile caches ------------------------------------------------------------------------------------------

    def _cache(self, name: str) -> Path:
        return self.work / f"{name}.lower"

    def _caches(self, kind: str, name: str) -> tuple[Path | None, Path | None, str]:
        """(read-only cache beneath, folder that takes a new one, what was there: "own", "seed's" or "none")."""
        if self.track(kind).device == "cpu":
            return None, None, "none"
        if self._cache(name).is_dir():
            return self._cache(name), None, "own"
        keep = self.work / f"{name}.{os.getpid()}" / ".cache"
        shutil.rmtree(keep.parent, ignore_errors=True)
        seed = self._cache(digest(kind, "seed")) / ".cache"
        if seed.is_dir():
            shutil.copytree(seed, keep)
        keep.mkdir(parents=True, exist_ok=True)
        _open_up(keep)
        return None, keep, "seed's" if seed.is_dir() else "none"

    def _kept(self, name: str, keep: Path) -> None:
        _open_up(keep)
        try:
            keep.parent.rename(self._cache(name))
        except OSError:  # the other card was quicker, and its cache serves as well
            shutil.rmtree(keep.parent, ignore_errors=True)

    # ---- one run -------------------------------------------------------------------------------------------------

    def run(self, kind: str, variant: str, block: int) -> Line:
        """One run, written down at once, whatever becomes of it."""
        began, name = time.monotonic(), digest(kind, variant)
        lower, keep, cache = self._caches(kind, name)
        line: Line = {
            "kind": kind, "track": self.track(kind).id, "variant": variant, "source": name, "block": block,
            "seed": seed_of(block), "card": self.card, "cold": keep is not None, "cache": cache,
        }  # fmt: skip
        preparing = time.monotonic() - began  # copying the seed's cache: a run of the evaluator mounts it
        try:
            line |= self._sampled(kind, variant, name, block, lower, keep)
        except Exception as error:  # noqa: BLE001 - one failing run never ends a sitting; its line says what happened
            line |= {
                "metrics": {},
                "failure": f"ours: {type(error).__name__}: {error}",
                "stderr": traceback.format_exc()[-3000:],
            }
        if line["failure"] and self.second is not None:  # the plainer way from now on, should that have been the reason
            self.second.close()
            self.second = None
        wall = time.monotonic() - began - preparing
        self.took[kind, variant, keep is not None] = wall
        line |= {"wall": round(wall, 2), "machine": machine(), "versions": versions(), "load": os.getloadavg()[0],
                 "time": round(time.time())}  # fmt: skip
        with open(self.raw, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{self.card[-6:]} {kind:5} {variant:12} block {block} {wall:6.1f} s {shown(line)}", flush=True)
        return line

    def _sampled(self, kind: str, variant: str, name: str, block: int, lower: Path | None, keep: Path | None) -> Line:
        track, found_data = self.track(kind), self.data(kind)
        folder = self.work / f"{name}.tree"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(variants.source(track.task, variant))
        hidden = supervisor.masks(track, self.work, self.sandbox.rung)
        program = Program(folder, lower=lower)
        found = sample(
            self.sandbox, program, track, found_data, seed_of(block), hidden=hidden, keep=keep, second=self.second
        )
        if keep and found.failure is None:
            self._kept(name, keep)
        out: Line = {
            "metrics": dict(found.metrics), "failure": found.failure.message if found.failure else None,
            "checks": {check.name: [check.outcome.value, check.detail] for check in found.checks}, "facts": found.facts,
            "data": found_data.digest,
        }  # fmt: skip
        if found.failure is not None and found.outcome is not None:
            out["stderr"] = found.outcome.stderr[-3000:]
        return out

    def expected(self, kind: str, variant: str) -> float:
        """Seconds the next run of a program is thought to take."""
        cold = self.track(kind).device != "cpu" and not self._cache(digest(kind, variant)).is_dir()
        seen = [t for (k, v, c), t in self.took.items() if k == kind and c is cold and (v == variant or not cold)]
        if seen:
            return 1.05 * max(seen)
        return 20.0 if self.dry else GUESS[kind][0 if cold else 1]

    def close(self) -> None:
        self.sandbox.close()
        if self.second is not None:
            self.second.close()


def shown(line: Line) -> str:
    if line["failure"]:
        return f"FAILED: {line['failure'][:300]}"
    m, f = line["metrics"], line["facts"]
    loss = next(m[name] for name in ("val_bpb", "val_loss") if name in m)
    odd = [name for name, (outcome, _) in line["checks"].items() if outcome != "passed"]
    parts = [
        f"{loss:.5f}",
        f"{m['seconds']:.2f} s",
        f"{m['tokens_m']:.1f}M",
        f"ready {f['ready']:.1f}",
        f"scoring {f['scoring']:.1f}",
    ]
    return "  ".join([*parts, line["cache"], f"phases {f['phases']}", *(f"NOT PASSED: {name}" for name in odd)])


def _open_up(folder: Path) -> None:
    """Let the jail's user write below a folder."""
    for path in (folder, *(p for p in folder.rglob("*") if not p.is_symlink())):
        path.chmod(0o777 if path.is_dir() else 0o666)


def versions() -> dict[str, str]:
    import torch

    return {"torch": torch.__version__, "cuda": str(torch.version.cuda), "numpy": np.__version__}


def read(paths: Sequence[str | Path]) -> list[Line]:
    """Lines of earlier sittings: files, and folders with all their .jsonl; what is not there has none."""
    places = [Path(path) for path in paths]
    files = [file for place in places for file in (sorted(place.rglob("*.jsonl")) if place.is_dir() else [place])]
    return [
        json.loads(line) for file in files if file.is_file() for line in file.read_text().splitlines() if line.strip()
    ]


__all__ = ["GUESS", "KINDS", "Bench", "Line", "digest", "gpu", "read", "seed_of", "unpacked"]
