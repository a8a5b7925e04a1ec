"""evolve report"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import json_option, open_state, print_json, run_option, say


@click.command("report")
@run_option
@click.option("--out", "-o", metavar="FILE", help="Where to (default: <run>.html; '-': stdout). A .md ending makes Markdown.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Markdown instead of HTML.")
@click.option("--no-transcripts", is_flag=True, help="Leave prompts and answers out.")
@click.option("--bundle", metavar="FILE", help="Instead, the whole run as a git bundle.")
@click.option(
    "--to", "target", nargs=2, metavar="TRACKER PLACE",
    help="Instead, into an experiment tracker: tensorboard FOLDER, mlflow STORE, wandb FOLDER (offline).",
)  # fmt: skip
@json_option
def command(
    name: str | None, out: str | None, as_markdown: bool, no_transcripts: bool, bundle: str | None,
    target: tuple[str, str] | None, as_json: bool,
) -> None:  # fmt: skip
    """A run in one self-contained file: curves, winning path with diffs, failures, costs, integrity, how to repeat it."""
    archive, state = open_state(name)
    if bundle:
        from evolve.export.bundle import pack

        _wrote(str(pack(archive, state.run, Path(bundle))), state.run, as_json)
        return
    if target:
        from evolve.export.trackers import export, load

        sent = export(archive, state.run, load(*target, state.run))
        if as_json:
            print_json({"run": state.run, "points": sent, "tracker": target[0], "place": target[1]})
        say(f"evolve: {sent} points of run {state.run!r} went to {target[0]} at {target[1]}")
        return
    from evolve.export.report import Report, html, markdown

    report = Report(archive, state.run, transcripts=not no_transcripts)
    as_markdown = as_markdown or bool(out and out.endswith(".md"))
    text = markdown(report) if as_markdown else html(report)
    place = out or f"{state.run}.{'md' if as_markdown else 'html'}"
    if place == "-":
        click.echo(text, nl=False)
        return
    Path(place).write_text(text, encoding="utf-8")
    _wrote(place, state.run, as_json)


def _wrote(place: str, run: str, as_json: bool) -> None:
    if as_json:
        print_json({"run": run, "file": place})
    say(f"evolve: wrote {place}")
