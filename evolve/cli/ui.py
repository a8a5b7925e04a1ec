"""evolve ui"""

from __future__ import annotations

import click

from evolve.cli.common import open_archive, pick_run, run_option, say
from evolve.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("ui")
@run_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Port (default: 8350 or the next free one).")
@click.option("--token", default=None, help="Token of the session (default: drawn anew).")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name the server may be called by.")
@click.option("--allow-actions", is_flag=True, help="Let the browser write directives, pause, stop, pin and suspend.")
@click.option("--open", "browse", is_flag=True, help="Open the browser here.")
def command(
    name: str | None, host: str, port: int | None, token: str | None, hosts: tuple[str, ...], allow_actions: bool,
    browse: bool,
) -> None:  # fmt: skip
    """Browse a run in the browser: served from this process's own files, live, read-only unless told otherwise."""
    from evolve.web.serve import Server

    if token is not None and len(token) < 16:
        raise UsageError(f"--token has {len(token)} characters; give at least 16, or leave it out")
    archive = open_archive()
    path, run = archive.path, pick_run(archive, name)
    archive.close()
    server = Server(path, host=host, port=port, token=token, allow_actions=allow_actions, hosts=hosts, run=run)
    say(f"evolve: run {run!r}; open this address, or Ctrl-C to end")
    click.echo(server.url(run))
    if host in LOOPBACK:
        say(f"evolve: from another machine first: {server.ssh_line()}")
    else:
        say(f"evolve: listening on {host}: without encryption, whoever sees the address can read the run")
    if browse:
        import webbrowser

        webbrowser.open(server.url(run))
    server.serve()
