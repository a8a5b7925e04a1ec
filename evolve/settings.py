"""What a run is asked to do. Precedence where a value can be given twice: flags > EVOLVE_* > user file > defaults.

The user file is `$XDG_CONFIG_HOME/evolve/config.toml`, its `[run]` table. What a task is worth is never in it: that is
the task file's, which is stored with the run.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.tasks.errors import UsageError

USER_KEYS: dict[str, type | tuple[type, ...]] = {
    "evals": int,
    "time": str,
    "money": (int, float),
    "tokens": int,
    "gpu-time": str,
    "workers": int,
    "proposals": int,
    "mutator": (str, list),
    "selector": str,
    "control": bool,
    "greedy": bool,
    "publish": bool,
    "prefix": str,
}
"""Keys of the user file's [run] table, named as the options of `evolve run`, with the TOML type of each."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of `evolve.api.open_run`.

    tasks:      names of bundled tasks, or paths of task files or folders; empty: the repository's evolve.toml.
    where:      folder the command was given in.
    name:       name of the run; None: the task's name.
    evaluations, seconds, money (US dollars), tokens, gpu_seconds: limits; None: no limit of that kind.
    seed:       of every random stream of the search; None: drawn when the run is opened.
    workers:    evaluations at a time; proposals: proposals at a time of a mutator that waits.
    start:      what to start from: a commit, or a candidate of another run (`--from`); None: HEAD, or the task's seed.
    control:    run the live controls; greedy: the greedy one too; None: where an evaluation takes at most two seconds.
    publish:    publish branches. prefix: their namespace.
    overrides:  dotted task keys to new values ("evaluate.timeout" -> "5s"), as `--set` gives them.
    rescore:    go on where task, grader or hardware changed, in a new epoch (evolve/rescore.py).
    hooks:      (event, command) pairs of `--on`.
    every:      each task stands for many problems: one task for each of them, in this one run (`--all`).
    until:      task ("" for each) -> value of its first objective, in the metric's own direction, at which to stop.
    embedder:   name of an installed embedder for novelty (population/embedding.py); "": token fingerprints.
    policy:     parts of the search policy that differ from the default (population/policy.py), for a new run.
    """

    tasks: tuple[str, ...] = ()
    where: Path = field(default_factory=Path.cwd)
    name: str | None = None
    evaluations: int | None = None
    seconds: float | None = None
    money: float | None = None
    tokens: int | None = None
    gpu_seconds: float | None = None
    seed: int | None = None
    workers: int = 2
    proposals: int = 4
    mutators: tuple[str, ...] = ("syntactic",)
    selector: str = "islands"
    start: str | None = None
    control: bool = True
    greedy: bool | None = None
    publish: bool = True
    prefix: str = "refs/heads/evolve"
    fixed_dates: bool = False
    unsafe: bool = False
    rescore: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[tuple[str, str], ...] = ()
    every: bool = False
    embedder: str = ""
    until: Mapping[str, float] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


def user_file(environment: Mapping[str, str] | None = None) -> Path:
    """`$XDG_CONFIG_HOME/evolve/config.toml`, by default below ~/.config."""
    environment = os.environ if environment is None else environment
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(home) / "evolve" / "config.toml"


def user_defaults(path: Path | None = None) -> dict[str, Any]:
    """The `[run]` table of the user file, checked; empty where there is none.

    Raises UsageError naming the file, the key and the nearest known key.
    """
    path = path or user_file()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if unknown := sorted(set(document) - {"run"}):
        raise UsageError(f"{path}: unknown table [{unknown[0]}]; it holds [run] only (models have a models.toml)")
    table = document.get("run", {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: run must be a table, [run], not {table!r}")
    for key, value in table.items():
        if key not in USER_KEYS:
            close = difflib.get_close_matches(key, USER_KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(USER_KEYS)}"
            raise UsageError(f"{path}: unknown key [run] {key!r}; {hint}")
        wanted = USER_KEYS[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            kinds = wanted if isinstance(wanted, tuple) else (wanted,)
            raise UsageError(f"{path}: [run] {key} = {value!r} must be {' or '.join(kind.__name__ for kind in kinds)}")
    return table
