"""The wheel, built from the sdist, imported from a folder full of decoys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

EVERYTHING = """
import importlib, json, pkgutil, sys
import evolve
from evolve import Archive, Task
early = [name for name in ("matplotlib", "pandas", "networkx", "torch", "anthropic", "openai", "starlette") if name in sys.modules]
missing = {}
for module in pkgutil.walk_packages(evolve.__path__, "evolve."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        missing[module.name] = error.name or str(error)
print(json.dumps({"file": evolve.__file__, "early": early, "missing": missing,
                  "loaded": sorted(name for name in sys.modules if name.startswith("evolve."))}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`python -m build` makes the sdist first and the wheel from it."""
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], capture_output=True, text=True, check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(out.glob("*.whl"))


def test_a_checkout_installs_as_its_sdist_does(wheel: Path, tmp_path: Path) -> None:
    """`pip install .` in a clone, the README's first command, meets the symlinks that the sdist has not."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    names, other = (set(zipfile.ZipFile(path).namelist()) for path in (wheel, next(tmp_path.glob("*.whl"))))
    assert names == other


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of a virtual environment's commands, working directory with decoy layers)."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
    commands = root / "venv" / "bin"
    command = [str(commands / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    work = root / "work"
    for name in ("tasks", "population", "evaluators"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise ImportError('a decoy was imported')\n")
    return commands, work


def test_the_wheel_holds_the_layers_once_with_tasks_and_front_end(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "evolve/population/archive.py" in names and "evolve/tasks/circle_packing/seed/program.py" in names
    assert len(names) == len(set(names))
    assert not [n for n in names if n.split("/")[0] not in ("evolve",) and ".dist-info" not in n]
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc") or "node_modules" in n]
    tracked = subprocess.run(
        ["git", "ls-files", "evolve/web/static", "tasks", "evolve/prompts"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for path in tracked:  # data files too: seeds, graders, prompts, the built front end
        assert (path if path.startswith("evolve/") else f"evolve/{path}") in names


def test_everything_imports_among_decoys_without_extras(installed: tuple[Path, Path]) -> None:
    """Every module imports, or lacks a package that some extra names; the front door imports none of those."""
    commands, work = installed
    shown = subprocess.run([str(commands / "python"), "-c", EVERYTHING], cwd=work, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout.splitlines()[-1])
    assert "site-packages" in found["file"] and found["early"] == []
    assert len(found["loaded"]) > 100
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    optional = {word.split(">")[0].split("[")[0].split(";")[0].strip().replace("-", "_") for e in extras.values() for word in e}
    strange = {module: name for module, name in found["missing"].items() if name.split(".")[0] not in optional}
    assert not strange


def test_the_installed_command_runs_a_bundled_task(installed: tuple[Path, Path]) -> None:
    commands, work = installed
    ran = subprocess.run(
        [str(commands / "evolve"), "run", "circle_packing", "--evals", "5", "--no-control", "--seed", "1"],
        cwd=work, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "matplotlib is not installed" in ran.stderr and "commit" in ran.stdout


def test_the_tests_are_collected_where_torch_is_not_installed() -> None:
    """The README's test command installs no torch; here it is hidden. Its tests are skipped, and none breaks the others."""
    code = "import sys; sys.modules['torch'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    words = ["-q", "--collect-only", "-p", "no:cacheprovider", "tests/kernels", "tests/training"]
    environment = {name: value for name, value in os.environ.items() if name != "EVOLVE_REQUIRE"}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
