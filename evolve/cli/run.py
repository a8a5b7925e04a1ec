"""evolve run"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolve.cli.common import pairs, say

if TYPE_CHECKING:
    from evolve.session import Session
    from evolve.settings import RunSettings
    from evolve.web.serve import Server

DEFAULT_SECONDS = 120.0
"""Of a bundled task without any limit given; a user's repository runs until stopped."""

EVENTS = ("champion", "stalled", "finished")

_READY = "evolve: detached: "
"""What the background process says before it turns to its log file; the rest of the line is the file."""


class _Configured(click.Command):
    """A command whose defaults come from the user file (evolve.settings), below EVOLVE_* and flags."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = list(args)
        if not {"-h", "--help"} & set(given) and not extra.get("resilient_parsing"):
            extra.setdefault("default_map", _user_defaults())
        context = super().make_context(info_name, args, parent, **extra)
        context.meta["evolve.arguments"] = given
        return context


def _user_defaults() -> dict[str, Any]:
    from evolve.settings import user_defaults

    names = {"time": "time_limit", "gpu-time": "gpu_time", "mutator": "mutators"}
    table = {names.get(key, key): value for key, value in user_defaults().items()}
    if isinstance(table.get("mutators"), str):
        table["mutators"] = [table["mutators"]]
    return table


def _tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from evolve.tasks import bundled

    named = [CompletionItem(name) for name in bundled.names() if name.startswith(incomplete)]
    return [*named, CompletionItem(incomplete, type="file")]


@click.command("run", cls=_Configured)
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=_tasks)
@click.option("--all", "every", is_flag=True, help="All problems of TASK, each a task of this one run (sol_execbench).")
@click.option("--name", "-n", metavar="RUN", help="Name of the run (default: the task's). The same name resumes.")
@click.option("--evals", type=click.IntRange(1), metavar="N", envvar="EVOLVE_EVALS",
              help="Stop after N candidates with a verdict, the seed included.")  # fmt: skip
@click.option("--time", "time_limit", metavar="T", envvar="EVOLVE_TIME",
              help="Stop after T of wall time, such as 90s, 2m, 8h (a bundled task without any limit: 2m).")  # fmt: skip
@click.option("--money", type=click.FloatRange(0), metavar="USD", envvar="EVOLVE_MONEY",
              help="Stop before more than this is spent on models.")  # fmt: skip
@click.option("--tokens", type=click.IntRange(1), metavar="N", envvar="EVOLVE_TOKENS",
              help="Stop before more tokens than this are used.")  # fmt: skip
@click.option("--gpu-time", metavar="T", envvar="EVOLVE_GPU_TIME", help="Stop after this much GPU time.")
@click.option("--until", multiple=True, metavar="[TASK=]X",
              help="Stop once the champion's metric is X or better; with several tasks, once each has its own.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), metavar="N", envvar="EVOLVE_SEED",
              help="Seed of the search's random streams (default: drawn).")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), metavar="N", envvar="EVOLVE_WORKERS",
              help="Evaluations at a time (default: the number of cores).")  # fmt: skip
@click.option("--proposals", type=click.IntRange(1), default=4, show_default=True, metavar="N",
              envvar="EVOLVE_PROPOSALS", help="Proposals at a time of a mutator that waits.")  # fmt: skip
@click.option("--mutator", "-m", "mutators", multiple=True, metavar="NAME", envvar="EVOLVE_MUTATOR",
              help="Mutator, may be repeated (default: syntactic).")  # fmt: skip
@click.option("--selector", default="islands", show_default=True, metavar="NAME", envvar="EVOLVE_SELECTOR",
              help="islands, power-law, map-elites, pareto, pareto-cases, puct, greedy, best-of-n, random, or one installed.")  # fmt: skip
@click.option("--embedder", default="", metavar="NAME", help="Novelty by an installed embedder (docs/search.md).")
@click.option("--from", "start", metavar="COMMIT", help="Start from this commit or candidate instead of HEAD.")
@click.option("--control/--no-control", default=True, envvar="EVOLVE_CONTROL",
              help="Live controls beside the run: random search, and greedy (default: on).")  # fmt: skip
@click.option("--greedy/--no-greedy", default=None, envvar="EVOLVE_GREEDY",
              help="The greedy control among them (default: where an evaluation takes at most 2 s).")  # fmt: skip
@click.option("--publish/--no-publish", default=True, envvar="EVOLVE_PUBLISH",
              help="Publish branches evolve/RUN/... (default: on).")  # fmt: skip
@click.option("--prefix", default="refs/heads/evolve", show_default=True, metavar="REF", envvar="EVOLVE_PREFIX",
              help="Where branches are published.")  # fmt: skip
@click.option("--fixed-dates", is_flag=True, help="Dates depend on content alone: equal runs give equal commit ids.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Override a task key, such as evaluate.timeout=5s.")  # fmt: skip
@click.option("--policy", "policy", multiple=True, metavar="PART=VALUE",
              help="Set a part of the search policy of a new run, such as tune=off (docs/search.md).")  # fmt: skip
@click.option("--on", "hooks", nargs=2, multiple=True, metavar="EVENT CMD",
              help="Run the shell command CMD on EVENT: champion, stalled or finished.")  # fmt: skip
@click.option("--replay", is_flag=True,
              help="Run the search of a run again from its archive and compare: no network, nothing measured or written.")  # fmt: skip
@click.option("--ui", is_flag=True, help="Serve the web UI beside the run, and print its address.")
@click.option("--detach", is_flag=True, help="Go on in the background; follow with 'evolve status --watch'.")
@click.option("--detached", is_flag=True, hidden=True)
@click.option("--rescore", is_flag=True,
              help="Go on where task, grader or hardware changed: the best are scored anew.")  # fmt: skip
@click.option("--unsafe", is_flag=True, help="Run candidates without a sandbox where none holds here.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document on stdout.")
@click.pass_context
def command(
    context: click.Context, /, tasks: tuple[str, ...], as_json: bool, detach: bool, detached: bool, **options: Any
) -> int:
    """Evolve TASK: a bundled task by name ('evolve tasks'), a folder or task file, or, left out, the evolve.toml here.

    The same command resumes a run that was stopped or killed. Ctrl-C finishes what is being measured and stops; a
    second one stops at once; nothing recorded is lost either way. Options may also be given as EVOLVE_* variables and
    in the user's config.toml (docs/cli.md).
    """
    if options["replay"]:
        return _replay(options["name"] or next(iter(tasks), None), as_json)
    settings = _settings(tasks, options)
    if detach:
        return _detach(context.meta["evolve.arguments"])
    from evolve import api
    from evolve.cli.ending import finish
    from evolve.cli.progress import Progress

    progress = Progress(quiet=as_json)
    session = api.open_session(settings, progress=progress)
    if detached:
        _turn_to_log(session.opened.archive.home / "logs" / f"{session.opened.run}.log")
    progress.opening(session)
    server = _serve(session) if options["ui"] else None
    try:
        result = api.run(session)
    finally:
        progress.close()
        if server is not None:
            server.stop()
    return finish(session, result, as_json=as_json)


def _serve(session: Session) -> Server:
    """The web UI of a run about to be searched, in a thread. Its address is talk: stdout stays the result's."""
    from evolve.web.serve import Server

    session.writer.flush()
    server = Server(session.opened.archive.path)
    server.start()
    say(f"evolve: browse it at {server.url(session.opened.run)}")
    say(f"evolve: from another machine first: {server.ssh_line()}")
    return server


