"""The wheel, built from the sdist, imported from a folder full of decoys."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], capture_output=True, text=True, check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_layers_once_and_the_tasks(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "evolve/population/archive.py" in names and "evolve/tasks/circle_packing/seed/program.py" in names
    assert len(names) == len(set(names))
    assert not [n for n in names if n.split("/")[0] not in ("evolve",) and ".dist-info" not in n]
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]


def test_installed_it_imports_among_decoys_and_runs(wheel: Path, tmp_path: Path) -> None:
    """Everything that imports without an optional part does; the command runs a bundled task from the wheel."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    work = tmp_path / "work"
    for name in ("tasks", "population", "evaluators"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise ImportError('a decoy was imported')\n")
    code = (
        "import evolve, evolve.population.archive, evolve.tasks.task, evolve.evaluators, evolve.cli, evolve.session\n"
        "import evolve.mutators.syntactic, evolve.evaluators.slot\n"
        "from evolve import Task, Archive\n"
        "import sys; assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules\n"
        "print(evolve.__file__)"
    )
    shown = subprocess.run([str(python), "-c", code], cwd=work, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "site-packages" in shown.stdout
    ran = subprocess.run(
        [str(venv / "bin" / "evolve"), "run", "circle_packing", "--evals", "5", "--no-control", "--seed", "1"],
        cwd=work, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "matplotlib is not installed" in ran.stderr and "take it" in ran.stdout
