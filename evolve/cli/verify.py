"""evolve verify"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolve.cli.common import (
    candidate_argument,
    json_option,
    metric_text,
    open_state,
    plain,
    print_json,
    run_option,
    say,
    task_of,
)
from evolve.cli.evaluate import BAD, GOOD, NOT_JUDGED, ForBisect
from evolve.errors import UsageError

if TYPE_CHECKING:
    from evolve.population.candidate import Candidate
    from evolve.population.folds import RunState
    from evolve.tasks.verdict import Verdict


@click.command("verify", cls=ForBisect)
@candidate_argument(default="best")
@run_option
@click.option("--record", is_flag=True, help="Put what is found on record; the run must not be going on.")
@click.option("--rejudge", is_flag=True, help="Judge the stored evidence of the whole run again, measuring nothing.")
@click.option("--suspect", metavar="WHY", help="Mark CANDIDATE as suspicious: quarantines it with its descendants.")
@click.option("--release", metavar="WHY", help="Clear CANDIDATE of any doubt, as a person may.")
@json_option
def command(
    candidate: str, name: str | None, record: bool, rejudge: bool, suspect: str | None, release: str | None, as_json: bool
) -> int:
    """Measure CANDIDATE again, apart from the search: a job of its own, new secrets, the strictest rules.

    Exit code 0 where that bears its score out (within noise), 1 where it does not, 125 where there is no score to bear
    out, 128 on our own failure. Nothing is recorded without --record, which also releases a candidate in doubt.

    --rejudge looks at every candidate of the run and tells each verdict that the present rules would not give any more:
    exit code 0 where there is none, 1 where there are some.
    """
    if sum((rejudge, suspect is not None, release is not None)) > 1:
        raise UsageError("--rejudge, --suspect and --release are different things; give one of them")
    if rejudge:
        return _rejudge(name, record, as_json)
    if suspect is not None or release is not None:
        return _mark(candidate, name, suspect, release, as_json)
    return _measure(candidate, name, record, as_json)


def _measure(wanted: str, name: str | None, record: bool, as_json: bool) -> int:
    from evolve import verify

    archive, state, candidate = _found(wanted, name)
    task, calibration = task_of(state, candidate.task), state.lineage.calibration(candidate.task)
    before = candidate.verdict
    if record:
        again = verify.rerun_on_record(archive, state, candidate)
    else:
        again = asyncio.run(verify.rerun(archive, state, candidate))
    good = verify.borne_out(candidate, again.verdict, task, calibration)
    code = NOT_JUDGED if good is None else GOOD if good else BAD
    word = {GOOD: "verified", BAD: "not verified", NOT_JUDGED: "not judged"}[code]
    now, then = _words(state, candidate, again.verdict), _words(state, candidate, before)
    say(f"evolve: #{candidate.number} {candidate.commit[:12]} {word}: {now}; on record: {then}; {again.standing}")
    if as_json:
        print_json({"commit": candidate.commit, "word": word, "status": again.verdict.status.value,
                    "fitness": again.verdict.fitness, "recorded": candidate.fitness, "reason": again.verdict.reason,
                    "standing": again.standing})  # fmt: skip
    return code


def _rejudge(name: str | None, record: bool, as_json: bool) -> int:
    from evolve import verify

    archive, state = open_state(name)
    changes = verify.rejudge_on_record(archive, state) if record else list(verify.rejudge(archive, state))
    if as_json:
        rows = [{"number": c.candidate.number, "commit": c.candidate.commit, "before": c.before.status.value,
                 "fitness_before": c.before.fitness, "after": c.after.status.value, "fitness_after": c.after.fitness,
                 "reason": c.after.reason} for c in changes]  # fmt: skip
        print_json({"run": state.run, "judged": len(state.lineage.verdict_order), "changed": rows, "recorded": record})
        return BAD if changes else GOOD
    for change in changes:
        before, after = (_words(state, change.candidate, verdict) for verdict in (change.before, change.after))
        click.echo(f"#{change.candidate.number:<5} {change.candidate.commit[:10]} {before} -> {after}")
    told = "put on record" if record else "nothing is recorded without --record"
    say(f"evolve: {len(changes)} of {len(state.lineage.verdict_order)} verdicts change" + (f"; {told}" if changes else ""))
    return BAD if changes else GOOD


def _mark(wanted: str, name: str | None, suspect: str | None, release: str | None, as_json: bool) -> int:
    from evolve.cli.steer import steer, tell
    from evolve.population import events as ev

    _, state, candidate = _found(wanted, name)
    seed = state.lineage.seeds.get(candidate.task)
    if suspect is not None and candidate.commit == seed:
        raise UsageError(f"#{candidate.number} is the seed: everything descends from it; mark what was made of it")
    event: ev.Event
    if suspect is not None:
        why = suspect or "marked suspicious by a person"
        event = ev.Quarantined(candidate.task, candidate.commit, why, candidate.commit)
        family = len(state.lineage.descendants(candidate.commit))
        what = f"has #{candidate.number} in quarantine, with {family} descendants"
    else:
        event = ev.Released(candidate.task, candidate.commit, release or "released by a person")
        what = f"has #{candidate.number} released"
    run, searched = steer(name, event)
    tell(what, run, searched, as_json, commit=candidate.commit)
    return GOOD


def _found(wanted: str, name: str | None) -> tuple[Any, RunState, Candidate]:
    from evolve.naming import candidate as find

    archive, state = open_state(name)
    return archive, state, find(wanted, archive, state, Path.cwd())


def _words(state: RunState, candidate: Candidate, verdict: Verdict | None) -> str:
    if verdict is None:
        return "no verdict"
    if verdict.fitness is None:
        return plain(f"{verdict.status.value} ({verdict.reason[:120]})")
    return metric_text(task_of(state, candidate.task).objectives[0], verdict.fitness, verdict.low, verdict.high)
