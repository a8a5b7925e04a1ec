"""The benchmark of the key-less parts, in small: a model scores what its task scores, and a run makes a row."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/tasks/parts.py"


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("benchmarks are not in this distribution")
    spec = importlib.util.spec_from_file_location("parts_benchmark", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_models_score_their_seeds_as_the_tasks_do(parts: ModuleType) -> None:
    score = {name: made(parts.names_of(parts.program(name))) for name, (made, _) in parts.MODELS.items()}
    assert score["circles"] == pytest.approx(0.962, abs=1e-9)  # 26 circles of radius 0.037
    assert score["signs"] == pytest.approx(64**2 / (2 * sum(k * k for k in range(1, 64))))
    assert 0.3 < score["coefficients"] < 2
    with pytest.raises(ValueError, match="26"):
        parts.circles({"CENTRES": [(0.5, 0.5)]})


def test_a_run_makes_a_row_and_the_summary_pairs_seeds(parts: ModuleType) -> None:
    rows = [parts.search("signs", arm, 1, 20) for arm in ("base", "near")]
    assert all(row["evaluations"] == 20 and row["best"] > 0.02 for row in rows)
    lines = {line["arm"]: line for line in parts.summary(rows)}
    assert set(lines) == {"base", "near"} and lines["base"]["over_base"] == [0, 0]


def test_one_size_of_step_climbs_faster(parts: ModuleType) -> None:
    assert parts.alone(0.3, True, 30) > parts.alone(0.3, False, 30) + 0.1 > 0.6


def test_the_lead_of_pairs() -> None:
    found = runpy.run_path(str(SCRIPT))["lead"]([(2.0, 1.0), (3.0, 1.0), (4.0, 1.0)])
    assert found == pytest.approx([2.0, 2.0 - 4.303 / 3**0.5, 2.0 + 4.303 / 3**0.5], abs=1e-3)
    assert runpy.run_path(str(SCRIPT))["lead"]([(1.0, 1.0)]) is None


def test_the_rows_on_record_are_whole_runs(parts: ModuleType) -> None:
    import json

    rows = [json.loads(line) for line in (SCRIPT.parent / "parts.jsonl").read_text().splitlines()]
    whole = {**{name: most for name, (_, most) in parts.MODELS.items()}, **parts.REAL}
    assert all(row["evaluations"] == whole[row["model"]] for row in rows)
    assert len({(row["model"], row["arm"], row["seed"]) for row in rows}) == len(rows)
