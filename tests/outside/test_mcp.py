"""The MCP server as an agent meets it: a process on standard input and output, driven by the SDK's own client."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.outside.scene import PROGRAM, command, project

pytest.importorskip("mcp", reason="the MCP SDK is not installed")


def test_an_agent_asks_tells_and_waits(tmp_path: Path) -> None:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    where = project(tmp_path / "repo")
    command(where, "run", "--evals", "2", "--no-control", "--seed", "1", "--workers", "1")
    command(where, "budget", "--evals", "50")

    async def agent() -> None:
        parameters = StdioServerParameters(command=sys.executable, args=["-m", "evolve.mcp"], cwd=where)
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            assert tools == {"ask", "tell", "wait", "status"}

            async def call(name: str, **arguments: Any) -> Any:
                result = await session.call_tool(name, arguments)
                text = result.content[0].text  # type: ignore[union-attr]
                return (
                    (json.loads(text), False)
                    if not getattr(result, "is_error", getattr(result, "isError", False))
                    else (text, True)
                )

            brief, _ = await call("ask", operator="improve")
            assert "# Order: improve" in brief["text"] and Path(brief["work"], "prog.py").read_text() == PROGRAM
            Path(brief["work"], "prog.py").write_text(PROGRAM.replace("3.0", "70.0"))
            told, _ = await call("tell", folder=Path(brief["folder"]).name, idea="heavier", model="loop")
            assert told["state"] == "born" and told["fitness"] == 73.0
            twice, _ = await call("tell", folder=Path(brief["folder"]).name, idea="again", model="loop")
            assert twice["candidate"] == told["candidate"], "a second answer to the same brief changes nothing"
            late, _ = await call("ask", operator="improve", minutes=0.0001)
            Path(late["work"], "prog.py").write_text(PROGRAM.replace("2.0", "90.0"))
            found, _ = await call("tell", folder=Path(late["folder"]).name)
            assert found["state"] == "late" and not found.get("candidate")
            standing, _ = await call("status")
            assert standing["best"]["sum"]["fitness"] == 73.0 and standing["live"] is False
            waited, _ = await call("wait", what="idle", seconds=5)
            assert waited["reached"] is True
            waited, _ = await call("wait", what="improvement", seconds=0.5)
            assert waited["reached"] is False
            why, failed = await call("ask", operator="nonsense")
            assert failed and "none for outside" in why

    asyncio.run(agent())
