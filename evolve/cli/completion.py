"""evolve completion"""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL; e.g. evolve completion bash >> ~/.bashrc"""
    from click.shell_completion import get_completion_class

    from evolve.cli import group

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(group, {}, "evolve", "_EVOLVE_COMPLETE").source())
