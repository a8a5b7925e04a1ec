"""The formula and its edges, the bounds, baselines, blocks, the status table."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from evolve.evaluators.kernels import score
from evolve.evaluators.kernels.baseline import Baseline, Baselines
from evolve.evaluators.kernels.bounds import MACHINES, machine
from evolve.evaluators.timing.blocks import order, ratio
from evolve.tasks.errors import UsageError
from evolve.tasks.verdict import Status


def test_half_at_the_baseline_one_at_the_bound() -> None:
    assert score.sol(10e-6, 10e-6, 2e-6).value == pytest.approx(0.5)
    assert score.sol(2e-6, 10e-6, 2e-6).value == pytest.approx(1.0)
    assert score.sol(6e-6, 10e-6, 2e-6).value == pytest.approx(2 / 3)


def test_edges() -> None:
    at = score.sol(1.99e-6, 10e-6, 2e-6)
    assert at.value == 1.0 and at.note and not at.audit
    below = score.sol(1.95e-6, 10e-6, 2e-6)
    assert below.audit and below.value is None
    for wrong in ((2e-6, 2e-6), (3e-6, 2e-6)):
        with pytest.raises(UsageError, match="rejected"):
            score.sol(1e-6, wrong[1], wrong[0])
    for time in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError):
            score.sol(time, 10e-6, 2e-6)
    assert (
        score.compat(1e-6, 10e-6, 2e-6) > 1
        and score.compat(1e-6, 2e-6, 3e-6) == 1.0
        and score.compat(4e-6, 2e-6, 3e-6) == 0.0
    )


def test_means() -> None:
    good = score.sol(10e-6, 10e-6, 2e-6)
    assert score.problem_score([good, None]) == 0.0
    assert score.problem_score([good, score.sol(1e-6, 10e-6, 2e-6)]) is None
    suite = score.suite(
        {"a": (Status.SCORED, 0.8, 2.0, 10.0), "b": (Status.AUDIT, None, 0, 0), "c": (Status.INVALID, None, 0, 0)},
        "H100",
    )
    assert suite.mean == pytest.approx(0.8 / 3) and (suite.scored, suite.audited, suite.failed) == (1, 1, 1)
    assert "not comparable" in suite.note and "H100" in suite.note


def test_every_kind_has_an_upstream_status() -> None:
    assert score.upstream_status(Status.SCORED) == score.upstream_status(Status.AUDIT) == "PASSED"
    assert score.upstream_status(Status.CHEAT) == "REWARD_HACK"
    assert {score.upstream_status(Status.INVALID, k) for k in score.STATUSES} == {
        "INCORRECT_SHAPE",
        "INCORRECT_DTYPE",
        "INCORRECT_NUMERICAL",
        "RUNTIME_ERROR",
        "COMPILE_ERROR",
        "TIMEOUT",
        "INVALID_REFERENCE",
    }
    with pytest.raises(UsageError):
        score.upstream_status(Status.INVALID, "mood")


def test_machine_tables() -> None:
    h100, h200 = machine("NVIDIA H100 80GB HBM3"), machine("NVIDIA H200")
    assert h100.dram < h200.dram and h100.macs == h200.macs
    assert h100.macs["bfloat16"] * 2 * 1.83e9 == pytest.approx(989.4e12, rel=1e-3)
    assert MACHINES["B200"].clock == 1.5e9
    for name in ("NVIDIA A10", "NVIDIA H100 PCIe"):
        with pytest.raises(UsageError):
            machine(name)


def test_baselines_are_kept_per_machine(tmp_path: Path) -> None:
    store, other = Baselines(tmp_path, "m1"), Baselines(tmp_path, "m1")
    item = Baseline("p", "d", "w", "m1", "H100", {"eager": 2e-5, "compile": 1e-5}, failed={"max-autotune": "no"})
    store.put(item)
    assert other.get("d", "w") == item and item.best == ("compile", 1e-5)
    assert Baselines(tmp_path, "m2").get("d", "w") is None
    with pytest.raises(UsageError):
        store.put(Baseline("p", "d", "w", "m2", "H100", {}))
    with pytest.raises(UsageError, match="no baseline variant"):
        _ = Baseline("p", "d", "w", "m1", "H100", {}).best


def test_the_interval_of_a_ratio_covers() -> None:
    """400 simulated measurements with drift common to a block: the 95% interval misses about one in twenty."""
    assert order(3) == ["A", "B", "B", "A", "A", "B"]
    stream, missed = random.Random(7), 0
    for _ in range(120):
        a, b = {}, {}
        for block in range(6):
            drift = stream.gauss(1, 0.02)
            a[block] = [drift * 1.1 * stream.gauss(10, 0.1) for _ in range(12)]
            b[block] = [drift * stream.gauss(10, 0.1) for _ in range(12)]
        found = ratio(a, b, resamples=200)
        missed += not found.low <= 1.1 <= found.high
    assert missed <= 15
    with pytest.raises(ValueError):
        ratio({0: [1.0]}, {1: [1.0]})
