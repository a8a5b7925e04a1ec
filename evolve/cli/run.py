"""evolve run"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evolve.settings import RunSettings

DEFAULT_SECONDS = 120.0
"""Of a bundled task without any limit given; a user's repository runs until stopped."""


@click.command("run")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--name", "-n", metavar="RUN", help="Name of the run (default: the task's). The same name resumes.")
@click.option(
    "--evals", type=click.IntRange(1), metavar="N", help="Stop after N candidates with a verdict, the seed included."
)
@click.option("--time", "time_limit", metavar="T", help="Stop after T of wall time, such as 90s, 2m, 8h.")
@click.option("--money", type=float, metavar="USD", help="Stop before more than this is spent on models.")
@click.option("--tokens", type=int, metavar="N", help="Stop before more tokens than this are used.")
@click.option("--gpu-time", metavar="T", help="Stop after this much GPU time.")
@click.option("--seed", type=int, help="Seed of the search's random streams (default: drawn).")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Evaluations at a time (default: the number of cores)."
)
@click.option(
    "--proposals",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Proposals at a time of a mutator that waits.",
)
@click.option(
    "--mutator", "-m", "mutators", multiple=True, metavar="NAME", help="Mutator, may be repeated (default: syntactic)."
)
@click.option(
    "--selector", default="islands", show_default=True, help="islands, greedy, best-of-n, random, or one installed."
)
@click.option("--from", "start", metavar="COMMIT", help="Start from this commit or candidate instead of HEAD.")
@click.option("--no-control", is_flag=True, help="Do without the live control (random search beside the run).")
@click.option("--no-publish", is_flag=True, help="Publish no branches.")
@click.option("--prefix", default="refs/heads/evolve", show_default=True, help="Where branches are published.")
@click.option(
    "--fixed-dates", is_flag=True, help="Dates that depend on content alone: equal runs give equal commit ids."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a task key, such as evaluate.timeout=5s."
)
@click.option(
    "--on", "hooks", nargs=2, multiple=True, metavar="EVENT CMD", help="Run CMD on champion, stalled or finished."
)
@click.option("--detach", is_flag=True, help="Go on in the background; follow with 'evolve status --watch'.")
@click.option("--unsafe", is_flag=True, help="Run candidates without a sandbox where none holds here.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def command(tasks: tuple[str, ...], as_json: bool, detach: bool, **options: object) -> int:
    """Evolve TASK: a bundled task by name ('evolve tasks'), a folder or task file, or, left out, the evolve.toml here.

    The same command resumes a run that was stopped or killed. Ctrl-C finishes what is being measured and stops; a
    second one stops at once; nothing recorded is lost either way.
    """
    settings = _settings(tasks, options)
    if detach:
        return _detach(settings)
    from evolve import api
    from evolve.cli.progress import Progress, finish

    progress = Progress(quiet=as_json)
    session = api.open_session(settings, progress=progress)
    progress.opening(session)
    try:
        result = api.run(session)
    finally:
        progress.close()
    return finish(session, result, as_json=as_json)


def _settings(tasks: tuple[str, ...], options: dict[str, object]) -> RunSettings:
    import os

    from evolve.errors import UsageError
    from evolve.settings import RunSettings
    from evolve.tasks import bundled
    from evolve.tasks.task import duration

    def seconds(name: str) -> float | None:
        value = options[name]
        return duration(str(value), f"--{name.replace('_limit', '').replace('_', '-')}") if value else None

    pairs = {}
    for text in options["overrides"]:  # type: ignore[attr-defined]
        key, equals, value = str(text).partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} must be KEY=VALUE, such as evaluate.timeout=5s")
        pairs[key] = value
    for event, _ in options["hooks"]:  # type: ignore[attr-defined]
        if event not in ("champion", "stalled", "finished"):
            raise UsageError(f"--on {event!r}: the events are champion, stalled and finished")
    limits = {
        "evaluations": options["evals"],
        "seconds": seconds("time_limit"),
        "money": options["money"],
        "tokens": options["tokens"],
        "gpu_seconds": seconds("gpu_time"),
    }
    if not any(limits.values()) and any(bundled.find(task) for task in tasks):
        limits["seconds"] = DEFAULT_SECONDS
    return RunSettings(
        tasks=tasks,
        where=Path.cwd(),
        name=options["name"],  # type: ignore[arg-type]
        **limits,  # type: ignore[arg-type]
        seed=options["seed"],  # type: ignore[arg-type]
        workers=options["workers"] or len(os.sched_getaffinity(0)),  # type: ignore[arg-type]
        proposals=options["proposals"],  # type: ignore[arg-type]
        mutators=options["mutators"] or ("syntactic",),  # type: ignore[arg-type]
        selector=str(options["selector"]),
        start=options["start"],  # type: ignore[arg-type]
        control=not options["no_control"],
        publish=not options["no_publish"],
        prefix=str(options["prefix"]),
        fixed_dates=bool(options["fixed_dates"]),
        unsafe=bool(options["unsafe"]),
        overrides=pairs,
        hooks=tuple(options["hooks"]),  # type: ignore[arg-type]
    )


def _detach(settings: RunSettings) -> int:
    """The same command again in a session of its own, its talk in a log file beside the archive."""
    import subprocess
    import sys

    from evolve.population.archive import Archive

    archive = Archive.open(settings.where, create=True, task=settings.tasks[0] if settings.tasks else "")
    log = archive.home / "logs" / f"{settings.name or 'run'}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    archive.close()
    arguments = [word for word in sys.argv[1:] if word != "--detach"]
    with log.open("ab") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "evolve", *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    click.echo(f"evolve: running in the background as process {started.pid}; its output goes to {log}", err=True)
    click.echo("evolve: 'evolve status --watch' follows it, 'evolve stop' ends it", err=True)
    return 0
