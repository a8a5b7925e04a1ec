"""Champions' further checks: repeats, launches left out, the third clock, compute-sanitizer; a third of them on fakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import extras, sanitizer  # noqa: E402
from evolve.evaluators.kernels import testing as gallery  # noqa: E402
from evolve.evaluators.kernels.checks import REGISTRY, Rules, Says  # noqa: E402
from evolve.evaluators.kernels.evidence import KernelEvidence  # noqa: E402
from evolve.evaluators.kernels.jailed import Ward  # noqa: E402
from evolve.evaluators.kernels.judge import KernelVerdict, judge_kernel  # noqa: E402
from evolve.evaluators.kernels.plan import Plan  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402
from evolve.evaluators.kernels.worker import profiled  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch
SMALL = gallery.toy(8, 32)
PLAN = Plan(calls=4, blocks=1, champion=True)
TRITON = gallery.TRITON


def measured(referee: Any, source: str) -> tuple[KernelEvidence, KernelVerdict]:
    evidence = referee.measure(SMALL, from_files({"k.py": source}, "k.py::run"), PLAN)
    return evidence, judge_kernel(evidence)


def test_an_honest_kernel_passes_them_all(referee: Any) -> None:
    pytest.importorskip("triton")
    evidence, verdict = measured(referee, TRITON)
    assert verdict.status is Status.SCORED, verdict.reason
    assert evidence.extras["repeat"] == {"ran": True, "differ": [0.0, 0.0], "beyond": []}
    assert evidence.extras["ghost"]["launches"] == 2 and evidence.extras["ghost"]["right"] == []
    assert not evidence.extras["profiler"]["ran"] and not evidence.extras["sanitizer"]["ran"]


def test_a_kernel_that_is_not_needed_is_a_decoy(referee: Any) -> None:
    """It launches a kernel of its own for show; PyTorch makes the answer."""
    pytest.importorskip("triton")
    shown = TRITON.replace("def run(x, w):", "def shown(x, w):") + (
        "\n\ndef run(x, w):\n    shown(x, w)\n    h = x\n    for _ in range(6):\n        h = torch.sin(h) + w\n    return h\n"
    )
    evidence, verdict = measured(referee, shown)
    assert verdict.status is Status.AUDIT and verdict.kind == "D13", verdict.reason
    off = judge_kernel(evidence, Rules(off=frozenset({"D13"})))
    assert off.status is Status.SCORED, "D13 alone stops it"


def test_an_answer_that_changes_by_itself_is_not_repeatable(referee: Any) -> None:
    """Wrong in every call whose number is the first of a repeat: D2 judged the timed ones, which were right."""
    flaky = f"calls = 0\ndef run(x, w):\n    global calls\n    calls += 1\n    return work(x, w) + (calls == {2 * (4 + 2) + 1})\n"
    source = "import torch\n" + flaky + gallery.HONEST.removeprefix("import torch\n").replace("def run", "def work")
    evidence, verdict = measured(referee, source)
    assert len(evidence.of("A", timed=False)) == 12
    assert verdict.status is Status.INVALID and verdict.reason.startswith("D5"), verdict.reason
    assert judge_kernel(evidence, Rules(off=frozenset({"D5"}))).status is Status.SCORED


def event(name: str, start: float, end: float, device: str = "DeviceType.CUDA") -> Any:
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=end), device_type=device)


def test_a_profile_is_the_span_of_the_candidates_kernels() -> None:
    events = [event("reset", -9, -1), event("copy back", 151, 160), event("gate", 0, 90), event("mine", 91, 99), event("side", 95, 140),
              event("seal", 141, 150),
              event("cudaLaunchKernel", 0, 5, "DeviceType.CPU")]  # fmt: skip
    assert profiled(events) == {"kernels": ["mine", "side"], "profile_us": 49.0}
    assert profiled([events[0], events[2]]) == {"kernels": [], "profile_us": 0.0}


def test_the_third_clock_disputes_what_is_claimed_too_short() -> None:
    """A claim may be longer than the profile; not much shorter, as of work that an unjoined stream did before the start event."""
    evidence = KernelEvidence("p", "d", "triton", "GPU", "gate", "c")
    for seen, claimed, says in (
        (49.0, 8.0, Says.INVALID),
        (8.3, 10.8, Says.PASSED),
        (9.4, 9.0, Says.PASSED),
        (3.5, 1.25, Says.INVALID),
    ):
        extra = {"profiler": {"ran": True, "workloads": [{"workload": "w", "profile_us": seen, "us": claimed}]}}
        assert REGISTRY["third clock"](replace(evidence, extras=extra), Rules()).says is says
    assert REGISTRY["third clock"](evidence, Rules()).says is Says.PASSED


class Card:
    """A referee on a GPU as far as the profiler's part asks."""

    device = "cuda"

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers_left = list(answers) * 2 * extras.PROFILES

    def exchange(self, *unused: Any) -> Any:
        return self.answers_left.pop(0), None, []


def test_a_profiler_that_sees_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras._Caller, "given", lambda *unused: {})
    for answer, ran in (
        ({"us": 9.0, "profile_us": 8.0, "kernels": ["k"]}, True),
        ({"us": 9.0, "profile_us": 0.0}, False),
    ):
        caller = extras._Caller(Card(answer), SMALL, PLAN, None, b"", 0)  # type: ignore[arg-type]
        assert extras._profiler(caller, SMALL.workloads)["ran"] is ran


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require("jail")
    made = Ward(tmp_path_factory.mktemp("ward"))
    yield made
    made.close()


def test_the_sanitizers_program_runs_the_candidate_in_the_jail(ward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool is a stand-in that runs the program and then reports, or does not."""
    referee = SimpleNamespace(nursery=ward, device="cpu")
    honest = from_files({"k.py": gallery.HONEST + "\n\nprint('the candidate was loaded')\n"}, "k.py::run")
    code = "import runpy; {0} == 3 or runpy.run_path('program.py'); print('Invalid __global__ read'); raise SystemExit({0})"
    monkeypatch.setattr(sanitizer, "TOOLS", ("memcheck",))

    def stand_in(exit_code: int) -> None:
        line = (sys.executable, "-I", "-c", code.format(exit_code))
        monkeypatch.setattr(sanitizer, "argv", lambda tool, which: line)

    def check() -> dict[str, Any]:
        return sanitizer.check(referee, SMALL, SMALL.workloads[0], honest, sys.executable)  # type: ignore[arg-type]

    stand_in(sanitizer.FOUND)
    found = check()
    assert found["ran"] and set(found["found"]) == {"memcheck"}
    assert "the candidate was loaded" in found["found"]["memcheck"] and "Invalid" in found["found"]["memcheck"]
    evidence = KernelEvidence("p", "d", "triton", "GPU", "gate", "c", extras={"sanitizer": found})
    assert REGISTRY["D5"](evidence, Rules()).says is Says.INVALID
    stand_in(0)
    assert check() == {"ran": True, "found": {}}
    stand_in(3)
    assert not check()["ran"] and "ended with 3" in check()["why"]


def test_without_the_tool_or_a_jail_it_says_so(referee: Any) -> None:
    honest = from_files({"k.py": gallery.HONEST}, "k.py::run")
    for tool, why in (("/nowhere/compute-sanitizer", "not installed"), (sys.executable, "plain forks")):
        assert why in sanitizer.check(referee, SMALL, SMALL.workloads[0], honest, tool)["why"]
