"""`evolve run sol_execbench --all`: one run, a task for each problem, a scoreboard."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evolve import api
from evolve.cli import group
from evolve.evaluators.evaluator import Job, Stage
from evolve.opening import open_run
from evolve.population.archive import Archive
from evolve.scoreboard import scoreboard
from evolve.settings import RunSettings
from evolve.tasks.errors import TaskError, UsageError
from evolve.tasks.evidence import Evidence, Failure, FailureKind, Sample
from tests.support import require

SCORES = {"softmax": 0.5, "swiglu": 0.8}
ROOM = {"softmax": 8.0, "swiglu": 2.0}
ON_CPU = {"evaluate.settings.device": "cpu"}


class Fixed:
    """Each problem's seed has a fixed score; nothing else runs."""

    def __init__(self) -> None:
        self.seeds: dict[str, str] = {}

    def digest(self) -> str:
        return "fixed"

    def stages(self) -> Sequence[Stage]:
        return (Stage("measure"),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        samples: list[Sample] = []
        failures = {}
        for tree, block in itertools.product(job.trees, range(job.first_block, job.first_block + job.blocks)):
            if self.seeds.setdefault(job.task, tree) == tree:
                metrics = {"score": SCORES[job.task], "time_us": 10.0, "speedup": 2.0, "headroom": ROOM[job.task]}
                samples.append(Sample(tree, metrics, block))
            else:
                failures[tree] = Failure(FailureKind.CRASH, "no such kernel")
        return Evidence(job.id, job.trees, "d", "fixed", "m", job.stage, samples=tuple(samples), failures=failures)

    def close(self) -> None:
        pass


@pytest.mark.torch
def test_all_problems_are_tasks_of_one_run(tmp_path: Path) -> None:
    require("torch")
    opened = open_run(RunSettings(("sol_execbench",), tmp_path, every=True, overrides=ON_CPU))
    try:
        assert opened.run == "sol_execbench" and len(opened.grounds) >= 48
        assert opened.archive.path.parent.name == "evolve-sol_execbench"
        for name, ground in opened.grounds.items():
            assert ground.task.editable == (f"kernels/{name}.py",) and ground.task.evaluate.settings["problem"] == name
        assert len({ground.base_tree for ground in opened.grounds.values()}) == 1
    finally:
        opened.writer.close()


@pytest.mark.torch
def test_the_scoreboard_has_the_mean_over_problems_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("torch")
    only = {**ON_CPU, "evaluate.settings.only": "softmax,swi*"}
    result = api.evolve(
        "sol_execbench", where=tmp_path, every=True, overrides=only, evaluator=Fixed(), evaluations=2, seed=1, control=False,
        publish=False,
    )  # fmt: skip
    assert result is not None
    state = Archive.open(tmp_path).state("sol_execbench")
    found = scoreboard(state)
    assert {line.task: line.value for line in found.lines} == SCORES
    assert found.mean == found.seed_mean == pytest.approx(0.65) and found.scored == 2
    assert found.beside == {"headroom": pytest.approx(4.0), "speedup": pytest.approx(2.0)}
    assert found.hardware and found.note.endswith("not comparable with the B200 leaderboard")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(group, ["scoreboard"])
    assert shown.exit_code == 0 and "mean of 2" in shown.output and found.hardware in shown.output
    plain: Any = CliRunner().invoke(group, ["scoreboard", "--json"])
    assert '"mean": 0.65' in plain.output


@pytest.mark.torch
def test_an_unscored_problem_counts_nothing(tmp_path: Path) -> None:
    require("torch")
    opened = open_run(
        RunSettings(("sol_execbench",), tmp_path, every=True, overrides={**ON_CPU, "evaluate.settings.only": "softmax"})
    )
    opened.writer.close()
    found = scoreboard(opened.state)
    assert (found.mean, found.scored, found.lines[0].value, found.beside) == (0.0, 0, None, {})


def data_set(folder: Path) -> Path:
    """Three problems in SOL-ExecBench's format, one of which lacks the file its only workload reads."""
    for name, factor, given in (
        ("Add_One.v1", 1, {"type": "random"}), ("add-two", 2, {"type": "random"}),
        ("no_blob", 3, {"type": "safetensors", "path": "missing.safetensors", "tensor_key": "x"}),
    ):  # fmt: skip
        (folder / name).mkdir(parents=True)
        definition = {
            "name": name, "description": f"adds {factor}", "axes": {"n": {"type": "var"}},
            "inputs": {"x": {"shape": ["n"], "dtype": "float32"}}, "outputs": {"y": {"shape": ["n"], "dtype": "float32"}},
            "reference": f"import torch\n\ndef run(x):\n    return x + {factor}\n",
        }  # fmt: skip
        (folder / name / "definition.json").write_text(json.dumps(definition))
        rows = [{"uuid": f"w{n}", "axes": {"n": n}, "inputs": {"x": given}} for n in (100, 257)]
        (folder / name / "workload.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.torch
def test_a_users_own_data_set_is_a_run_of_many_tasks(tmp_path: Path) -> None:
    """Each starts from its own reference, which is measured and scores a half."""
    require("torch")
    require("jail")
    where = data_set(tmp_path / "mine")
    given = {**ON_CPU, "evaluate.settings.path": str(where)}
    opened = open_run(RunSettings(("sol_execbench",), tmp_path, every=True, overrides=given))
    try:
        assert sorted(opened.grounds) == ["add_one_v1", "add_two"], "what cannot run here is left out"
        ground = opened.grounds["add_one_v1"]
        assert ground.task.editable == ("kernels/add_one_v1.py",)
        assert ground.task.evaluate.settings["problem"] == "Add_One.v1"
        seed = opened.archive.store.file(ground.base_tree, "kernels/add_one_v1.py")
        assert seed is not None and b"return x + 1" in seed and b"x: float32 [n]" in seed
        grader = opened.evaluators["add_one_v1"]
        opened.archive.store.flush()
        job = Job("1/measure/0", "add_one_v1", (ground.base_tree,), "measure", blocks=1)
        (sample,) = grader.measure(job, lambda line: None).of(ground.base_tree)
        assert sample.metrics["score"] == pytest.approx(0.5, abs=0.05)
    finally:
        for grader in opened.evaluators.values():
            grader.close()
        opened.writer.close()


@pytest.mark.torch
def test_one_problem_of_a_data_set_is_a_run_too(tmp_path: Path) -> None:
    require("torch")
    where = data_set(tmp_path / "mine")
    given = {
        **ON_CPU, "evaluate.settings.path": str(where), "evaluate.settings.problem": "add-two",
        "task.editable": '["kernels/add_two.py"]',
    }  # fmt: skip
    opened = open_run(RunSettings(("sol_execbench",), tmp_path, overrides=given))
    opened.writer.close()
    (ground,) = opened.grounds.values()
    assert opened.archive.store.file(ground.base_tree, "kernels/add_two.py") is not None


@pytest.mark.torch
def test_a_data_set_that_holds_nothing_to_run_says_so(tmp_path: Path) -> None:
    require("torch")
    where = data_set(tmp_path / "mine")
    for path, only, why in (
        (str(tmp_path / "nowhere"), "", "holds no definition.json"),
        (str(where), "zzz*", "zzz"),
        (str(where), "no_blob", "some workload can run"),
    ):
        given = {**ON_CPU, "evaluate.settings.path": path, "evaluate.settings.only": only}
        with pytest.raises(TaskError, match=re.escape(why)):
            open_run(RunSettings(("sol_execbench",), tmp_path, every=True, overrides=given))


def test_what_has_no_members_or_no_common_mean_says_so(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="--all is for tasks"):
        open_run(RunSettings(("circle_packing",), tmp_path, every=True))
    with pytest.raises(TaskError, match="has a kernel for"):
        open_run(RunSettings(("sol_execbench",), tmp_path, every=True, overrides={"evaluate.settings.only": "nothing"}))
    opened = open_run(RunSettings(("circle_packing", "online_bin_packing"), tmp_path, name="two"))
    opened.writer.close()
    with pytest.raises(UsageError, match="different objectives"):
        scoreboard(opened.state)


def test_there_are_no_more_evaluations_at_a_time_than_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    from evolve import evaluators

    monkeypatch.setattr(evaluators, "machine", lambda: {"gpus": ({"name": "H100"}, {"name": "H100"})})
    opened = open_run(RunSettings(("sol_execbench",), tmp_path, workers=16, overrides=ON_CPU))
    opened.writer.close()
    assert opened.settings.workers == 2 and any("2 evaluations at a time" in line for line in opened.warnings)
