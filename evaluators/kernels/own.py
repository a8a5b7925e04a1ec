"""The problems a kernels task stands for: of the pack, or of the user's own copy of a data set at `evaluate.settings.path`."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.tasks.errors import TaskError, UsageError

Picked = Callable[[str], bool]

if TYPE_CHECKING:
    from evolve.evaluators.kernels.definition import Problem
    from evolve.tasks.task import Task


def slug(name: str) -> str:
    """A problem's name as a file, a branch and a task may bear it; the pack's are left as they are."""
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "problem"


def file_of(name: str) -> str:
    """The file of a candidate's tree that holds the kernel of a problem."""
    return f"kernels/{slug(name)}.py"


def find(name: str, path: str, root: Path, *, compat: bool = False) -> Problem:
    """A problem of the pack, or of the user's own copy at `path`. Raises UsageError naming what there is."""
    from evolve.evaluators.kernels import formats, pack

    if not path:
        return pack.get(name)
    where = place(path, root)
    found = everything(where)
    chosen = [p for p in found if p.name == name] if name else found
    if len(chosen) != 1:
        raise UsageError(
            f"{where} holds {len(found)} problems; name one with settings.problem: {', '.join(p.name for p in found[:8])}"
        )
    return formats.compat(chosen[0]) if compat else chosen[0]


def place(path: str, root: Path) -> Path:
    """An absolute path as it is; a relative one from the task's folder."""
    where = Path(path).expanduser()
    return where if where.is_absolute() else root / where


def everything(where: Path) -> list[Problem]:
    """All problems at a path: what `formats.load` reads, a KernelBench module, a folder of such modules.

    KernelBench modules are run when they are read: give only files you trust. Raises UsageError where there is none.
    """
    from evolve.evaluators.kernels import formats

    if where.suffix == ".py":
        return [formats.load_kernelbench(where)]
    modules = [f for f in sorted(where.glob("*.py")) if "class Model" in f.read_text(encoding="utf-8")] if where.is_dir() else []
    if modules and not any(where.glob("**/definition.json")) and not (where / "definitions").is_dir():
        return [formats.load_kernelbench(file) for file in modules]
    return formats.load(where)


def members(task: Task) -> list[tuple[str, Mapping[str, str]]]:
    """(task name, what to override) for each problem; see `KernelEvaluator.members`. Raises TaskError where there is none."""
    wanted = [word.strip() for word in str(task.evaluate.settings.get("only", "")).split(",") if word.strip()]

    def picked(name: str) -> bool:
        return not wanted or any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)

    said = f" and evaluate.settings.only = {','.join(wanted)!r} names" if wanted else ""
    path = str(task.evaluate.settings.get("path", ""))
    if path:
        return _of_data_set(path, Path(task.root), picked, said)
    folder = Path(task.root) / "seed" / "kernels"
    names = [file.stem for file in sorted(folder.glob("*.py"))] if folder.is_dir() else []
    if not (chosen := [name for name in names if picked(name)]):
        raise TaskError(f"--all takes the problems of the pack that {folder} has a kernel for{said}")
    return [(name, _overrides(name, name)) for name in chosen]


def _of_data_set(path: str, root: Path, picked: Picked, said: str) -> list[tuple[str, Mapping[str, str]]]:
    where = Path(os.path.abspath(path)) if Path(path).exists() else place(path, root)
    try:
        found = everything(where)
    except UsageError as error:
        raise TaskError(f"evaluate.settings.path: {error}") from error
    rows: dict[str, Mapping[str, str]] = {}
    for problem in found:
        if not picked(problem.name) or not runnable(problem):
            continue
        name = slug(problem.name)
        if name in rows:
            raise TaskError(f"{where}: two problems would both be the task {name!r}; pick one with evaluate.settings.only")
        rows[name] = {**_overrides(name, problem.name), "evaluate.settings.path": json.dumps(str(where))}
    if not rows:
        raise TaskError(f"--all takes the problems that {where} holds{said} and of which some workload can run; it has {len(found)}")
    return sorted(rows.items())


def _overrides(name: str, problem: str) -> dict[str, str]:
    editable = json.dumps([file_of(problem)])
    return {"task.name": json.dumps(name), "task.editable": editable, "evaluate.settings.problem": json.dumps(problem)}


def runnable(problem: Problem) -> bool:
    """Whether some workload has all the blobs it names."""
    return any(
        not w.needs_blobs or all((problem.root / given.path).is_file() for given in w.inputs.values() if given.path)
        for w in problem.workloads
    )


def seed(task: Task) -> Mapping[str, str]:
    """Path -> text of the kernel a run on the user's own problem starts from: its contract and its reference."""
    from evolve.evaluators.kernels import pack

    settings = task.evaluate.settings
    if not settings.get("path"):
        return {}
    problem = find(str(settings.get("problem", "")), str(settings["path"]), Path(task.root))
    return {file_of(problem.name): pack.seed_source(problem)}
