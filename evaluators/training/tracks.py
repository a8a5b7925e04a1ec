"""Tracks: declared settings of a training task. A score of one track is never compared with a score of another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from evolve.tasks.errors import TaskError

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Track:
    """One setting of a training task.

    metric:      "bpb" (bits per byte of raw text; fitness) or "loss" (nats per token; a condition, seconds are fitness).
    seconds:     training time on the referee's clock, from GO until the trained state is here whole; None: no clock.
    tokens:      training tokens served; None: as many as the time allows.
    sequence, vocabulary: T and V. rows: largest batch a candidate may ask for at once.
    validation, holdout: target tokens scored; the holdout is hidden and only has to agree.
    help_text:   whether the Python library's help text serves as corpus where no folder is given.
    processes:   trainer processes (ranks). gpus: cards for them.
    wall:        seconds the trainer may take in all, import, rehearsal and compilation included.
    state:       bytes the trained state may have. memory: bytes the trainer's tree may use.
    scoring:     rows scored at a time. target: loss to reach (speedrun).
    """

    task: Literal["nanochat", "speedrun"]
    name: str
    metric: Literal["bpb", "loss"]
    seconds: float | None
    tokens: int | None
    sequence: int
    vocabulary: int
    rows: int
    validation: int
    holdout: int
    help_text: bool = False
    device: Literal["cuda", "cpu"] = "cuda"
    processes: int = 1
    gpus: int = 1
    wall: float = 900.0
    state: int = 2 * GIB
    memory: int = 64 * GIB
    scoring: int = 8
    target: float | None = None
    repeats: int = 1

    @property
    def id(self) -> str:
        return f"{self.task}/{self.name}"

    @property
    def clocked(self) -> bool:
        """Whether time counts, so that a program is compiled in a rehearsal before the clock starts."""
        return self.seconds is not None or self.metric == "loss"

    def digest(self) -> str:
        """Hex sha256 over everything declared here."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


_NANOCHAT = Track(
    "nanochat", "300s", "bpb", seconds=300.0, tokens=None, sequence=2048, vocabulary=8192, rows=512,
    validation=40 * 524_288, holdout=2 * 524_288, wall=1200.0, state=8 * GIB,
)  # fmt: skip
_CPU = Track(
    "nanochat", "cpu", "bpb", seconds=None, tokens=40 * 8 * 128, sequence=128, vocabulary=512, rows=64,
    validation=48 * 128, holdout=48 * 128, help_text=True, device="cpu", gpus=0, wall=60.0, state=1 << 26,
    memory=3 * GIB, scoring=16,
)  # fmt: skip
_SPEEDRUN = Track(
    "speedrun", "8gpu", "loss", seconds=None, tokens=None, sequence=1024, vocabulary=50_304, rows=512,
    validation=20 * 524_288, holdout=2 * 524_288, processes=8, gpus=8, wall=3600.0, state=4 * GIB, scoring=4,
    target=3.28, repeats=5,
)  # fmt: skip

TRACKS: Mapping[str, Track] = {
    track.id: track
    for track in (
        _NANOCHAT,
        replace(_NANOCHAT, name="30s", seconds=30.0, wall=400.0, validation=1 << 20, holdout=1 << 19, state=2 * GIB,
                scoring=16),
        replace(_NANOCHAT, name="tokens", seconds=None, tokens=20_000 * 2048, wall=600.0, validation=1 << 20,
                holdout=1 << 19, state=2 * GIB),
        _CPU,
        _SPEEDRUN,
        replace(_SPEEDRUN, name="4gpu", processes=4, gpus=4),
        replace(_SPEEDRUN, name="2gpu", processes=2, gpus=2),
        replace(_SPEEDRUN, name="1gpu", processes=1, gpus=1),
        replace(_SPEEDRUN, name="mini", vocabulary=8192, validation=1 << 20, holdout=1 << 19, processes=1, gpus=1,
                wall=400.0, scoring=8, target=None),
        replace(_CPU, task="speedrun", name="cpu", metric="loss", tokens=None, processes=2, target=4.02, repeats=5),
    )
}  # fmt: skip
"""Every track of the two bundled tasks, by "<task>/<name>"."""


def find(task: str, settings: Mapping[str, Any]) -> Track:
    """The track that `[evaluate.settings]` names, with the few constants a task may set itself.

    Keys: track; target (speedrun `mini`: the loss fixed from the baseline's runs); processes (and as many GPUs).
    Raises TaskError naming the known ones.
    """
    name = str(settings.get("track", ""))
    known = [track.name for track in TRACKS.values() if track.task == task]
    if f"{task}/{name}" not in TRACKS:
        raise TaskError(f"evaluate.settings.track {name!r}: the {task} tracks are {', '.join(known)}")
    track = TRACKS[f"{task}/{name}"]
    if "target" in settings:
        track = replace(track, target=float(settings["target"]))
    if track.metric == "loss" and track.target is None:
        raise TaskError(
            f"track {track.id} has no target loss yet: measure the baseline (at least 10 runs) and give "
            "evaluate.settings.target"
        )
    return track


def config(track: Track, seed: int, rank: int = 0) -> dict[str, Any]:
    """What a candidate is told: `build_model(config)`, `feed.config`."""
    return {
        "track": track.name,
        "vocab_size": track.vocabulary,
        "sequence_length": track.sequence,
        "device": track.device,
        "seconds": track.seconds,
        "tokens": track.tokens,
        "max_rows": track.rows,
        "seed": seed,
        "rank": rank,
        "world_size": track.processes,
    }
