"""ncu's summary for elites: read from its CSV, told in a line; where counters cannot be read it says why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import counters, feedback, pack  # noqa: E402
from evolve.evaluators.kernels.evidence import KernelEvidence  # noqa: E402
from evolve.evaluators.kernels.jailed import Ward  # noqa: E402
from evolve.evaluators.kernels.judge import judge_kernel  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402

HEAD = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",'
    '"Section Name","Metric Name","Metric Unit","Metric Value"'
)


def report(*rows: tuple[str, str, str, str]) -> str:
    lines = ["==PROF== Connected to process 7", '==PROF== Profiling "kernel": 0%....100% - 4 passes', HEAD]
    for number, kernel, metric, value in rows:
        cells = (
            number,
            "7",
            "python3",
            "127.0.0.1",
            kernel,
            "1",
            "7",
            "(256, 1, 1)",
            "(4096, 1, 1)",
            "0",
            "9.0",
            "",
            metric,
            "",
            value,
        )
        lines.append(",".join(f'"{cell}"' for cell in cells))
    return "\n".join([*lines, "==PROF== Disconnected from process 7"])


FULL = report(
    ("0", "rmsnorm_kernel", counters.METRICS["us"], "12,345"),
    ("0", "rmsnorm_kernel", counters.METRICS["dram"], "81.234"),
    ("0", "rmsnorm_kernel", counters.METRICS["occupancy"], "62.5"),
    ("0", "rmsnorm_kernel", counters.STALL.format("long_scoreboard"), "21.57"),
    ("0", "rmsnorm_kernel", counters.STALL.format("barrier"), "3.2"),
    ("0", "rmsnorm_kernel", counters.STALL.format("wait"), "1.1"),
    ("0", "rmsnorm_kernel", counters.STALL.format("short_scoreboard"), "0.2"),
    ("1", "reduce", counters.METRICS["us"], "2000"),
    ("1", "reduce", counters.METRICS["dram"], "n/a"),
)


def test_the_csv_becomes_rows_and_a_line() -> None:
    first, second = counters.read(FULL)
    assert (first["name"], first["us"], first["dram"], first["occupancy"]) == ("rmsnorm_kernel", 12.35, 81.23, 62.5)
    assert first["waits"] == [["memory", 21.57], ["a barrier", 3.2], ["fixed latency", 1.1]]
    assert second == {"name": "reduce", "us": 2.0, "waits": []}
    line = counters.sentence(first)
    assert line.startswith("counters of rmsnorm_kernel: 12.35 us, 81% of the memory's peak") and "memory (21.6)" in line
    assert counters.read("==ERROR== ERR_NVGPUCTRPERM") == []


def test_the_next_mutation_is_told() -> None:
    evidence = KernelEvidence(
        "p", "d", "triton", "GPU", "gate", "c", extras={"counters": {"ran": True, "kernels": counters.read(FULL)}}
    )
    found = feedback.facts(evidence, judge_kernel(evidence))
    assert [k["name"] for k in found["counters"]] == ["rmsnorm_kernel", "reduce"]
    assert "81% of the memory's peak" in feedback.sentence({**found, "workloads": [ROW]})


ROW: dict[str, Any] = {
    "axes": {}, "us": 1.0, "baseline_us": 2.0, "speed_of_light_us": 0.5, "gb_per_s": 1.0, "tflop_per_s": 0.0, "note": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require("jail")
    made = Ward(tmp_path_factory.mktemp("ward"))
    yield made
    made.close()


def test_it_runs_in_the_jail_and_says_why_where_it_reads_nothing(ward: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool is a stand-in that prints what ncu would."""
    problem = pack.get("softmax")
    solution = from_files({"k.py": pack.seed_source(problem)}, "k.py::run")
    referee: Any = SimpleNamespace(nursery=ward, device="cuda")

    def stand_in(text: str, *, only_without_waits: bool = False) -> None:
        def argv(tool: str, waits: bool = True) -> tuple[str, ...]:
            shown = "" if waits and only_without_waits else text
            code = f"import os; assert os.path.exists('program.py') and os.path.exists('inputs.bin'); print({shown!r})"
            return (sys.executable, "-I", "-c", code)

        monkeypatch.setattr(counters, "argv", argv)

    def check() -> dict[str, Any]:
        return counters.check(referee, problem, problem.tiny[0], solution, sys.executable)

    for late in (False, True):
        stand_in(FULL, only_without_waits=late)
        assert [k["name"] for k in check()["kernels"]] == ["rmsnorm_kernel", "reduce"]
    stand_in("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission")
    assert "administrators" in check()["why"]
    stand_in("==ERROR== something else")
    assert "something else" in check()["why"]
    assert os.listdir(ward.scratch) and not [n for n in os.listdir(ward.scratch) if n.startswith("counters-")]


def test_without_gpu_tool_or_jail_it_says_so() -> None:
    problem = pack.get("softmax")
    solution = from_files({"k.py": ""}, "k.py::run")
    for device, nursery, tool, why in (
        ("cpu", None, sys.executable, "need a GPU"),
        ("cuda", None, "/nowhere/ncu", "not installed"),
        ("cuda", None, sys.executable, "plain forks"),
    ):
        referee: Any = SimpleNamespace(device=device, nursery=nursery)
        found = counters.check(referee, problem, problem.tiny[0], solution, tool)
        assert not found["ran"] and why in found["why"]
