"""Writes docs/cli.md: the `--help` of every command. `python docs/make_cli.py`; tests/test_docs.py holds it current."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from evolve.cli import group
from evolve.settings import USER_KEYS

HEAD = """# Command line

Written by `python docs/make_cli.py` from the commands' own help.

stdout is data, stderr is talk. `--json` gives one JSON document, `log --json` JSON Lines. `NO_COLOR` is respected; what a
candidate wrote is never printed to a terminal as it is, only with control characters shown as escapes.
`evolve -C FOLDER ...` works as if started in FOLDER.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed: our own machinery, or what was waited for did not come |
| 2 | usage: a wrong argument, an unknown name, a task file that cannot be what was meant |
| 3 | the baseline failed: the seed does not score |
| 4 | authentication or quota at a model's service |
| 5 | the state of a repository or archive forbids it |
| 75 | stopped on request (SIGTERM); the same command resumes |
| 130 | interrupted (Ctrl-C); the same command resumes |

`evolve eval` has its own, for `git bisect run`: 0 good, 1 bad, 125 not judged, 128 anything else. `evolve verify` alike.

## Naming a candidate

As in git. `HEAD`, branches and `HEAD~2` mean your repository; ids, short or full, and `evolve/<run>/best` mean the archive
first; `best` is the champion, `best~3` an ancestor of it, `#12` a candidate's number.

## Settings

An option of `evolve run` can be given in four places; the first of these that has it counts:

1. the flag;
2. the environment: `EVOLVE_EVALS`, `EVOLVE_TIME`, `EVOLVE_MONEY`, `EVOLVE_TOKENS`, `EVOLVE_GPU_TIME`, `EVOLVE_SEED`,
   `EVOLVE_WORKERS`, `EVOLVE_PROPOSALS`, `EVOLVE_MUTATOR`, `EVOLVE_SELECTOR`, `EVOLVE_CONTROL`, `EVOLVE_GREEDY`,
   `EVOLVE_PUBLISH`, `EVOLVE_PREFIX`;
3. your own file, `$XDG_CONFIG_HOME/evolve/config.toml` (by default below `~/.config`):

   ```toml
   [run]
   workers = 8
   time = "8h"
   mutator = ["syntactic", "tune"]
   control = false
   ```

   Its keys are KEYS;
4. the default.

What a version is worth is never a setting: that is the task's (docs/tasks.md), and `--set evaluate.timeout=5s` changes it
for one run. Models have a file of their own (docs/models.md).

## Completion

`eval "$(evolve completion bash)"` in your shell's start-up file (zsh alike), or
`evolve completion fish > ~/.config/fish/completions/evolve.fish`. Commands, options, bundled tasks, runs and candidates are
completed.
"""


def text() -> str:
    runner = CliRunner()
    out = [HEAD.replace("KEYS", ", ".join(f"`{key}`" for key in USER_KEYS))]
    with click.Context(group) as context:
        names = group.list_commands(context)
    for name in ["", *names]:
        words = [name, "--help"] if name else ["--help"]
        shown = runner.invoke(group, words, prog_name="evolve", terminal_width=100).output.rstrip()
        out.append(f"\n## evolve {name}".rstrip() + f"\n\n```\n{shown}\n```\n")
    return "".join(out)


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(text(), encoding="utf-8")