def _settings(tasks: tuple[str, ...], options: dict[str, Any]) -> RunSettings:
    from evolve.cli.common import nearest
    from evolve.errors import UsageError
    from evolve.settings import RunSettings
    from evolve.tasks import bundled
    from evolve.tasks.task import duration

    for event, _ in options["hooks"]:
        if event not in EVENTS:
            raise UsageError(f"--on {event!r} is no event; {nearest(event, EVENTS)}")
    limits = {
        "evaluations": options["evals"],
        "seconds": duration(options["time_limit"], "--time") if options["time_limit"] else None,
        "money": options["money"],
        "tokens": options["tokens"],
        "gpu_seconds": duration(options["gpu_time"], "--gpu-time") if options["gpu_time"] else None,
    }
    if all(limit is None for limit in limits.values()) and any(bundled.find(task) for task in tasks):
        limits["seconds"] = DEFAULT_SECONDS
    return RunSettings(
        tasks=tasks,
        where=Path.cwd(),
        name=options["name"],
        **limits,
        seed=options["seed"],
        workers=options["workers"] or _cores(),
        proposals=options["proposals"],
        mutators=tuple(options["mutators"]) or ("syntactic",),
        selector=options["selector"],
        start=options["start"],
        control=options["control"],
        greedy=options["greedy"],
        publish=options["publish"],
        prefix=options["prefix"],
        fixed_dates=options["fixed_dates"],
        unsafe=options["unsafe"],
        rescore=options["rescore"],
        overrides=pairs(options["overrides"]),
        hooks=tuple(options["hooks"]),
        every=options["every"],
        embedder=options["embedder"],
        until=_until(options["until"]),
        policy=pairs(options["policy"], "--policy", "tune=off"),
    )


def _until(texts: tuple[str, ...]) -> dict[str, float]:
    from evolve.errors import UsageError

    found = {}
    for text in texts:
        task, _, value = text.rpartition("=")
        try:
            found[task] = float(value)
        except ValueError:
            raise UsageError(f"--until {text!r} must be a number, or TASK=NUMBER") from None
    return found


def _cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _replay(name: str | None, as_json: bool) -> int:
    """Exit code 0 where the replay came to the same, 1 where it did not."""
    import asyncio
    from dataclasses import asdict

    from evolve.cli.common import open_archive, pick_run, plain, print_json
    from evolve.replay import Replay

    archive = open_archive()
    found = asyncio.run(Replay(archive, pick_run(archive, name)).run())
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(f"{found.briefs} briefs, {found.proposals} proposals and {found.decided} events were decided again")
        if found.taken:
            click.echo(f"{found.taken} more were taken from the record")
        click.echo(plain(f"it differs: {found.difference}") if found.difference else f"run {found.run}: the same result")
    return 1 if found.difference else 0


# ---- in the background -----------------------------------------------------------------------------------------------


def _detach(arguments: list[str]) -> int:
    """The same command in a session of its own. Returns once it has opened its run, or with its exit code if it fails."""
    import subprocess

    words = ["--detached" if word == "--detach" else word for word in arguments]
    started = subprocess.Popen(
        [sys.executable, "-m", "evolve", "run", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    assert started.stderr is not None
    for said in started.stderr:
        if said.startswith(_READY):
            log = said.removeprefix(_READY).strip()
            say(f"evolve: running in the background as process {started.pid}; what it says goes to {log}")
            say("evolve: 'evolve status --watch' follows it, 'evolve stop' ends it")
            return 0
        click.echo(said, nl=False, err=True)
    return started.wait()


def _turn_to_log(log: Path) -> None:
    """Tell the waiting parent where the log is, then write everything there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(_READY + str(log), file=sys.stderr, flush=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(fd, stream)
    os.close(fd)
