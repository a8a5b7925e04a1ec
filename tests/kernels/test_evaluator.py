"""The evaluator in the spine's protocol: a real archive, a tree measured on the CPU; leases; settings; no GPU."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest

from evolve.evaluators.evaluator import Job, Site
from evolve.evaluators.kernels import gpus
from evolve.evaluators.kernels.evaluator import KernelEvaluator
from evolve.population.git import Store
from evolve.tasks.errors import InfrastructureError, TaskError
from evolve.tasks.evidence import FailureKind
from evolve.tasks.task import Task
from evolve.tasks.verdict import VERIFY
from tests.support import require

ROOT = Path(__file__).resolve().parents[2] / "tasks/sol_execbench"


def site(tmp_path: Path, **settings: object) -> Site:
    task = Task.load(ROOT)
    task = replace(task, evaluate=replace(task.evaluate, settings={"problem": "rmsnorm", "device": "cpu", **settings}))
    return Site(task, str(tmp_path / "archive.git"), "", "digest", "evaluator", "machine", str(tmp_path))


@pytest.mark.torch
def test_seed_scores_half_and_a_wrong_kernel_is_incorrect(tmp_path: Path) -> None:
    require("torch")
    pygit2.init_repository(str(tmp_path / "archive.git"), bare=True)
    store = Store(tmp_path / "archive.git")
    text = (ROOT / "seed/kernels/rmsnorm.py").read_text()
    wrong = text.replace("* weight.to(acc)", "")
    trees = [store.edit(store.tree({}), {"kernels/rmsnorm.py": t.encode()}) for t in (text, wrong)]
    for tree in trees:
        store.commit(tree, (), "a tree", 1.0)
    store.flush()
    evaluator = KernelEvaluator(replace(site(tmp_path), base=trees[0]))
    try:
        evidence = evaluator.measure(Job("1/measure/0", "sol", (trees[0],), "measure", blocks=1), lambda line: None)
        (sample,) = evidence.of(trees[0])
        assert sample.metrics["score"] == pytest.approx(0.5, abs=0.02) and evidence.secret
        assert "not comparable" in json.dumps(evidence.facts)
        strict = evaluator.measure(Job("1/verify/0", "sol", (trees[0],), VERIFY, blocks=1), lambda line: None)
        assert strict.of(trees[0]) and not strict.checks, "where no hidden workload can be drawn, none is asked for"
        evidence = evaluator.measure(Job("2/measure/0", "sol", (trees[1],), "measure", blocks=1), lambda line: None)
        assert evidence.failures[trees[1]].kind is FailureKind.INCORRECT and not evidence.samples
    finally:
        evaluator.close()


def test_without_a_gpu_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "cards", list)
    with pytest.raises(TaskError, match="no NVIDIA GPU was found here"):
        KernelEvaluator(site(tmp_path, device="auto"))


def test_settings_are_checked(tmp_path: Path) -> None:
    for bad in ({"problm": "x"}, {"calls": "many"}, {"device": "tpu"}, {"problem": ""}):
        with pytest.raises(TaskError, match=r"evaluate\.settings"):
            KernelEvaluator(site(tmp_path, **bad))


def test_a_card_is_leased_once(tmp_path: Path) -> None:
    first = gpus.take(0.2, ["GPU-a", "GPU-b"], tmp_path)
    second = gpus.take(0.2, ["GPU-a", "GPU-b"], tmp_path)
    assert {first.uuid, second.uuid} == {"GPU-a", "GPU-b"}
    with pytest.raises(InfrastructureError, match="leased"):
        gpus.take(0.2, ["GPU-a", "GPU-b"], tmp_path)
    first.close()
    gpus.take(0.2, ["GPU-a"], tmp_path).close()
    second.close()


def test_several_cards_are_leased_at_once_or_not_at_all(tmp_path: Path) -> None:
    cards = ["GPU-a", "GPU-b", "GPU-c"]
    with open(tmp_path / "GPU-b.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # another process's measurement
        with pytest.raises(InfrastructureError, match="3 were never free at once"):
            gpus.several(3, 0.1, cards, tmp_path)
        both = gpus.several(2, 0.1, cards, tmp_path)
        assert [lease.uuid for lease in both] == ["GPU-a", "GPU-c"]
        again = gpus.several(1, 0.1, ["GPU-c"], tmp_path)  # this process's own: shared, and still locked for others
        both[1].close()
        with pytest.raises(InfrastructureError, match="leased"):
            gpus.take(0.1, ["GPU-c"], tmp_path)
        both[0].close()
        again[0].close()
    with pytest.raises(InfrastructureError, match="4 NVIDIA GPUs are needed and 3 are visible"):
        gpus.several(4, 0.1, cards, tmp_path)
