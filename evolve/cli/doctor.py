"""evolve doctor"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

import click

from evolve.cli.common import json_option, print_json

_EXTRAS = {
    "plot": ("matplotlib",),
    "analysis": ("pandas", "networkx", "matplotlib"),
    "models": ("anthropic", "openai"),
    "mcp": ("mcp",),
    "ui": ("starlette", "uvicorn"),
    "training": ("torch", "pyarrow"),
    "gpu": ("torch", "triton"),
}

_TOOLS = ("git", "cc", "nvcc", "nvidia-smi", "node")


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """What this machine can do: the sandbox ladder by real attacks, git, compilers, GPUs, optional parts.

    Exit code 0 where a run can start without --unsafe, 1 where it cannot.
    """
    rungs = _sandbox() if sys.platform == "linux" else []
    taken = next((r["rung"] for r in rungs if r["available"] and r["label"] != "UNPROTECTED"), None)
    facts = _machine()
    extras = {name: all(importlib.util.find_spec(m) for m in modules) for name, modules in _EXTRAS.items()}
    tools = {tool: _version(tool) for tool in _TOOLS}
    if as_json:
        print_json(
            {"platform": sys.platform, "machine": facts, "sandbox": rungs, "taken": taken, "extras": extras, "tools": tools}
        )
        return 0 if taken else 1
    click.echo(f"machine   {facts['cpus']} x {facts['cpu']}, {facts['memory_gib']} GiB, {platform.system()} {facts['kernel']}")
    click.echo(f"python    {platform.python_version()} at {sys.executable}")
    if sys.platform != "linux":
        click.echo(f"platform  {sys.platform}: no sandbox here; archives can be read, and candidates you trust run with --unsafe")
    for row in rungs:
        _tell(row, taken)
    if not taken:
        click.echo("sandbox   none holds: 'evolve run' refuses to start without --unsafe (docs/sandbox.md)")
    for name, there in extras.items():
        click.echo(f"extra     {name:9} {'installed' if there else f'no: pip install evolve-search[{name}]'}")
    for tool, version in tools.items():
        click.echo(f"tool      {tool:11} {version or 'not found'}")
    return 0 if taken else 1


def _sandbox() -> list[dict[str, Any]]:
    from evolve.evaluators.sandbox.ladder import ladder

    return [
        {"rung": r.rung, "label": r.label, "available": r.available, "held": r.held, "lost": r.lost,
         "not_protected": r.not_protected, "why": r.why}
        for r in ladder()
    ]  # fmt: skip


def _machine() -> dict[str, Any]:
    if sys.platform == "linux":
        from evolve.evaluators.machine import machine

        return dict(machine())
    return {"cpus": os.cpu_count(), "cpu": platform.machine(), "memory_gib": "?", "kernel": platform.release()}


def _tell(row: dict[str, Any], taken: str | None) -> None:
    if row["label"] == "UNPROTECTED":
        mark = "nothing: --unsafe only"
    else:
        mark = "holds" if row["available"] else "no"
        if row["rung"] == taken:
            mark += ", taken"
    click.echo(f"sandbox   {row['rung']:10} {row['label']:12} {mark}")
    if row["available"]:
        click.echo(f"          {'':10} not protected: {row['not_protected']}")
    if row["lost"]:
        click.echo(f"          {'':10} attacks that worked: {', '.join(row['lost'])}")
    if row["why"] and not row["available"]:
        click.echo(f"          {'':10} {row['why']}")


def _version(tool: str) -> str:
    """The line that names a version, or an empty string."""
    if shutil.which(tool) is None:
        return ""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20, check=False)
    said = (done.stdout or done.stderr).splitlines()
    return next((text for text in said if any(c.isdigit() for c in text) and "(c)" not in text), "found")[:80]
