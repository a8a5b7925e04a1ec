"""The `training` evaluator: nanochat autoresearch and the speedrun, hardened. See `evolve.evaluators.evaluator`.

`[evaluate.settings]`: task = "nanochat" or "speedrun"; track; data (folder of shards or packed rows); entry (file with
build_model and train); target (speedrun's `mini`); waive (a declared systems change needs no significance);
early_stopping (on by default only where its error rate was measured: the `cpu` track, docs/results/training.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.evaluators.bench import checked, logs, order, private_folders
from evolve.evaluators.evaluator import Job, Site, Stage
from evolve.evaluators.kernels import gpus
from evolve.evaluators.machine import machine
from evolve.evaluators.materialise import Workshop
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.training import curves, data, noise, screen, speedrun, supervisor, tracks
from evolve.evaluators.training.sample import Sampled, sample
from evolve.evaluators.training.supervisor import Program
from evolve.tasks.errors import InfrastructureError, TaskError
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Sample
from evolve.tasks.verdict import CONFIRM, STRICT

VERSION = "training/1"

SETTINGS = ("task", "track", "data", "entry", "target", "waive", "early_stopping")

STAGE = "train"


@dataclass
class _Job:
    """What a job gathered so far."""

    samples: list[Sample] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    facts: list[Mapping[str, Any]] = field(default_factory=list)
    cpu: float = 0.0

    def of(self, tree: str, metric: str) -> list[float]:
        return [s.metrics[metric] for s in self.samples if s.tree == tree]


class TrainingEvaluator:
    """Trains each tree under supervision, scores what it handed in, and says what the probes found."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        settings = site.task.evaluate.settings
        for key in settings:
            if key not in SETTINGS:
                raise TaskError(
                    f"evaluate.settings has no key {key!r}; the training evaluator knows {', '.join(SETTINGS)}"
                )
        self.settings = settings
        self.track = tracks.find(str(settings.get("task", "nanochat")), settings)
        self.entry = str(settings.get("entry", "train.py"))
        self._scratch = Path(site.scratch)
        self._own = self._scratch / f"slot-{os.getpid()}"
        self._engine: _Engine | None = None

    def digest(self) -> str:
        facts = {"version": VERSION, "track": self.track.digest(), "settings": dict(self.settings), "source": _source()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def stages(self) -> Sequence[Stage]:
        seconds = self.track.wall + (self.track.seconds or 0.0)
        return (Stage(STAGE, max(self.task.evaluate.repeats.screen, self.track.repeats), seconds, self.track.gpus),)

    @property
    def engine(self) -> _Engine:
        if self._engine is None:
            self._engine = _Engine(self.site, self.track, self.settings, self._own)
        return self._engine

    @property
    def floor(self) -> noise.FloorFile:
        path = self._scratch / f"noise-{self.track.name}.json"
        return noise.FloorFile(path, self.track.id, self.site.machine, self.site.base)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    # ---- one job -------------------------------------------------------------------------------------------------

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        began = time.monotonic()
        secret = os.urandom(32)
        gathered = _Job()
        for tree in job.trees:
            if failure := self._screen(tree):
                gathered.failures[tree] = failure
        if job.stage == CONFIRM and len(job.trees) > 1 and not gathered.failures:
            self._top_up(secret, gathered, progress)
        for block in range(job.first_block, job.first_block + job.blocks):
            seed = int.from_bytes(hashlib.sha256(secret + block.to_bytes(8, "little")).digest()[:4], "little")
            for tree in order(job.trees, block):
                if tree not in gathered.failures:
                    progress(f"block {block}: training {tree[:8]}")
                    self._once(job, tree, block, seed, gathered)
        self._conclude(job, gathered)
        wall = time.monotonic() - began
        return Evidence(
            job.id, job.trees, self.site.task_digest, self.site.evaluator, self.site.machine, job.stage,
            secret=hashlib.sha256(secret).hexdigest(), samples=tuple(gathered.samples), failures=gathered.failures,
            checks=tuple(gathered.checks), cost=Cost(wall, gathered.cpu, wall * self.track.gpus),
            sandbox=self.engine.sandbox.label, artifacts=tuple(gathered.artifacts[:8]),
            facts={"track": self.track.id, "data": self.engine.data.digest, "machine": machine(), "runs": gathered.facts},
        )  # fmt: skip

    def _screen(self, tree: str) -> Failure | None:
        files = self.engine.files(tree)
        if failure := screen.refuse(files) or screen.reaches(files):
            return failure
        if tree != self.site.base and (earlier := self._same_but_for_randomness(tree, files)):
            text = f"it differs from {earlier[:12]} only in what feeds randomness; seeds are the evaluator's"
            return Failure(FailureKind.GATE, text)
        return None

    def _same_but_for_randomness(self, tree: str, files: Mapping[str, bytes]) -> str:
        """An earlier tree of this run that is the same program but for seeds and unused draws; the base to begin with."""
        whole, plain = screen.forms(files)
        with _locked(self._scratch / "forms.json") as path:
            known: dict[str, list[str]] = json.loads(path.read_text()) if path.is_file() else {}
            if not known:
                base = screen.forms(self.engine.files(self.site.base))
                known[base[1]] = [self.site.base, base[0]]
            earlier = known.setdefault(plain, [tree, whole])
            path.write_text(json.dumps(known))
        return earlier[0] if earlier[0] != tree and earlier[1] != whole else ""

    def _once(self, job: Job, tree: str, block: int, seed: int, gathered: _Job) -> None:
        result = self._train(tree, seed, None if job.stage in STRICT else self._stop(job))
        gathered.cpu += result.cpu
        gathered.facts.append({"tree": tree, "block": block, **result.facts})
        for check in result.checks:
            if check.outcome.value != "passed" or not any(
                c.name == check.name and c.tree == tree for c in gathered.checks
            ):
                gathered.checks.append(Check(check.name, check.outcome, check.detail, tree))
        values = result.failure or checked(
            {m.name: m for m in self.task.evaluate.metrics}, result.metrics, "the evaluator"
        )
        if isinstance(values, Failure):
            gathered.failures[tree] = values
            if result.outcome is not None:
                gathered.artifacts += logs(result.outcome, tree[:8])
            return
        gathered.samples.append(Sample(tree, values, block, result.seconds))
        if tree == self.site.base:
            self.floor.add(values, machine(), result.gpu)

    def _train(self, tree: str, seed: int, stop: supervisor.Stop | None) -> Sampled:
        engine = self.engine
        program, keep = engine.program(tree, self.entry)
        result = sample(
            engine.sandbox,
            program,
            self.track,
            engine.data,
            seed,
            hidden=engine.hidden,
            stop=stop,
            keep=keep,
            second=engine.second,
        )
        engine.kept(keep)
        if result.failure is None:
            curves.remember(self._scratch / "curves.json", tree, result.curve)
        return result

    def _stop(self, job: Job) -> supervisor.Stop | None:
        """Early stopping against the parent's curve; none where that is not known."""
        wanted = self.settings.get("early_stopping", self.track.id in curves.PROVEN)
        if not wanted or not job.parent or self.site.base in job.trees or self.track.metric == "loss":
            return None
        parent = curves.recall(self._scratch / "curves.json", job.parent)
        return curves.stopper(parent) if parent else None

    def _top_up(self, secret: bytes, gathered: _Job, progress: Callable[[str], None]) -> None:
        """No decision without a noise floor: further runs of the baseline until there are enough."""
        while (have := self.floor.read().n) < noise.FEWEST:
            progress(f"noise floor: run {have + 1} of {noise.FEWEST} of the baseline")
            seed = int.from_bytes(hashlib.sha256(secret + b"floor" + bytes([have])).digest()[:4], "little")
            result = self._train(self.site.base, seed, None)
            gathered.cpu += result.cpu
            if result.failure is not None:
                raise TaskError(f"the baseline scored before and now fails: {result.failure.message}")
            values = {m.name: result.metrics[m.name] for m in self.task.evaluate.metrics}
            self.floor.add(values, machine(), result.gpu)

    def _conclude(self, job: Job, gathered: _Job) -> None:
        """What only all samples together show: significance of the loss, agreement of the holdout."""
        for tree in job.trees:
            if tree in gathered.failures:
                gathered.samples = [s for s in gathered.samples if s.tree != tree]
            elif self.track.metric == "loss" and self.track.target is not None:
                losses = gathered.of(tree, "val_loss")
                counts, why = speedrun.check_entry(
                    losses, self.track.target, systems_change=bool(self.settings.get("waive", False))
                )
                if not counts:
                    gathered.failures[tree] = Failure(FailureKind.INCORRECT, why)
        if len(job.trees) == 2 and not gathered.failures and self.track.metric == "bpb":
            ours, theirs = job.trees
            gains = [
                [old - new for new, old in zip(gathered.of(ours, m), gathered.of(theirs, m), strict=True)]
                for m in ("val_bpb", "holdout_bpb")
            ]
            gathered.checks.append(noise.agreement(gains[0], gains[1], ours))


class _Engine:
    """What one slot keeps between jobs: its cards, the sandbox, the data, trees in folders, the seed's compile cache."""

    def __init__(self, site: Site, track: tracks.Track, settings: Mapping[str, Any], own: Path) -> None:
        self.site, self.track = site, track
        self.leases = _cards(track)
        self.data = data.load(track, settings.get("data"))
        self.workshop = Workshop(site.archive, own / "trees")
        self.sandbox = self._open(own / "sandbox")
        self.second = self._open(own / "second") if track.gpus else None
        """For the second scorer, which has its GPU ready by the time the first one is done."""
        self.hidden = supervisor.masks(track, own, self.sandbox.rung)
        self._cache = Path(site.scratch) / f"compiled-{track.name}"

    def _open(self, scratch: Path) -> LocalSandbox:
        site, track = self.site, self.track
        return open_sandbox(
            scratch, unsafe=site.unsafe, gpus=track.gpus, rung=site.rung, preload=supervisor.preload(track),
            hide=private_folders(site),
        )  # fmt: skip

    def files(self, tree: str) -> dict[str, bytes]:
        """The editable files of a tree."""
        folder = self.workshop.folder(tree)
        paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
        names = [(p.relative_to(folder).as_posix(), p) for p in paths]
        return {name: p.read_bytes() for name, p in names if self.site.task.may_edit(name)}

    def program(self, tree: str, entry: str) -> tuple[Program, Path | None]:
        """The tree to run, and the folder that takes its compile cache: the base's first run on a GPU fills it."""
        folder = self.workshop.folder(tree)
        if self.track.device == "cpu":
            return Program(folder, entry), None
        if self._cache.is_dir():
            return Program(folder, entry, lower=self._cache), None
        if tree != self.site.base:
            return Program(folder, entry), None
        keep = self._cache.with_name(f"{self._cache.name}.{os.getpid()}") / ".cache"
        keep.mkdir(parents=True, exist_ok=True)
        keep.chmod(0o777)
        return Program(folder, entry), keep

    def kept(self, keep: Path | None) -> None:
        """Put a filled compile cache in its place; whoever is first wins."""
        if keep is None or self._cache.is_dir():
            return
        for folder in (keep, *(p for p in keep.rglob("*") if p.is_dir() and not p.is_symlink())):
            folder.chmod(0o777)
        try:
            keep.parent.rename(self._cache)
        except OSError:
            return  # another slot's is there already, and serves as well

    def close(self) -> None:
        self.sandbox.close()
        if self.second is not None:
            self.second.close()
        self.workshop.close()
        for lease in self.leases:
            lease.close()


def _cards(track: tracks.Track) -> list[gpus.Lease]:
    """Lease the track's cards for this process, and see no others from now on. Raises InfrastructureError."""
    if not track.gpus:
        return []
    if not gpus.cards():
        raise InfrastructureError(
            f"track {track.id} needs {track.gpus} NVIDIA GPU{'s' if track.gpus > 1 else ''} and none was found here; "
            "--set evaluate.settings.track=cpu runs on any machine"
        )
    leases = gpus.several(track.gpus)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(lease.uuid for lease in leases)
    return leases


def _source() -> str:
    """Hex sha256 over this package's own files: a change of the grader opens a new epoch."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
