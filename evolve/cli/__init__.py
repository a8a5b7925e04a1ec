"""The command line. Each verb is a module of this package, loaded when it is called, so `--help` costs no import.

stdout is data, stderr is talk. Exit codes: 0 done, 1 failed, 2 usage, 3 the baseline failed, 4 authentication or quota,
5 the repository's state, 75 stopped and resumable, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_INTERRUPTED = 130

COMMANDS: dict[str, str] = {
    "init": "Write an evolve.toml for the repository here.",
    "check": "Try a task: does the seed score, how noisy is it, can a broken candidate score?",
    "run": "Evolve a bundled task, a task file, or the repository here; resumes where it was.",
    "status": "How runs stand.",
    "log": "Candidates with their verdicts, oldest first.",
    "show": "Everything about one candidate.",
    "diff": "What changed between two candidates.",
    "best": "The reigning champion, and how it came about.",
    "scoreboard": "All tasks of a run side by side, and their mean.",
    "eval": "Judge a commit; exit code 0 good, 1 bad, 125 not judged (for git bisect run).",
    "verify": "Measure a candidate again, or judge stored evidence again; mark and release.",
    "add": "Enter a commit of your own into a run.",
    "ask": "Take a brief to work on outside.",
    "tell": "Hand in the answer to a brief.",
    "note": "A word to all later briefs.",
    "lessons": "What a run learnt from its own verdicts.",
    "pick": "Take a winner upstream.",
    "tasks": "The bundled tasks.",
    "budget": "Change the limits of a run.",
    "pause": "Start nothing new until 'resume'.",
    "resume": "Un-pause a run.",
    "stop": "Let a run finish what it does and end.",
    "wait": "Block until a run gets somewhere.",
    "ui": "Browse a run in the browser.",
    "report": "One HTML file about a run.",
    "doctor": "What this machine can do, and what it cannot.",
    "completion": "Shell completion script.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or importlib.util.find_spec(_module(cmd_name)) is None:
            return None
        command: click.Command = importlib.import_module(_module(cmd_name)).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self.list_commands(ctx):
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "'evolve --help' lists the commands"
            raise click.UsageError(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name]) for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


def _module(name: str) -> str:
    return f"evolve.cli.{'evaluate' if name == 'eval' else name}"


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="evolve-search", prog_name="evolve")
@click.option("-C", "place", metavar="FOLDER", type=click.Path(exists=True, file_okay=False),
              help="Work as if started in FOLDER.")  # fmt: skip
def group(place: str | None) -> None:
    """Evolutionary program search over git branches: every attempt a commit, every gain checked."""
    if place is not None:
        os.chdir(place)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `evolve` command."""
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. Errors are one sentence on stderr."""
    from evolve.tasks.errors import EvolveError

    try:
        words = None if arguments is None else list(arguments)
        result = group.main(args=words, prog_name="evolve", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except EvolveError as error:
        click.echo(f"evolve: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:  # `evolve log | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        click.echo(f"evolve: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        return 1
