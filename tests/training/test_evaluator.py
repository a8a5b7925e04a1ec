"""The evaluator through its protocol: a real archive, real jails, the `cpu` tracks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest

from evolve.evaluators.evaluator import Evaluator, Job, Site
from evolve.evaluators.training import noise, tracks
from evolve.evaluators.training.evaluator import TrainingEvaluator
from evolve.population.git import Store
from evolve.tasks.errors import TaskError
from evolve.tasks.evidence import Evidence, FailureKind
from evolve.tasks.task import Task
from evolve.tasks.verdict import Calibration, Status, judge

pytestmark = [pytest.mark.torch, pytest.mark.jail]

ROOT = Path(__file__).parents[2] / "tasks"


class Scene:
    """An archive with trees of a task's seed, and the evaluator."""

    def __init__(self, root: Path, name: str, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        task = Task.load(ROOT / name)
        self.task = replace(task, evaluate=replace(task.evaluate, settings={**task.evaluate.settings, **settings}))
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        pygit2.init_repository(str(root / "archive.git"), bare=True)
        self.store = Store(root / "archive.git", durable=False)
        self.source = (ROOT / name / "seed" / "train.py").read_text()
        self.base = self.tree(self.source)
        self.root = root
        self.site = Site(
            self.task, str(root / "archive.git"), self.base, "task", "evaluator", "machine", str(root / "scratch")
        )
        self.evaluator: Evaluator = TrainingEvaluator(self.site)

    def tree(self, source: str) -> str:
        tree = self.store.edit(self.store.tree({}), {"train.py": source.encode()})
        self.store.flush()
        return tree

    def measure(self, stage: str, *trees: str, blocks: int = 1) -> Evidence:
        return self.evaluator.measure(Job(f"1/{stage}/0", self.task.name, trees, stage, blocks), lambda _: None)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, object]], Scene]]:
    made: list[Scene] = []

    def make(name: str, settings: dict[str, object]) -> Scene:
        made.append(Scene(tmp_path, name, settings, monkeypatch))
        return made[-1]

    yield make
    for one in made:
        one.evaluator.close()


@pytest.fixture
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    track = tracks.TRACKS["nanochat/cpu"]
    monkeypatch.setitem(tracks.TRACKS, track.id, replace(track, tokens=8 * 8 * 128))


@pytest.mark.usefixtures("few_tokens")
def test_a_candidate_is_screened_scored_and_judged_against_the_champion(
    scene: Callable[[str, dict[str, object]], Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "FEWEST", 3)
    here = scene("nanochat_autoresearch", {"track": "cpu"})
    (stage,) = here.evaluator.stages()
    assert stage.gpus == 0

    first = here.measure(stage.name, here.base, blocks=2)
    assert (
        not first.failures
        and len(first.samples) == 2
        and not first.self_reported
        and first.sandbox.startswith("jailed")
    )
    assert {check.name for check in first.checks} >= {"first-loss", "repeat", "causality"}
    verdict = judge([first], here.base, here.task, Calibration())
    assert verdict.status is Status.SCORED and 2.0 < -(verdict.fitness or 0) < 6.0
    assert first.samples[0].metrics["val_bpb"] != first.samples[1].metrics["val_bpb"], (
        "each block has a seed of its own"
    )

    broken = here.tree("\x00) this is no program ((\n")
    assert here.measure(stage.name, broken).failures[broken].kind is FailureKind.PARSE
    lucky = here.tree(
        here.source.replace(
            "    setting = model.setting\n    muon", "    torch.manual_seed(3)\n    setting = model.setting\n    muon"
        )
    )
    refused = here.measure(stage.name, lucky)
    assert "randomness" in refused.failures[lucky].message and not refused.samples

    better = here.tree(here.source.replace("Setting(2, 64, 2, 8,", "Setting(2, 64, 2, 4,"))
    gate = here.measure("confirm", better, here.base, blocks=2)
    assert not gate.failures and len(gate.of(better)) == len(gate.of(here.base)) == 2
    ours, theirs = ([s.metrics["val_bpb"] for s in gate.of(tree)] for tree in (better, here.base))
    assert all(a < b for a, b in zip(ours, theirs, strict=True)), "twice the steps on the same tokens and seeds"
    (agreed,) = [check for check in gate.checks if check.name == "holdout"]
    assert agreed.tree == better and agreed.outcome.value == "passed" and "2 pairs" in agreed.detail
    floor = json.loads((here.root / "scratch" / "noise-cpu.json").read_text())
    assert len(floor["values"]["val_bpb"]) >= 3 and floor["hardware"]["cpu"]


def test_a_speedrun_on_two_ranks_is_scored_by_time_if_its_loss_is_low_enough(
    scene: Callable[[str, dict[str, object]], Scene],
) -> None:
    here = scene(
        "nanogpt_speedrun", {"track": "cpu", "target": 5.5}
    )  # two runs prove little: far from the 3.9 it reaches
    assert here.evaluator.stages()[0].blocks == 5
    found = here.measure("train", here.base, blocks=2)
    assert not found.failures, found.failures
    assert all(s.metrics["seconds"] > 0 and s.metrics["tokens_m"] == pytest.approx(0.03072) for s in found.samples)
    runs = found.facts["runs"]
    assert isinstance(runs, list) and runs[0]["planned"] == 30 * 8 * 128
    here.evaluator.close()

    strict = Scene(here.root / "strict", "nanogpt_speedrun", {"track": "cpu", "target": 3.9}, pytest.MonkeyPatch())
    missed = strict.measure("train", strict.base, blocks=2)
    assert "not below the target 3.9" in missed.failures[strict.base].message and not judge_scores(missed, strict)
    strict.evaluator.close()


def judge_scores(evidence: Evidence, here: Scene) -> bool:
    return judge([evidence], here.base, here.task, Calibration()).status is Status.SCORED


def test_a_program_that_plans_nothing_or_too_much_is_refused(scene: Callable[[str, dict[str, object]], Scene]) -> None:
    here = scene("nanogpt_speedrun", {"track": "cpu"})
    silent = here.tree(here.source.replace("def plan(config)", "def other(config)"))
    failure = here.measure("train", silent).failures[silent]
    assert failure.kind is FailureKind.CRASH  # the last word is a rank's own, or of one whose neighbour has gone
    assert "no function 'plan'" in failure.message or "is gone" in failure.message
    # it says little and asks for more: the referee serves what was said
    greedy = here.tree(
        here.source.replace("    return setting.steps * setting.rows * config", "    return 4 * setting.rows * config")
    )
    found = here.measure("train", greedy)
    assert found.facts["runs"][0]["tokens"] == 4 * 8 * 128  # type: ignore[index]


def test_an_unknown_setting_is_an_error(tmp_path: Path) -> None:
    task = Task.load(ROOT / "nanochat_autoresearch")
    wrong = replace(task, evaluate=replace(task.evaluate, settings={**task.evaluate.settings, "trak": "cpu"}))
    with pytest.raises(TaskError, match="trak"):
        TrainingEvaluator(Site(wrong, "", "", "", "", "", str(tmp_path)))
