"""What is kept of a machine: baselines measured once and anchored at use, the spread between honest workers, the bay."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import baseline, bay, calibration  # noqa: E402
from evolve.evaluators.kernels import testing as gallery  # noqa: E402
from evolve.evaluators.kernels.baseline import Baseline, Baselines  # noqa: E402
from evolve.evaluators.kernels.definition import Problem  # noqa: E402
from evolve.evaluators.kernels.judge import judge_kernel  # noqa: E402
from evolve.evaluators.kernels.plan import Plan  # noqa: E402
from evolve.evaluators.kernels.referee import Referee  # noqa: E402
from evolve.evaluators.kernels.solution import Solution, from_files  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch
SMALL = gallery.toy(24, 64)


def variant(problem: Problem, name: str) -> Solution:
    """Stand-ins for compilers that a small machine would wait for: "compile" is right and has fewer operations than the
    reference, "max-autotune" is wrong."""
    sources = {
        "eager": problem.definition.reference,
        "compile": gallery.HONEST,
        "max-autotune": "def run(x, w):\n    return x.sin()\n",
    }
    return Solution({"k.py": sources[name]}, "k.py::run", "pytorch")


def test_missing_baselines_are_measured_once_and_a_wrong_variant_is_none(
    referee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "variant", variant)
    monkeypatch.setattr(calibration, "BASELINE", replace(calibration.BASELINE, blocks=2, calls=4, warm=1))
    store, said = Baselines(tmp_path, "m"), []
    found = calibration.baselines(referee, SMALL, SMALL.workloads, store, said.append, baseline.VARIANTS)
    assert set(found) == {w.uuid for w in SMALL.workloads} and len(said) == 3
    for item in found.values():
        assert set(item.seconds) == {"eager", "compile"} and item.seconds["compile"] < item.seconds["eager"]
        assert "value" in item.failed["max-autotune"] and item.machine == "m"
    again = calibration.baselines(referee, SMALL, SMALL.workloads, Baselines(tmp_path, "m"), said.append)
    assert again == found and len(said) == 3, "nothing is measured twice"
    assert baseline.anchor(SMALL, found) == "compile"

    plan = Plan(calls=4, blocks=2, baseline="compile")
    evidence = referee.measure(SMALL, variant(SMALL, "eager"), plan, found, variant(SMALL, "compile"))
    verdict = judge_kernel(evidence)
    assert verdict.status is Status.SCORED and (verdict.score or 1) < 0.5, (
        "slower than the best baseline is below a half"
    )
    for row, facts in zip(verdict.workloads, evidence.workloads, strict=True):
        assert facts.baseline == facts.anchor == found[row.uuid].seconds["compile"]
        assert row.time == pytest.approx(found[row.uuid].seconds["eager"], rel=0.05)


def test_the_anchor_is_the_fastest_variant_that_every_workload_has() -> None:
    def stored(**seconds: float) -> Baseline:
        return Baseline("p", "d", "w", "m", "GPU", {k.replace("_", "-"): v for k, v in seconds.items()})

    both = {"a": stored(eager=4.0, compile=1.0, max_autotune=0.1), "b": stored(eager=1.0, compile=2.0)}
    assert baseline.anchor(SMALL, both) == "compile" and math.sqrt(1.0 * 2.0) < math.sqrt(4.0 * 1.0)
    assert baseline.anchor(SMALL, {}) == "eager"
    assert baseline.variants(replace(SMALL, family="gemm")) == baseline.VARIANTS
    source = baseline.variant(SMALL, "max-autotune").sources["reference.py"]
    compile(source, "reference.py", "exec")
    assert "fail_on_recompile_limit_hit = True" in source and "max-autotune-no-cudagraphs" in source


def test_a_workload_is_known_by_its_sizes() -> None:
    one, other = SMALL.workloads
    assert calibration.key(one) == calibration.key(replace(one, uuid="another name"))
    assert calibration.key(one) != calibration.key(other)


def test_the_clocks_are_calibrated_and_kept(nursery: Any, tmp_path: Path) -> None:
    referee = Referee(nursery, clock="real")
    small = gallery.toy(4, 16)
    found = calibration.overhead(referee, small, "m", pairs=2, calls=3)
    assert set(found.between) == {"copy", "done"} and found.workers == 4 and min(found.between.values()) > 0
    store = calibration.Overheads(tmp_path, "m")
    assert store.get() is None
    store.put(found)
    assert calibration.Overheads(tmp_path, "m").get() == found
    assert calibration.Overheads(tmp_path, "other").get() is None
    referee.overhead = dict(found.between)
    evidence = referee.measure(small, from_files({"k.py": gallery.HONEST}, "k.py::run"), Plan(calls=3, blocks=1))
    assert evidence.overhead == found.between
    referee.close()


def test_another_torch_is_another_machine() -> None:
    one = calibration.machine_key("abc", {"torch": "2.11.0+cu130", "gpu": "H100"})
    assert one != calibration.machine_key("abc", {"torch": "2.12.0+cu130", "gpu": "H100"}) and one.startswith("abc-")


def test_tasks_of_one_process_share_a_bay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the second task of a run over the pack would wait for the card that the first one holds."""
    taken: list[str] = []

    class Card:
        uuid = "GPU-x"

        def close(self) -> None:
            taken.remove(self.uuid)

    def lease() -> Card:
        taken.append("GPU-x")
        return Card()

    monkeypatch.setattr(bay.gpus, "take", lease)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("evolve.evaluators.kernels.referee.Referee", lambda *a, **k: type("R", (), {"close": int})())
    first, second = (bay.take("cuda", "gate", tmp_path / "ward") for _ in range(2))
    assert first is second and taken == ["GPU-x"]
    first.close()
    assert bay.open_bays() and taken
    second.close()
    assert not bay.open_bays() and not taken
