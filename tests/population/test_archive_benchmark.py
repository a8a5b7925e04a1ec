"""The storage benchmark, in small: it runs, and the costs it reports are of the right order."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/archive/storage.py"


def test_storage_benchmark_in_small(tmp_path: Path) -> None:
    if not SCRIPT.exists():
        pytest.skip("benchmarks are not in this distribution")
    spec = importlib.util.spec_from_file_location("storage_benchmark", SCRIPT)
    assert spec and spec.loader
    storage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(storage)
    before = storage.pss()  # of whatever other tests of this process have imported
    out = storage.measure(300, 16, tmp_path)
    assert out["candidates"] >= 300 and out["events"] == 3 + 5 * out["candidates"]
    assert out["flushes"] < 300 * 4, "barriers share flushes"
    assert out["main_cpu_ms_each"] < 20, "measured at 2.4; a machine under load is no reason to fail"
    assert out["disk_bytes_each"] < 8000 and out["main_pss_mb"] - before < 200
