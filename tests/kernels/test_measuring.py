"""How calls are placed, counted and averaged: fresh places, more calls for short workloads, a trimmed mean, cheap comparison."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest

from tests.support import require

require("torch")

import torch  # noqa: E402

from evolve.evaluators.kernels import pack  # noqa: E402
from evolve.evaluators.kernels.compare import compare, distance  # noqa: E402
from evolve.evaluators.kernels.definition import Tolerance  # noqa: E402
from evolve.evaluators.kernels.evidence import Call, WorkloadFacts  # noqa: E402
from evolve.evaluators.kernels.launch import Nursery  # noqa: E402
from evolve.evaluators.kernels.placement import Places  # noqa: E402
from evolve.evaluators.kernels.plan import SHORT, Plan, per_block  # noqa: E402
from evolve.evaluators.kernels.referee import Referee  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402
from evolve.evaluators.kernels.streams import Streams  # noqa: E402
from evolve.evaluators.kernels.worker_cuda import checksum, whole  # noqa: E402
from evolve.evaluators.timing.blocks import ratio, trimmed  # noqa: E402


def test_a_calls_tensors_never_overlap_and_lie_elsewhere_at_every_call() -> None:
    places, seen = Places("cpu", 16 << 20), set()
    for call in range(40):
        places.begin(call, 3 << 20)
        views = [places.take(n) for n in ((1 << 20) + 700, 1 << 20, 1000)]
        spans = sorted((v.data_ptr(), v.data_ptr() + v.numel()) for v in views)
        assert all(high <= low for (_, high), (low, _) in itertools.pairwise(spans))
        assert all(v.data_ptr() % 256 == places._arena.data_ptr() % 256 for v in views if places._arena is not None)
        places.fill([1 << 19, 3 << 20])
        places.free()
        seen.add(views[0].data_ptr())
    assert len(seen) >= 38
    places.begin(1, 15 << 20)
    assert places.take(15 << 20).untyped_storage().nbytes() == 15 << 20, (
        "too large for the arena: an allocation of its own"
    )


def test_places_come_from_the_calls_seed() -> None:
    def offsets(seed: int) -> list[int]:
        places = Places("cpu", 16 << 20)
        places.begin(seed, 1 << 20)
        return [places.take(5000).storage_offset() for _ in range(3)]

    assert offsets(7) == offsets(7) != offsets(8)


def test_a_short_workload_gets_more_single_calls() -> None:
    facts = WorkloadFacts("w", {}, 1e-6, "")
    plan = Plan(blocks=4, calls=10, short=200)

    def calls(us: float) -> list[Call]:
        return [Call(i, "B", 0, "default", 0, us, 0.0, warm=True) for i in range(2)]

    assert per_block(plan, calls(5.0), 0, facts) == 50
    assert per_block(plan, calls(SHORT * 2e6), 0, facts) in (25, 26), "fewer in proportion"
    assert per_block(plan, calls(100.0), 0, facts) == 10
    assert per_block(replace(plan, short=0), calls(5.0), 0, facts) == 10
    assert per_block(plan, [], 0, facts) == 10, "nothing is known of it"
    assert per_block(plan, [], 0, replace(facts, anchor=9e-6)) == 50


def test_the_protocol_makes_them_in_blocks_that_alternate() -> None:
    problem = pack.get("softmax")
    problem = replace(problem, workloads=problem.tiny[:1])
    nursery = Nursery(env={"TRITON_INTERPRET": "1"})
    referee = Referee(nursery, clock="work", env={"TRITON_INTERPRET": "1"})
    try:
        solution = from_files({"k.py": pack.seed_source(problem)}, "k.py::run")
        evidence = referee.measure(problem, solution, Plan(workloads=1, blocks=2, calls=3, warm=1, short=10))
    finally:
        referee.close()
        nursery.close()
    assert evidence.fault is None
    assert [c.side for c in evidence.calls[:2]] == ["B", "A"] and all(c.warm for c in evidence.calls[:2])
    timed = [c for c in evidence.calls if not c.warm]
    seconds = min(c.us for c in evidence.calls if c.side == "B" and c.warm) * 1e-6
    each = max(3, math.ceil(10 * min(1.0, SHORT / seconds) / 2))
    assert "".join(c.side for c in timed) == "A" * each + "B" * 2 * each + "A" * each
    assert [c.block for c in timed] == [0] * 2 * each + [1] * 2 * each
    assert len({c.n for c in evidence.calls}) == len(evidence.calls)


def test_the_ratio_is_of_trimmed_means() -> None:
    assert trimmed([1.0] * 3 + [5.0] + [900.0]) == pytest.approx((1 + 1 + 5) / 3)
    stream = random.Random(4)

    def calls(scale: float) -> dict[int, list[float]]:
        # steps of 32 ns in two heaps, and a hiccup in 4%
        def one() -> float:
            us = stream.choice([5.056, 5.6]) * scale + 0.032 * stream.randrange(-1, 2)
            return us * (12 if stream.random() < 0.04 else 1)

        return {block: [one() for _ in range(50)] for block in range(4)}

    found = [ratio(calls(1.03), calls(1.0)) for _ in range(60)]
    assert sorted(abs(r.value / 1.03 - 1) for r in found)[57] < 0.02, (
        "200 calls of a 5 us kernel: 2% at the 95th percentile"
    )
    covered = sum(r.low <= 1.03 <= r.high for r in found)
    assert covered >= 50
    assert ratio({0: [2.0, 2.0]}, {0: [1.0, 1.0], 1: [9.0]}).value == 2.0
    with pytest.raises(ValueError, match="at least one block"):
        ratio({0: [1.0]}, {1: [1.0]})


def test_distance_is_the_error_of_a_whole_comparison() -> None:
    stream = torch.Generator().manual_seed(1)
    y = torch.randn(32, 48, generator=stream, dtype=torch.float64)
    x = (y + 1e-3 * torch.randn(32, 48, generator=stream)).float()
    assert distance(x, y) == pytest.approx(compare("y", x, y, Tolerance()).error, rel=1e-12)
    assert distance(x[:3], y) == math.inf and distance(x[:0], y[:0]) == 0.0
    y[0, 0] = -math.inf
    x[0, 0] = -math.inf
    assert distance(x, y) < 1e-2
    x[1, 1] = math.nan
    assert distance(x, y) == math.inf
    assert distance(torch.tensor([3, 4]), torch.tensor([3, 5])) == pytest.approx(1 / math.hypot(3, 5))


def test_comparison_sees_what_a_cheap_look_might_miss() -> None:
    y = torch.randn(8, 16, dtype=torch.float64)
    for bad in (math.nan, math.inf, -math.inf):
        x = y.clone().float()
        x[3, 5] = bad
        assert compare("y", x, y, Tolerance()).fault == ("nan" if math.isnan(bad) else "inf")
    x = y.clone().float()
    x[2, 2], x[2, 3] = math.inf, -math.inf  # their sum is no number, and neither is nan there
    assert compare("y", x, y, Tolerance()).fault == "inf"
    large = torch.full((4, 16), 3e38)
    assert compare("y", large, large.double(), Tolerance()).matched == 1.0, "a sum that overflows is no infinity"
    assert compare("y", torch.zeros(8, 16), y, Tolerance(atol=1e9)).matched == 0.0, "all zeros match nothing"
    row = y.clone().float()
    row[4] += 100
    assert compare("y", row, y, Tolerance()).slice == 0.0


def total(x: torch.Tensor) -> int:
    return whole([int(part) for part in checksum(x)])


@pytest.mark.parametrize("size", [1, 3, 4, 7, 4096, 4099])
def test_a_checksum_changes_with_any_byte(size: int) -> None:
    x = torch.randint(0, 256, (size,), dtype=torch.uint8)
    before = total(x)
    for at in {0, size // 2, size - 1}:
        y = x.clone()
        y[at] ^= 0x40
        assert total(y) != before
    assert total(torch.zeros(0, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exact_zero_is_right_where_no_error_is_allowed(dtype: torch.dtype) -> None:
    y = torch.zeros(4, 16, dtype=dtype)
    y[0] = 1.0
    exact = Tolerance(atol=0.0, rtol=0.0, rms_atol=0.0)
    assert compare("y", y.clone(), y, exact).matched == 1.0
    x = y.clone()
    x[2, 3] = 1e-6
    found = compare("y", x, y, exact)
    assert found.matched == 63 / 64 and found.worst > 1e6 and not found.fault


class Recorded:
    """A driver that writes down what it is asked."""

    def __init__(self, busy: set[int]) -> None:
        self.working, self.said = busy, []  # type: ignore[var-annotated]

    def busy(self, stream: int) -> bool:
        return stream in self.working

    def event(self) -> str:
        return "joint"

    def record(self, event: str, stream: int) -> None:
        self.said.append(("record", stream))

    def wait(self, stream: int, event: str) -> None:
        self.said.append(("wait", stream, event))


def test_a_side_stream_that_works_is_held_to_the_window_and_no_other() -> None:
    driver = Recorded({0, 7})
    streams = Streams(driver, [0, 5, 6, 7])  # type: ignore[arg-type]
    streams.begin("start")  # type: ignore[arg-type]
    assert streams.join(0) == 1 and driver.said == [("record", 7), ("wait", 0, "joint")]
    driver.said.clear()
    driver.working = set()
    streams.begin("start")  # type: ignore[arg-type]
    assert driver.said == [("wait", 7, "start")], "from its second call on it also begins after the start event"
    assert streams.join(0) == 1 and driver.said[1:] == [("record", 7), ("wait", 0, "joint")]
    quiet = Recorded(set())
    alone = Streams(quiet, [5, 6])  # type: ignore[arg-type]
    alone.begin("start")  # type: ignore[arg-type]
    assert alone.join(0) == 0 and quiet.said == [], "a kernel without side streams has nothing added"


def test_a_forked_worker_compiles_in_its_own_process() -> None:
    """A pool of compiling processes would be left beside the calls, where D12 counts it."""
    problem = pack.get("softmax")
    problem = replace(problem, workloads=problem.tiny[:1])
    told = "import torch._inductor.config as config\n\n\ndef run(x):\n    raise ValueError(f'threads: {config.compile_threads}')\n"
    nursery = Nursery(env={"TRITON_INTERPRET": "1"})
    referee = Referee(nursery, clock="work", env={"TRITON_INTERPRET": "1"})
    try:
        evidence = referee.measure(problem, from_files({"k.py": told}, "k.py::run"), Plan(workloads=1, blocks=1, calls=1))
    finally:
        referee.close()
        nursery.close()
    assert evidence.fault is not None and "threads: 1" in evidence.fault.message
