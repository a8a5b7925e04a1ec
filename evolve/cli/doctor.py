"""evolve doctor"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import click

from evolve.cli.common import json_option, print_json

_EXTRAS = {
    "plot": ("matplotlib",),
    "analysis": ("pandas", "networkx", "matplotlib"),
    "models": ("anthropic", "openai"),
    "ui": ("starlette", "uvicorn"),
    "gpu": ("torch", "triton"),
}


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """What this machine can do: the sandbox ladder by real attacks, git, compilers, GPUs, optional parts."""
    from evolve.evaluators.machine import machine
    from evolve.evaluators.sandbox.ladder import ladder

    rungs = ladder()
    extras = {name: all(importlib.util.find_spec(m) for m in modules) for name, modules in _EXTRAS.items()}
    tools = {tool: _version(tool) for tool in ("git", "cc", "gcc", "nvcc", "nvidia-smi", "node")}
    if as_json:
        rows = [{"rung": r.rung, "label": r.label, "available": r.available, "held": r.held, "lost": r.lost,
                 "not_protected": r.not_protected, "why": r.why} for r in rungs]  # fmt: skip
        print_json({"platform": sys.platform, "machine": machine(), "sandbox": rows, "extras": extras, "tools": tools})
        return
    if sys.platform != "linux":
        click.echo(f"platform  {sys.platform}: only Linux has a sandbox here; run candidates you trust with --unsafe")
    facts = machine()
    click.echo(f"machine   {facts['cpus']} x {facts['cpu']}, {facts['memory_gib']} GiB, Linux {facts['kernel']}")
    click.echo("sandbox   strongest first; the first that holds is taken")
    for rung in rungs:
        mark = "holds" if rung.available else "no"
        click.echo(f"  {rung.label:13} {mark:6} not protected: {rung.not_protected}")
        if rung.lost:
            click.echo(f"  {'':13} {'':6} attacks that worked: {', '.join(rung.lost)}")
        if rung.why:
            click.echo(f"  {'':13} {'':6} {rung.why}")
    for name, there in extras.items():
        click.echo(
            f"extra     {name:9} {'installed' if there else f'not installed: pip install evolve-search[{name}]'}"
        )
    for tool, version in tools.items():
        click.echo(f"tool      {tool:11} {version or 'not found'}")


def _version(tool: str) -> str:
    if shutil.which(tool) is None:
        return ""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return next(iter((done.stdout or done.stderr).splitlines()), "found")[:80]
