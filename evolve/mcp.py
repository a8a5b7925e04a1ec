"""The same as `evolve ask`, `tell` and `wait`, for an agent that speaks the Model Context Protocol.

Started as `python -m evolve.mcp` in the folder of the run (standard input and output), with the extra `mcp`.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.errors import EvolveError, RepositoryError, UsageError
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from evolve.tasks.records import to_json

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

LONGEST_WAIT = 3600.0

ABOUT = (
    "Evolve searches for better programs; you may be one of its mutators. Call `ask` for a brief: it names a folder with "
    "brief.md and the program in work/. Read brief.md, edit the files in work/, and call `tell` with the folder and your "
    "idea in a line; it answers with the verdict. `wait` blocks until the run gets somewhere, without costing anything."
)


def _run(where: Path, name: str) -> tuple[Archive, RunState]:
    archive = Archive.open(where)
    runs = archive.runs()
    if not runs:
        raise RepositoryError(f"{archive.path} has no run yet; 'evolve run' starts one")
    if name and name not in runs:
        raise UsageError(f"no run {name!r}; there are: {', '.join(runs)}")
    return archive, max((archive.state(run) for run in ([name] if name else runs)), key=lambda state: state.last_time)


def _ask(where: Path, folder: str, run: str, operator: str, minutes: float, holder: str) -> dict[str, Any]:
    from evolve.outside import ask

    archive, state = _run(where, run)
    try:
        name = folder or next(n for k in range(1, 10_000) if not (where / (n := f"brief-{state.run}-{k}")).exists())
        who = holder or f"{getpass.getuser()}-{os.getpid()}"
        lease = ask(archive, state, where / name, holder=who, operator=operator, seconds=minutes * 60)
        text = (lease.folder / "brief.md").read_text(encoding="utf-8")
        return {
            "folder": str(lease.folder), "work": str(lease.folder / "work"), "brief": lease.brief.number,
            "operator": lease.brief.operator, "until": lease.until, "text": text,
        }  # fmt: skip
    finally:
        archive.close()


def _tell(where: Path, folder: str, idea: str, why: str, model: str, give_up: str, seconds: float) -> dict[str, Any]:
    from evolve.outside import Answer, tell

    outcome = tell(where / folder, Answer(idea, why, model, None, give_up), wait=min(seconds, LONGEST_WAIT))
    told: dict[str, Any] = to_json(outcome)
    return told


def _wait(where: Path, what: str, run: str, seconds: float) -> dict[str, Any]:
    from evolve.outside import is_live, wait

    if not (what.isdigit() or what in ("improvement", "idle")):
        raise UsageError(f"for {what!r}: a number of candidates, 'improvement' or 'idle'")
    archive, state = _run(where, run)
    try:
        reached = wait(archive, state, what, min(seconds, LONGEST_WAIT))
        return {"reached": reached, "live": is_live(archive, state.run)} | _standing(state)
    finally:
        archive.close()


def _status(where: Path, run: str) -> dict[str, Any]:
    from evolve.outside import is_live

    archive, state = _run(where, run)
    try:
        return {"live": is_live(archive, state.run)} | _standing(state)
    finally:
        archive.close()


def _standing(state: RunState) -> dict[str, Any]:
    best = {task: state.candidates[commit] for task, commit in state.lineage.champions.items()}
    return {
        "run": state.run,
        "evaluations": state.ledger.evaluations,
        "best": {task: {"commit": c.commit, "fitness": c.fitness, "idea": c.idea} for task, c in best.items()},
    }


def server(where: Path) -> MCPServer:
    """The server of the runs around `where`. Raises UsageError where the extra is not installed."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise UsageError("the MCP SDK is not installed; pip install 'evolve-search[mcp]'") from error
    made = MCPServer("evolve", instructions=ABOUT)

    async def outcome(function: Any, *arguments: Any) -> dict[str, Any]:
        """In a thread, so that a call that blocks holds nobody else up; our errors become the tool's."""
        try:
            found: dict[str, Any] = await asyncio.to_thread(function, where, *arguments)
        except EvolveError as error:
            raise ToolError(str(error)) from error
        return found

    @made.tool()
    async def ask(
        operator: str = "", run: str = "", folder: str = "", minutes: float = 60.0, holder: str = ""
    ) -> dict[str, Any]:
        """Take a brief: an order for one change to the program, in a folder of its own. operator: improve, explore,
        simplify, fix or combine; empty lets the search choose. The brief is yours for `minutes`."""
        return await outcome(_ask, folder, run, operator, minutes, holder)

    @made.tool()
    async def tell(
        folder: str, idea: str = "", why: str = "", model: str = "", give_up: str = "", seconds: float = 600.0
    ) -> dict[str, Any]:
        """Hand in what you edited in a brief's folder and wait for the verdict. idea: what you changed and why, in a
        line. give_up: why there is no answer, to hand the brief back."""
        return await outcome(_tell, folder, idea, why, model, give_up, seconds)

    @made.tool()
    async def wait(what: str = "improvement", run: str = "", seconds: float = 600.0) -> dict[str, Any]:
        """Block until the run has a new champion ("improvement"), is no longer searched ("idle"), or has that many
        judged candidates (a number). Costs nothing while it waits."""
        return await outcome(_wait, what, run, seconds)

    @made.tool()
    async def status(run: str = "") -> dict[str, Any]:
        """How a run stands: judged candidates, the champion of each task, whether a process searches it now."""
        return await outcome(_status, run)

    return made


def main() -> None:
    server(Path.cwd()).run("stdio")


if __name__ == "__main__":
    main()
