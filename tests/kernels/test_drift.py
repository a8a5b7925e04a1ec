"""Blocks under other clocks, or in which the baseline ran at another pace, do not count."""

from __future__ import annotations

import random
from typing import Any

import pytest

from evolve.evaluators.kernels import drift
from evolve.evaluators.kernels.checks import Rules
from evolve.evaluators.kernels.evidence import Call, KernelEvidence, WorkloadFacts
from evolve.evaluators.kernels.judge import _workload


def readings(**odd: float) -> list[dict[str, Any]]:
    rows = [{"block": k, "side": s, "sm_mhz": 1980.0, "throttle": 1.0} for k in range(4) for s in "AB"]
    rows[5] |= odd
    return rows


def even(us: float, blocks: int = 4, n: int = 10) -> dict[int, list[float]]:
    stream = random.Random(2)
    return {k: [us * 1e-6 * (1 + 0.002 * stream.gauss(0, 1)) for _ in range(n)] for k in range(blocks)}


def test_steady_clocks_reject_nothing() -> None:
    assert drift.rejected(readings(), even(100)) == {}
    assert drift.rejected([], even(100)) == {}, "a card that was not read"
    assert drift.rejected(readings(sm_mhz=1950.0), even(100)) == {}, "1.5% less"


@pytest.mark.parametrize(
    "odd, word", [({"sm_mhz": 1755.0}, "1755 of 1980"), ({"throttle": 0x4}, "0x4"), ({"throttle": 0x41}, "0x40")]
)
def test_a_block_under_other_clocks_is_rejected(odd: dict[str, float], word: str) -> None:
    found = drift.rejected(readings(**odd), even(100))
    assert list(found) == [2] and word in found[2]


def test_a_block_in_which_the_baseline_is_slower_is_rejected_and_noise_is_not() -> None:
    slow = even(100)
    slow[1] = [t * 1.03 for t in slow[1]]
    assert list(drift.rejected([], slow)) == [1]
    stream = random.Random(5)
    wrong = 0
    for _ in range(200):  # a 5 us kernel's calls: 4% sd
        noisy = {k: [5e-6 * (1 + 0.04 * stream.gauss(0, 1)) for _ in range(10)] for k in range(4)}
        wrong += bool(drift.rejected([], noisy))
    assert wrong <= 4


def test_the_ratio_leaves_rejected_blocks_out_and_says_so() -> None:
    def calls(side: str, us: float) -> list[Call]:
        rows = even(us)
        # block 2 ran under a lower clock, and the candidate's half of it under a still lower one
        rows[2] = [t * (1.3 if side == "A" else 1.1) for t in rows[2]]
        return [Call(0, side, 0, "default", k, t * 1e6, 0.0) for k, row in rows.items() for t in row]

    facts = WorkloadFacts("w", {}, 1e-6, "")
    evidence = KernelEvidence(
        "p", "d", "triton", "GPU", "gate", "c", workloads=(facts,), calls=(*calls("A", 50), *calls("B", 100)),
        clocks=tuple(readings(sm_mhz=1500.0)),
    )  # fmt: skip
    found = _workload(evidence, 0, facts, Rules())
    assert found.ratio == pytest.approx(0.5, rel=2e-3) and "1 of 4 blocks rejected" in found.note
    kept = _workload(evidence, 0, facts, Rules(off=frozenset({"drift"})))
    assert kept.ratio > 0.505


def test_where_most_blocks_are_unsteady_all_count() -> None:
    rows = [row | {"throttle": 0x4} for row in readings()]
    a, b, note = drift.steady(rows, even(50), even(100))
    assert len(a) == len(b) == 4 and "so all count" in note
