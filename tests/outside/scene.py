"""A small repository to evolve, and the evolve command on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.population.scene import repository

TOML = """
[task]
name = "sum"
editable = ["prog.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "total", goal = "max" }]
timeout = "20s"
repeats = { screen = 1, confirm = 1 }
[limits]
memory = "256M"
"""
EVALUATE = """def evaluate(trial):
    value = trial.call("prog.py:total")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise trial.Incorrect("total() must return a number")
    return {"total": value}
"""
PROGRAM = "WEIGHTS = [1.0, 2.0, 3.0]\n\n\ndef total():\n    return sum(WEIGHTS)\n"


def project(path: Path, extra: dict[str, str] | None = None) -> Path:
    return repository(path, {"evolve.toml": TOML, "evaluate.py": EVALUATE, "prog.py": PROGRAM} | (extra or {}))


def command(
    where: Path, *arguments: str, code: int | None = 0, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "evolve", *arguments], cwd=where, capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def told(where: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(where, "tell", *arguments, "--json", code=code).stdout)
    return found


def start(where: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run in the background, once it is being searched."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", "run", "--no-control", *arguments], cwd=where, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = command(where, "log", "--json", code=None)
        if done.returncode == 0 and len(done.stdout.splitlines()) > 1:
            return process
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.2)
    process.kill()
    raise AssertionError("the run did not start")
