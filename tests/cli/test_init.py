"""What `evolve init` sees in repositories of different kinds; each file it writes is a task that can be read."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from evolve.survey import Survey, survey
from evolve.tasks.task import Task
from tests.search.scene import cli

LIBRARY = {
    "src/lib/fast.py": "def go():\n    return 1\n",
    "src/lib/other.py": "X = 1\n",
    "benchmarks/speed.py": "from lib import fast\nprint('ready')\nprint(f'wall_seconds: {1.5:.3f}')\nprint('calls:', 3)\n",
    "tests/test_fast.py": "def test_go():\n    assert True\n",
    "README.md": "A library.\n",
}
AUTORESEARCH = {
    "train.py": "val_bpb = 0.9\nprint('---')\nprint(f\"val_bpb:          {val_bpb:.6f}\")\nprint(f'peak_vram_mb: {1:.1f}')\n",
    "prepare.py": "print('preparing')\n",
    "program.md": "Lower val_bpb.\n",
    "uv.lock": "version = 1\n",
    "pyproject.toml": "[project]\nname = 'x'\n",
}
GRADED = {
    "evaluate.py": 'def evaluate(trial):\n    return {"length": len(trial.call("tour.py:tour"))}\n',
    "tour.py": "def tour():\n    return [0]\n",
    "helper.py": "Y = 1\n",
}
C_PROJECT = {
    "sort.c": "int main(void) { return 0; }\n",
    "bench.c": '#include <stdio.h>\nint main(void) { printf("ns_per_item: %f\\n", 1.0); }\n',
    "Makefile": "all: sort\n\nbench: bench.c\n\tcc -o b bench.c && ./b\n\ntest:\n\ttrue\n",
}
NODE = {
    "index.js": "module.exports = 1\n",
    "package.json": json.dumps({"scripts": {"bench": "node b.js", "test": "node --test"}}),
    "package-lock.json": "{}",
}
UNITTESTS = {
    "a.py": "X = 1\n",
    "bench.sh": 'echo "seconds: $SECONDS"\n',
    "test_a.py": "import unittest\n\n\nclass T(unittest.TestCase):\n    def test(self):\n        pass\n",
}


def look(place: Path, files: dict[str, str]) -> tuple[Survey, Task]:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    found = survey(place, sorted(files))
    return found, Task.parse(found.text, root=place)


@pytest.mark.parametrize(
    ("files", "editable", "command", "metric", "goal", "gates"),
    [
        (LIBRARY, ("src/lib/fast.py",), "python3 benchmarks/speed.py", "wall_seconds", "min", ("python3 -m pytest -q -x",)),
        (AUTORESEARCH, ("train.py",), ".venv/bin/python train.py", "val_bpb", "min", ()),
        (GRADED, ("tour.py",), None, "length", "max", ()),
        (C_PROJECT, ("sort.c",), "make -s bench", "ns_per_item", "min", ("make -s test",)),
        (NODE, ("index.js",), "npm run --silent bench", "seconds", "min", ("npm run --silent test",)),
        (UNITTESTS, ("a.py",), "sh bench.sh", "seconds", "min", ("python3 -m unittest -q test_a.py",)),
    ],
    ids=["library", "autoresearch", "graded", "c", "node", "unittests"],
)
def test_what_is_seen(
    tmp_path: Path, files: dict[str, str], editable: tuple[str, ...], command: str | None, metric: str, goal: str,
    gates: tuple[str, ...],
) -> None:  # fmt: skip
    _, task = look(tmp_path, files)
    assert task.editable == editable
    assert task.evaluate.command == command
    assert (task.objectives[0].name, task.objectives[0].goal) == (metric, goal)
    assert task.evaluate.gates == gates
    assert (task.evaluate.script == "evaluate.py") is (command is None)


def test_autoresearch_lines_are_read_as_they_are(tmp_path: Path) -> None:
    import re

    found, task = look(tmp_path, AUTORESEARCH)
    assert [m.name for m in task.evaluate.metrics] == ["val_bpb", "peak_vram_mb"]
    pattern = task.evaluate.metrics[0].pattern
    assert pattern and (match := re.search(pattern, "val_bpb:          0.997900")) and match[1] == "0.997900"
    assert task.environment.setup == "uv sync --frozen" and task.instructions == "program.md"
    assert task.evaluate.metrics[0].unit == "bits/byte"
    assert any("no tests" in warning for warning in found.warnings)


def test_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to run\n")
    found = survey(tmp_path, ["notes.txt"])
    assert {"source file", "benchmark", "tests"} <= {word for word in ("source file", "benchmark", "tests") for w in found.warnings if word in w}
    assert "FILE-THAT-MAY-CHANGE" in found.text and "COMMAND-THAT-PRINTS-THE-METRIC" in found.text


def test_init_tells_of_uncommitted_changes_and_of_none_committed(tmp_path: Path) -> None:
    place = tmp_path / "repo"
    look(place, UNITTESTS)
    git = ["git", "-c", "user.name=U", "-c", "user.email=u@u.invalid"]
    subprocess.run([*git, "init", "-q"], cwd=place, check=True)
    subprocess.run([*git, "add", "."], cwd=place, check=True)
    assert "nothing is committed yet" in cli("init", cwd=place).stderr
    subprocess.run([*git, "commit", "-qm", "Start"], cwd=place, check=True)
    (place / "a.py").write_text("X = 2\n")
    again = cli("init", cwd=place, ok=False)
    assert again.returncode == 2 and "--force" in again.stderr
    shown = json.loads(cli("init", "--force", "--json", cwd=place / ".", ok=True).stdout)
    assert any("a.py has uncommitted changes" in warning for warning in shown["warnings"])
    outside = cli("init", cwd=tmp_path, ok=False)
    assert outside.returncode == 5 and "git init" in outside.stderr
