"""docs/results/kernels.md is what the committed raw lines give."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.torch
def test_the_results_page_is_made_from_the_raw_lines() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/kernels/results.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, f"run: python benchmarks/kernels/results.py\n{made.stderr[-2000:]}"


def test_a_sitting_is_merged_line_by_line() -> None:
    spec = importlib.util.spec_from_file_location("merge_raw", ROOT / "benchmarks/kernels/merge.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    old = {"a": {"item": "a", "us": 1}, "b": {"item": "b", "us": 2}, "c": {"item": "c", "error": "x"}}
    new = {"a": {"item": "a", "us": 9}, "b": {"item": "b", "error": "y"}, "c": {"item": "c", "error": "z"}}
    assert module.merge(old, new) == {"a": new["a"], "b": old["b"], "c": new["c"]}
