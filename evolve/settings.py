"""What a run is asked to do. Precedence where a value can be given twice: flags > EVOLVE_* > user file > defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
    control:    run the live control. publish: publish branches. prefix: their namespace.
    overrides:  dotted task keys to new values ("evaluate.timeout" -> "5s"), as `--set` gives them.
    hooks:      (event, command) pairs of `--on`.
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
    publish: bool = True
    prefix: str = "refs/heads/evolve"
    fixed_dates: bool = False
    unsafe: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[tuple[str, str], ...] = ()
