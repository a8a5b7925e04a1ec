"""Writes docs/cli.md: the `--help` of every command. `python docs/make_cli.py`; tests/test_docs.py holds it current."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from evolve.cli import group

HEAD = """# Command line

stdout is data, stderr is talk; `--json` gives one JSON document (`log --json`: JSON Lines). `NO_COLOR` is respected.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | usage: a wrong argument, an unknown name, a task file that cannot be what was meant |
| 3 | the baseline failed: the seed does not score |
| 4 | authentication or quota at a model's service |
| 5 | the state of a repository or archive forbids it |
| 75 | stopped on request (SIGTERM); the same command resumes |
| 130 | interrupted (Ctrl-C); the same command resumes |

`evolve eval` has its own, for `git bisect run`: 0 good, 1 bad, 125 not judged, 128 our own failure.

A candidate is named as in git: `HEAD`, branches and `~n` of your repository; ids (short or full) and
`evolve/<run>/best` in the archive; `#12` is a candidate's number; `best` is the champion.
"""


def text() -> str:
    runner = CliRunner()
    out = [HEAD]
    import click

    with click.Context(group) as context:
        names = group.list_commands(context)
    for name in ["", *names]:
        words = [name, "--help"] if name else ["--help"]
        shown = runner.invoke(group, words, prog_name="evolve", terminal_width=100).output.rstrip()
        out.append(f"\n## evolve {name}".rstrip() + f"\n\n```\n{shown}\n```\n")
    return "".join(out)


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(text(), encoding="utf-8")
