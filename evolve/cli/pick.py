"""evolve pick"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evolve.cli.common import (
    candidate_argument,
    json_option,
    only_task,
    open_state,
    print_json,
    run_option,
    say,
    task_of,
)

if TYPE_CHECKING:
    from evolve.pick import Picked, Picker
    from evolve.population.archive import Archive
    from evolve.population.candidate import Candidate
    from evolve.population.folds import RunState
    from evolve.tasks.task import Task


@click.command("pick")
@candidate_argument(default="best")
@run_option
@click.option("--task", default=None, help="Which task of the run.")
@click.option("--squash", "mode", flag_value="squash", default=True, help="The whole change as one commit (default).")
@click.option("--steps", "mode", flag_value="steps", help="The winning path as a series, each commit with its gain.")
@click.option("--minimal", "mode", flag_value="minimal", help="Only the hunks that pay for themselves, found by measuring.")
@click.option("--onto", default="HEAD", show_default=True, metavar="BRANCH", help="The commit to build on; it may have moved.")
@click.option("--branch", metavar="NAME", help="Name of the new branch (default: evolve-pick/<run>-<number>).")
@click.option("--patch", metavar="FILE", help="Write a patch for 'git am' ('-': stdout) and make no branch.")
@click.option("--pr-body", metavar="FILE", help="Write the text of a pull request ('-': stdout).")
@click.option("--provenance", is_flag=True, help="Trailers that name run, candidate, operator and model.")
@click.option("--signoff", "-s", is_flag=True, help="Add your Signed-off-by.")
@click.option("--no-check", is_flag=True, help="Do not measure the result on the branch it lands on.")
@click.option("--blocks", type=click.IntRange(1), metavar="N", help="Samples of each side (default: the task's confirm).")
@click.option("--most", type=click.IntRange(1), default=200, show_default=True, help="Measurements of --minimal at most.")
@click.option("--apply", "move", is_flag=True, help="Then fast-forward the branch checked out here, files and all.")
@json_option
def command(
    candidate: str, name: str | None, task: str | None, mode: str, onto: str, branch: str | None, patch: str | None,
    pr_body: str | None, provenance: bool, signoff: bool, no_check: bool, blocks: int | None, most: int, move: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Take CANDIDATE (default: the champion) into your repository as commits of your own, on a new branch.

    Merged three-way onto any branch and measured again there. Your identity, signing and hooks apply; your working tree
    is not touched without --apply. Exit code 1: it merged, but its gain does not survive where it landed.
    """
    from evolve.errors import RepositoryError, UsageError
    from evolve.naming import candidate as find
    from evolve.pick import Picker, Wanted

    archive, state = open_state(name)
    chosen = find(candidate, archive, state, Path.cwd())
    if as_json and "-" in (patch, pr_body):
        raise UsageError("--json writes to stdout; give --patch and --pr-body a file")
    definition = task_of(state, only_task(state, task or chosen.task))
    opened = state.lineage.opened
    if patch and opened and opened.tasks[chosen.task].bundled:
        return _bundled_patch(archive, state, definition, chosen, patch)
    picker = Picker(archive, state, definition, Path.cwd(), lambda text: say(f"evolve: {text}"))
    if move and onto != "HEAD":
        raise UsageError("--apply moves the branch checked out here, so --onto has no part in it; leave one out")
    wanted = Wanted(chosen.commit, mode, onto, provenance, signoff, not no_check, blocks, most)  # type: ignore[arg-type]
    try:
        picked = asyncio.run(picker.pick(wanted))
    except RepositoryError as error:
        say(f"evolve: {error}")
        return error.exit_code
    _report(picker, picked, definition, onto)
    if pr_body:
        from evolve.upstream import pull_request

        _write(pr_body, pull_request(state, definition, chosen, picked, onto))
    lost = picked.there is not None and not picked.there.shown_better
    if patch:
        _write(patch, picker.patch(picked))
    made = None if patch else picker.branch(picked, branch or picker.free_name(chosen.number))
    if as_json:
        print_json({"commit": picked.commit, "branch": made, "onto": picked.onto, "mode": mode, "survives": not lost,
                    "patch": patch, "skipped": picked.skipped})  # fmt: skip
    elif made:
        click.echo(f"{picked.commit} {made}")
    if not made:
        return int(lost)
    if move and not lost:
        say(f"evolve: {picker.fast_forward(picked)} now stands on it")
    else:
        say(f"evolve: to take it: git merge {made}")
    return int(lost)


def _report(picker: Picker, picked: Picked, task: Task, onto: str) -> None:
    metric = task.objectives[0]
    for subject in picked.skipped:
        say(f"evolve: there already: {subject}")
    if picked.hooked:
        say("evolve: one of your hooks changed what was committed")
    if picked.reduction is not None:
        total = len(picked.reduction.kept) + len(picked.reduction.dropped)
        say(f"evolve: {len(picked.reduction.kept)} of {total} hunks are left after {picked.reduction.measured} measurements")
        if not picked.reduction.complete:
            say("evolve: not every hunk was tried alone; --most allows more")
    if picked.same:
        say(f"evolve: {onto} is the base the run measured against; its figures hold as they are")
    elif picked.there is not None:
        say(f"evolve: on {onto}, {picked.there.sentence(metric.name, metric.unit, metric.sign)}")
    say("")
    say(picker.git("log", "--stat", "--format=commit %h%n    %s%n", f"{picked.onto}..{picked.commit}"))
    say("")


def _bundled_patch(archive: Archive, state: RunState, task: Task, chosen: Candidate, target: str) -> int:
    """A bundled task has no history of the user's: its change as a plain diff, which `git apply` takes."""
    seed = state.candidates[state.lineage.seeds[task.name]]
    _write(target, archive.store.diff(seed.tree, chosen.tree))
    return 0


def _write(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.buffer.write(text.encode())  # click.echo would take escape sequences out of a patch
    else:
        Path(target).write_text(text, encoding="utf-8")
        say(f"evolve: wrote {target}")
