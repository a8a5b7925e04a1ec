"""A table of numbers polished with gradients, where the task says how: SLSQP (Kraft 1988) of scipy, one candidate a polish.

The task's file, named by `[evaluate.settings] polish = "polish.py"`, is its author's as `evaluate.py` is: it has

    TABLE = "program.py:CENTRES"     # the file and the name that the numbers are assigned to
    def problem(numbers): ...        # -> a dictionary, see `solve`; raises ValueError for numbers it cannot start from

It runs in a process of its own with a time limit and is given nothing but the numbers that stand in the candidate's text. Only
the numbers change; what comes out is judged like any other candidate. Request and answer are on record, so a replay runs nothing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from evolve.mutators import Desk, Reply
from evolve.mutators.numeric import Number
from evolve.mutators.workpiece import Workpiece
from evolve.population.brief import Brief, Proposal
from evolve.tasks.errors import TaskError
from evolve.tasks.task import Task

SECONDS = 60.0
"""Wall time of one polish."""

STEPS = 200
TOLERANCE = 1e-9

MODEL = "slsqp"
"""Whose answer it is on record."""


def hook_of(task: Task) -> Path | None:
    """The task's file, if it names one. Raises TaskError where it is not there."""
    name = task.evaluate.settings.get("polish")
    if not isinstance(name, str) or not name:
        return None
    path = Path(task.root) / name
    if not path.is_file():
        raise TaskError(f"evaluate.settings.polish is {name!r}, and there is no file {path}")
    return path


# ---- the candidate's side --------------------------------------------------------------------------------------------


def table_of(files: Mapping[str, bytes], where: str) -> tuple[str, list[Number]]:
    """The file and the numbers of the table `where` ("program.py:NAME"), in order; no numbers where it has none."""
    path, _, name = where.partition(":")
    content = files.get(path, b"")
    match = re.search(rb"^%s[ \t]*(?::[^=\n]+)?=" % re.escape(name.encode()), content, re.MULTILINE)
    if match is None:
        return path, []
    numbers = [number for number in Workpiece.of(path, content).numbers if number.start >= match.end()]
    if not numbers or numbers[0].table < 0 or b"\n\n" in content[match.end() : numbers[0].start]:
        return path, []
    return path, [number for number in numbers if number.table == numbers[0].table and number.kind != "hex"]


async def propose(brief: Brief, desk: Desk, operator: str) -> Proposal:
    """The first parent with its table polished; stillborn where there is no table, or nothing was gained."""
    hook = hook_of(desk.task)
    if hook is None:
        return Proposal(stillborn="the task says no longer how to polish", operator=operator)
    files = desk.files(brief.parents[0])
    path, numbers = table_of(files, _table_name(hook))
    if not numbers:
        return Proposal(stillborn="the program has no longer the table that the task polishes", operator=operator)
    request = json.dumps({"polish": hook.name, "numbers": [number.value for number in numbers]}).encode()
    reply = await desk.call(request, _sender(hook), model=MODEL, money=0.0)
    answer = json.loads(reply.body) if reply.body else {}
    if reply.outcome != "ok" or "numbers" not in answer:
        return Proposal(stillborn=f"polish: {answer.get('error', reply.outcome)}"[:300], operator=operator)
    content, at = files[path], 0
    out = []
    for number, value in zip(numbers, answer["numbers"], strict=True):
        text = f"{value:.12g}".encode() if number.kind != "int" else b"%d" % round(value)
        text += b".0" if number.kind == "float" and not re.search(rb"[.en]", text) else b""
        out += [content[at : number.start], text if number.signed or value >= 0 else b"(" + text + b")"]
        at = number.end
    changed = b"".join([*out, content[at:]])
    if changed == content:
        return Proposal(stillborn="the polished numbers are the parent's own", operator=operator)
    words = f"polish {len(numbers)} numbers by SLSQP: {answer['before']:.6g} to {answer['after']:.6g} in {answer['steps']} steps"
    return Proposal({path: changed}, words, operator)


def _table_name(hook: Path) -> str:
    """TABLE of a task's file, read without running it. Raises TaskError where it has none."""
    match = re.search(r"^TABLE[ \t]*=[ \t]*[\"']([^\"'\n]+:\w+)[\"']", hook.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise TaskError(f'{hook.name} has no line TABLE = "file.py:NAME"')
    return match[1]


def _sender(hook: Path) -> Any:
    async def send(request: bytes) -> Reply:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(hook), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(request), SECONDS)
        except TimeoutError:
            return Reply(json.dumps({"error": f"took longer than {SECONDS:g} s"}).encode(), "timeout", money=0.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = err.decode("utf-8", "replace").strip().splitlines()[-1:]
            return Reply(json.dumps({"error": " ".join(said)[:300]}).encode(), "error", money=0.0)
        return Reply(out, money=0.0)

    return send


# ---- the process's side ----------------------------------------------------------------------------------------------


def solve(problem: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Polish one problem: `start` (a vector), `objective` (vector -> what is minimised and its gradient), `numbers` (vector -> the
    table's numbers, as many as came), and where it has them `constraints` (vector -> values that must be at least 0 and their
    Jacobian) and `bounds` (a (low, high) for each). Raises ValueError for a result of another length, or not finite."""
    from scipy.optimize import minimize

    objective, constraints = problem["objective"], problem.get("constraints")
    limits = (
        [{"type": "ineq", "fun": lambda v: constraints(v)[0], "jac": lambda v: constraints(v)[1]}] if constraints else ()
    )
    start = np.asarray(problem["start"], dtype=float)
    found = minimize(
        lambda v: objective(v)[0], start, jac=lambda v: objective(v)[1], method="SLSQP", bounds=problem.get("bounds"),
        constraints=limits, options={"maxiter": STEPS, "ftol": TOLERANCE},
    )  # fmt: skip
    numbers = [float(value) for value in problem["numbers"](found.x)]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"numbers() gave {len(numbers)} numbers, not {count} finite ones")
    return {
        "numbers": numbers, "before": float(objective(start)[0]), "after": float(found.fun), "steps": int(found.nit),
        "ended": str(found.message),
    }  # fmt: skip


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("task_polish", path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: Sequence[str]) -> int:
    """Request on standard input, answer on standard output; a ValueError of the task's file is an answer."""
    numbers = json.load(sys.stdin)["numbers"]
    try:
        answer = solve(_loaded(Path(arguments[0])).problem(numbers), len(numbers))
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
