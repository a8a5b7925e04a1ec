"""Stored kernel evidence judged again: the calls kept beside it count, not what was made of them then."""

from __future__ import annotations

import json

import pytest

from evolve import evaluators
from evolve.evaluators.kernels.evidence import Fault, KernelEvidence
from evolve.tasks.evidence import Evidence, FailureKind, Sample, bounded
from evolve.tasks.records import to_json
from evolve.tasks.task import Task
from evolve.tasks.verdict import CONFIRM, Calibration, Status, judge

TREE, OTHER = "a" * 40, "b" * 40
TASK = Task.parse(
    '[task]\nname = "k"\neditable = ["kernels/*"]\n[evaluate]\nevaluator = "kernels"\nmetrics = [{ name = "score" }]\n'
    'settings = { problem = "rmsnorm" }\n'
)
CALLS = KernelEvidence(
    "rmsnorm", "d", "python", "cpu", "work", "c" * 64, fault=Fault("COMPILE_ERROR", "load", "no such module")
)
STORED = Evidence(
    "7/confirm/3/0", (TREE, OTHER), "t", "e", "m", CONFIRM,
    samples=(Sample(TREE, {"score": 0.9}, 0, 2.5), Sample(OTHER, {"score": 0.4}, 0, 2.5)),
)  # fmt: skip


def kept(calls: KernelEvidence, cap: int = 1 << 20) -> dict[str, str]:
    names = [f"kernel-evidence-{tree[:12]}-0.json" for tree in (TREE, OTHER)]
    return {name: bounded(name, json.dumps(to_json(calls)), cap).data for name in names} | {"feedback-x-0.txt": "no"}


@pytest.mark.torch
def test_what_the_calls_say_counts() -> None:
    assert judge([STORED], TREE, TASK, Calibration()).status is Status.SCORED
    again = evaluators.reread(TASK, STORED, kept(CALLS))
    assert not again.samples and set(again.failures) == {TREE, OTHER}
    assert again.failures[TREE].message == "no such module" and isinstance(again.failures[TREE].kind, FailureKind)
    assert judge([again], TREE, TASK, Calibration()).status is Status.INVALID
    assert (again.job, again.stage, again.trees) == (STORED.job, STORED.stage, STORED.trees)


@pytest.mark.torch
def test_what_cannot_be_read_stays_as_it_was() -> None:
    assert evaluators.reread(TASK, STORED, {}) == STORED
    assert evaluators.reread(TASK, STORED, {"stdout.txt": "x"}) == STORED
    assert evaluators.reread(TASK, STORED, kept(CALLS, cap=200)) == STORED, "cut to fit"


def test_other_evaluators_have_nothing_to_read() -> None:
    other = Task.parse(
        '[task]\nname = "c"\neditable = ["p.py"]\n[evaluate]\ncommand = "x"\nmetrics = [{ name = "score", pattern = "(.+)" }]\n'
    )
    assert evaluators.reread(other, STORED, kept(CALLS)) == STORED
