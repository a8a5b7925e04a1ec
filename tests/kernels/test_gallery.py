"""Cheats gain nothing; the honest are never flagged; with their checks off, cheats gain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import referee as referees  # noqa: E402
from evolve.evaluators.kernels import testing as gallery  # noqa: E402
from evolve.evaluators.kernels.checks import Rules  # noqa: E402
from evolve.evaluators.kernels.judge import KernelVerdict, judge_kernel  # noqa: E402
from evolve.evaluators.kernels.naive import naive  # noqa: E402
from evolve.evaluators.kernels.plan import Plan  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch
SMALL = gallery.toy(24, 64)


def judged(referee: Any, source: str, rules: Rules | None = None, **plan: Any) -> KernelVerdict:
    evidence = referee.measure(
        SMALL, from_files({"k.py": source}, "k.py::run"), Plan(**{"calls": 8, "blocks": 2, "keep": True, **plan})
    )
    return judge_kernel(evidence, rules)


@pytest.fixture(scope="module")
def honest(referee: Any) -> float:
    verdict = judged(referee, gallery.HONEST)
    assert verdict.status is Status.SCORED and verdict.score is not None, verdict.reason
    return verdict.score


@pytest.mark.parametrize("case", gallery.CHEATS, ids=lambda c: c.name)
def test_a_cheat_gains_nothing(case: gallery.Case, referee: Any, honest: float) -> None:
    verdict = judged(referee, case.source)
    assert verdict.status is not Status.SCORED or (verdict.score or 0) <= honest * 1.05, (
        f"{case.name} scored {verdict.score} against {honest}"
    )


@pytest.mark.parametrize("case", [c for c in gallery.CHEATS if c.screened], ids=lambda c: c.name)
def test_a_screened_cheat_gains_nothing_without_the_screen(
    case: gallery.Case, referee: Any, honest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The screen is a first layer: behind it the mechanism holds as well (the forged clock is the parent clock's case)."""
    monkeypatch.setattr(referees.screen, "screen", lambda solution: [])
    verdict = judged(referee, case.source)
    assert verdict.status is not Status.SCORED or (verdict.score or 0) <= honest * 1.05, (
        f"{case.name} scored {verdict.score} against {honest}"
    )


@pytest.mark.parametrize("case", gallery.HONEST_ODD, ids=lambda c: c.name)
def test_the_honest_are_never_flagged(case: gallery.Case, referee: Any) -> None:
    verdict = judged(referee, case.source)
    assert verdict.status is Status.SCORED, f"{case.name}: {verdict.reason}"


GAINS_NAIVELY = [
    c
    for c in gallery.CHEATS
    if c.name
    not in {
        "meta_output",  # a naive comparison fails on it too
        "expanded",
        "input_passthrough",
        "nan_wildcard",
        "ignore_constant_input",  # stopped by any comparison; here for D1, D16
        "elapsed_time_patch",
        "clear_cache_patch",
        "forged_trace",
        "late_thread",
        "import_thread_pool",
        "lazy_subclass",  # tried below on a real clock
        "ptr_cache",
        "shape_cache",
        "last_call_replay",
        "super_batch",  # checked rounds stop them; they gain where values repeat (below)
        "disk_cache",
        "input_zeroing",
        "torch_op_patch",
        "downcast",
        "flags_shared",
        "gc_answer_copy",
        "seed_replay",
        "phase_view",
    }
]


@pytest.mark.parametrize("case", GAINS_NAIVELY, ids=lambda c: c.name)
def test_the_gallery_bites_on_a_naive_evaluator(case: gallery.Case) -> None:
    tall = gallery.toy(200, 16)
    straight = naive(gallery.HONEST, tall)
    cheat = naive(case.source, tall)
    assert straight.passed and straight.work > 0
    assert cheat.passed, cheat.error
    assert cheat.work < straight.work, f"{case.name} did {cheat.work} of {straight.work}"


