"""The benchmark of the key-less search, in small: it runs, its bound is right, and it goes on where it stopped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/tasks/keyless.py"


@pytest.fixture(scope="module")
def keyless() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("benchmarks are not in this distribution")
    spec = importlib.util.spec_from_file_location("keyless_benchmark", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_smoke_form_runs_a_search_and_its_control(keyless: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert keyless.main(["--smoke", "--tasks", "low_autocorrelation"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["evaluations"] == 25 and line["best_min"] > 0.02 and line["control_max"] is not None


def test_the_bound_is_students(keyless: ModuleType) -> None:
    """Mean 2, standard deviation 1, n = 9: 2 - 1.8595 / 3."""
    values = [1.0] * 4 + [2.0] + [3.0] * 4
    assert keyless.lower_bound(values) == pytest.approx(2 - 1.8595 / 3, abs=1e-3)
    assert keyless.lower_bound([1.0]) == float("-inf")


def test_what_is_on_record_is_not_run_again(
    keyless: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, int]] = []

    def search(task: str, seed: int, budget: dict[str, Any], selector: str) -> dict[str, Any]:
        ran.append((task, seed))
        return {"task": task, "seed": seed, "metric": "m", "goal": "max", "evaluations": 5, "seconds": 1.0, "best": 2.0,
                "origin": 1.0, "control": 1.0 + seed, "load": [0.0, 0.0]}  # fmt: skip

    monkeypatch.setattr(keyless, "search", search)
    out = tmp_path / "rows.jsonl"
    for seeds in ("1", "2", "2"):
        keyless.main(["--seeds", seeds, "--tasks", "exp2_in_c", "--out", str(out)])
    assert ran == [("exp2_in_c", 0), ("exp2_in_c", 1)]
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (
        last["runs"] == 2
        and last["wins_over_control"] == 1
        and last["bound_over_control"] < 0 < last["bound_over_seed"]
    )
