"""Short forms of benchmarks/sandbox, so that they keep running."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.jail


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).parents[2] / f"benchmarks/sandbox/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_soak() -> None:
    """Every kind of hostile candidate at least once, honest ones between; nothing is left and no verdict is wrong."""
    found = loaded("soak").soak(60, 2, seed=5)["mixed"]
    assert found["hostile"] >= 12 and not found["wrong"]
    before, after = found["before"], found["after"]
    for what in ("processes", "mounts", "left in /tmp"):
        assert after[what] == before[what], what


@pytest.mark.skipif(os.getuid() != 0, reason="the figure is for root")
def test_overhead(tmp_path: Path) -> None:
    """Far from the figure to reach (60 ms), so that a busy machine does not fail it; the record has the figure."""
    os.chmod(tmp_path, 0o755)
    found = loaded("overhead").rung("native", tmp_path, 12)
    assert found["true"]["median_ms"] < 400 and found["call"]["median_ms"] < 400


@pytest.mark.skipif(os.getuid() != 0, reason="the disposable outer jail needs root")
@pytest.mark.parametrize("opened", ["", "private tmp"])
def test_hacker_loop(opened: str, tmp_path: Path) -> None:
    """A few attacks of the loop's own: nothing is taken, and with a wall left out something is."""
    script = Path(__file__).parents[2] / "benchmarks/sandbox/hacker.py"
    out = tmp_path / "found.json"
    words = [sys.executable, str(script), "run", "--evals", "4", "--seed", "1", "--open", opened, "--out", str(out)]
    subprocess.run(words, check=True, capture_output=True, timeout=200)
    found = json.loads(out.read_text())
    taken = {name for hit in found["hits"] for name in hit["found"]} - {"late"}  # a busy machine is late by itself
    assert found["judged"] >= 4 and bool(taken) is bool(opened), taken