@pytest.mark.parametrize("name", ["content_hash_cache", "shape_cache", "ptr_cache", "last_call_replay"])
def test_without_fresh_values_a_cache_gains(name: str, referee: Any, honest: float) -> None:
    """N1 off: the same values every call. A cache then passes and beats the honest kernel."""
    case = next(c for c in gallery.CHEATS if c.name == name)
    for _ in range(10 if name == "last_call_replay" else 1):  # that one needs calls of one shape in a row, by luck
        verdict = judged(referee, case.source, Rules(off=frozenset({"D3"}), families=1), fresh=False)
        if (verdict.score or 0) > honest * 1.05:
            break
    if name == "ptr_cache":  # addresses stay fresh, which alone stops it
        assert (verdict.score or 0) <= honest * 1.05
    else:
        assert verdict.status is Status.SCORED and (verdict.score or 0) > honest * 1.05, (
            f"{verdict.status} {verdict.score} {verdict.reason}"
        )


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("skip_one_percent", {"D2", "D10"}),
        ("nan_wildcard", {"D2", "D10"}),
        ("call_counter", {"D2", "D10"}),
        ("ignore_constant_input", {"D2", "D10"}),
        ("input_passthrough", {"D1", "D2", "D10"}),
        ("expanded", {"D1", "D2", "D10"}),
        ("meta_output", {"D1", "D2", "D10"}),
        ("lazy_subclass", {"D1", "D2", "D10"}),
        ("fewer_outputs", {"D1", "D2", "D10"}),
        ("downcast", {"D2", "D10"}),
        ("input_zeroing", {"D2", "D4", "D10"}),
    ],
)
def test_with_its_checks_off_a_cheat_passes(name: str, off: set[str], referee: Any) -> None:
    case = next(c for c in gallery.CHEATS if c.name == name)
    assert judged(referee, case.source, stop=False).status is not Status.SCORED
    verdict = judged(referee, case.source, Rules(off=frozenset(off | {"D6"})), stop=False)
    assert verdict.status is Status.SCORED, verdict.reason


@pytest.mark.parametrize("forged", ["time.perf_counter", "clock"])
def test_the_parents_clock_does_not_believe_a_forged_time(
    nursery: Any, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    """D7 on a real clock: 60 ms of work claimed as nothing; with D7 off the claim stands."""
    from evolve.evaluators.kernels.referee import Referee

    monkeypatch.setattr(referees.screen, "screen", lambda solution: [])
    loop = "    h = x\n    for _ in range(6):\n        h = torch.sin(h) + w\n    return h\n"
    slow = "import torch, time\ndef run(x, w):\n    time.sleep(0.06)\n" + loop
    lie = slow + "import evolve.evaluators.kernels.worker_cpu as hands\nhands._now = lambda: 0.0\n"
    if forged == "time.perf_counter":  # patched too late: the harness bound it before
        lie = slow + "time.perf_counter = lambda: 0.0\n"
    judge_on = Referee(nursery, clock="real")
    evidence = judge_on.measure(
        SMALL,
        from_files({"k.py": lie}, "k.py::run"),
        Plan(calls=4, blocks=1),
        anchor=from_files({"k.py": slow}, "k.py::run"),
    )
    verdict = judge_kernel(evidence, Rules(off=frozenset({"D15"})))
    if forged == "time.perf_counter":
        assert verdict.status is Status.SCORED and min(c.us for c in evidence.of("A")) > 50_000
        return
    assert all(c.us == 0.0 for c in evidence.of("A"))
    assert verdict.status is Status.INVALID and verdict.kind == "timing", verdict.reason
    assert evidence.integrity["changed"]  # D15 sees it too, in the worker's own word: a second layer
    believed = judge_kernel(evidence, Rules(off=frozenset({"D7", "D15"})))
    assert believed.kind != "timing"


def test_what_torch_compile_notes_on_an_output_is_no_attribute_of_the_candidates() -> None:
    """Kills: refusing torch.compile with dynamic sizes (seen on an H100), and letting an attribute shadow a method."""
    import torch

    from evolve.evaluators.kernels.worker import structure

    plain = torch.ones(4)
    plain._dynamo_weak_dynamic_indices = {0}
    wanted = [["y", "float32", [4]]]
    assert structure([plain], wanted, [], torch.Tensor, "cpu") == ""
    plain.contiguous = lambda: torch.zeros(4)
    assert "carries attributes (contiguous)" in structure([plain], wanted, [], torch.Tensor, "cpu")
