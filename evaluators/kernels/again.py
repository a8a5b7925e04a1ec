"""Stored evidence of kernels judged again: the calls kept beside it, under the rules of today."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from evolve.evaluators.kernels.checks import Rules
from evolve.evaluators.kernels.evidence import KernelEvidence
from evolve.evaluators.kernels.judge import KernelVerdict, judge_kernel
from evolve.tasks.evidence import Check, Evidence, Failure, Sample
from evolve.tasks.records import from_json
from evolve.tasks.verdict import STRICT

_NAME = re.compile(r"kernel-evidence-(?P<tree>[0-9a-f]{12})-(?P<block>\d+)\.json")

Sort = Callable[[str, int, KernelVerdict, float, list[Sample], list[Check], dict[str, Failure]], None]
"""Adds one measurement's verdict to samples, checks and failures (evolve.evaluators.kernels.evaluator)."""


def reread(evidence: Evidence, kept: Mapping[str, str], hidden: bool, sort: Sort) -> Evidence:
    """hidden: whether the strict stages draw hidden workloads on a GPU. Evidence whose calls were cut to fit, or are of a shape that
    is not read any more, stays as it was: it cannot be judged again."""
    trees = {tree[:12]: tree for tree in evidence.trees}
    found = []
    for name, text in kept.items():
        match = _NAME.fullmatch(name)
        if match is None or match["tree"] not in trees:
            continue
        try:
            found.append((int(match["block"]), trees[match["tree"]], from_json(KernelEvidence, json.loads(text))))
        except (ValueError, TypeError, KeyError):
            return evidence
    if not found:
        return evidence
    seconds = {(sample.tree, sample.block): sample.seconds for sample in evidence.samples}
    samples: list[Sample] = []
    checks: list[Check] = []
    failures: dict[str, Failure] = {}
    for block, tree, calls in sorted(found, key=lambda one: one[:2]):
        if tree not in failures and not any(check.tree == tree for check in checks):
            rules = Rules(hidden=evidence.stage in STRICT and hidden and calls.clock.startswith("gate"))
            verdict = judge_kernel(calls, rules)
            sort(tree, block, verdict, seconds.get((tree, block), 0.0), samples, checks, failures)
    return replace(evidence, samples=tuple(samples), checks=tuple(checks), failures=failures)
