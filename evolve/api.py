"""The library's front door.

    from evolve import Task, evolve
    result = evolve("circle_packing", seconds=30)

`open_session` gives the pieces to those who want to hold them: `session.search`, `.state`, `.executor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolve.evaluators.evaluator import Evaluator, Executor
from evolve.mutators import Mutator
from evolve.opening import Opened, open_run
from evolve.population.selection import Selector
from evolve.session import Result, Session
from evolve.settings import RunSettings


def open_session(
    settings: RunSettings,
    *,
    mutators: Mapping[str, Mutator] | None = None,
    selector: Selector | None = None,
    executor: Callable[[Opened], Executor] | None = None,
    progress: Callable[[Session], None] | None = None,
) -> Session:
    """Open or resume a run and return the session that will search it; nothing has run yet.

    executor: makes the executor from what was opened; None: slots on this machine, each a process with a sandbox.
    Raises what `evolve.opening.open_run` raises. Close with `session.opened.writer.close()` if it is never run.
    """
    opened = open_run(settings)
    if executor is None:
        from evolve.evaluators.executors import LocalExecutor

        made: Executor = LocalExecutor(opened.sites, opened.settings.workers)
    else:
        made = executor(opened)
    try:
        return Session(opened, made, mutators=mutators, selector=selector, progress=progress)
    except BaseException:
        opened.writer.close()
        raise


def run(session: Session) -> Result:
    """Search until a budget is spent or the session is stopped (synchronous)."""
    return asyncio.run(session.run())


def evolve(
    task: str | Path = "",
    *,
    where: str | Path | None = None,
    mutator: Mutator | None = None,
    selector: Selector | None = None,
    evaluator: Evaluator | None = None,
    progress: Callable[[Session], None] | None = None,
    **settings: Any,
) -> Result:
    """Evolve a bundled task by name, a task file by path, or the repository at `where` by its evolve.toml.

    mutator, selector, evaluator: objects of your own in place of the built-in ones. An `evaluator` runs inside this
    process, without a sandbox: for code you trust. settings: fields of `evolve.settings.RunSettings`
    (`evaluations=200`, `seconds=60`, `seed=1`, `workers=2`, `name="try"`, ...).
    """
    base = RunSettings(tasks=(str(task),) if str(task) else (), where=Path(where) if where else Path.cwd())
    wanted = replace(base, **settings)
    executor = None
    if evaluator is not None:
        from evolve.evaluators.executors import InProcessExecutor

        def executor(opened: Opened) -> Executor:
            return InProcessExecutor(dict.fromkeys(opened.sites, evaluator), wanted.workers)

    session = open_session(
        wanted,
        mutators={mutator.name: mutator} if mutator else None,
        selector=selector,
        executor=executor,
        progress=progress,
    )
    return run(session)
