"""A brief out to a plain folder, an answer back from it.

    FOLDER/brief.md     the brief in words: task, program, scores, what was tried, the order, how to answer
    FOLDER/brief.json   the same facts for a program
    FOLDER/work/        the parent's files in a throw-away git repository of one commit

Nothing of the archive is in the folder. Only the contents of regular files come back: no link is followed, no git is
run in it, and a file that may not change is refused by name.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolve.desk import with_logs
from evolve.errors import RepositoryError, UsageError
from evolve.mutators import Reply
from evolve.mutators.folder import collect, lay, regular
from evolve.mutators.outside import OUTSIDE, UNCLAIMED
from evolve.mutators.prompting import described
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.population.lock import held
from evolve.tasks.evidence import Evidence
from evolve.tasks.records import to_json
from evolve.tasks.task import Task
from evolve.tasks.verdict import shown, told

LEASE = 3600.0
"""Seconds that a brief is kept for whoever took it, unless told otherwise."""


# ---- reading an archive without running it ---------------------------------------------------------------------------


@dataclass(slots=True)
class Reading:
    """A `Desk` on an archive that is only read: its `call` refuses."""

    archive: Archive
    state: RunState
    task: Task

    def files(self, commit: str) -> Mapping[str, bytes]:
        return self.archive.store.files(self.candidate(commit).tree, self.task.may_edit)

    def read(self, commit: str, path: str) -> bytes | None:
        return self.archive.store.file(self.candidate(commit).tree, path)

    def candidate(self, commit: str) -> Candidate:
        return self.state.candidates[commit]

    def evidence(self, commit: str) -> tuple[Evidence, ...]:
        oids = self.state.lineage.measured.get(commit, ())
        return tuple(found for oid in oids if (found := with_logs(self, oid)) is not None)

    def everything(self, commit: str) -> tuple[dict[str, bytes], dict[str, int]]:
        """All regular files of a candidate's tree, and path -> git mode of all its entries."""
        tree = self.candidate(commit).tree
        return self.archive.store.files(tree), self.archive.store.modes(tree)

    def event(self, oid: str) -> ev.Event:
        return self.archive.event(oid)

    def artifact(self, oid: str, name: str) -> bytes | None:
        return self.archive.artifact(oid, name)

    def artifacts(self, oid: str) -> tuple[str, ...]:
        return self.archive.recorded(oid).artifacts

    def children(self, commit: str) -> tuple[Candidate, ...]:
        born = (self.state.candidates[child] for child in self.state.lineage.children.get(commit, ()))
        return tuple(child for child in born if child.parents[0] == commit)

    def merge_base(self, ours: str, theirs: str) -> str | None:
        return self.archive.store.merge_base(ours, theirs)

    def merge(self, base: str, ours: str, theirs: str) -> Mapping[str, bytes] | None:
        tree = self.archive.store.merge(base, ours, theirs)
        return None if tree is None else self.archive.store.files(tree, self.task.may_edit)

    async def call(self, *_: Any, **__: Any) -> Reply:
        raise UsageError("an archive that is only read has no line to the outside")


def task_of(state: RunState, name: str) -> Task:
    opened = state.lineage.opened
    if opened is None or name not in opened.tasks:
        raise UsageError(f"run {state.run!r} has no task {name!r}")
    task = Task.parse(opened.tasks[name].source, where=f"task {name} of run {state.run}")
    from evolve.tasks import bundled

    folder = bundled.find(opened.tasks[name].bundled) if opened.tasks[name].bundled else None
    return replace(task, root=folder) if folder else task


def catch_up(archive: Archive, state: RunState) -> list[ev.Recorded]:
    """Fold what was recorded since; returns it."""
    new = list(archive.events(state.run, after=state.seen))
    for recorded in new:
        state.apply(recorded)
    return new


def is_live(archive: Archive, run: str) -> bool:
    return held(archive.home / "locks" / f"{run}.lock")


# ---- ask -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """A brief in somebody's hands: its folder, and until when (seconds since the epoch)."""

    folder: Path
    brief: Brief
    holder: str
    until: float


def ask(
    archive: Archive,
    state: RunState,
    folder: Path,
    *,
    holder: str,
    operator: str = "",
    task: str = "",
    seconds: float = LEASE,
    wait: float = UNCLAIMED,
) -> Lease:
    """Take a brief of the run and lay it out in `folder`, which must not exist or be empty.

    wait: seconds to wait for a live run to hand one out. Raises RepositoryError where none came, UsageError for a
    folder that is in use or an operator nobody outside answers.
    """
    from evolve.mutators.outside import Outside

    if operator and operator not in Outside().operators:
        raise UsageError(f"operator {operator!r} is none for outside; there are: {', '.join(Outside().operators)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already and not empty; name a new folder")
    wanted = ev.Wanted(secrets.token_hex(8), holder, operator, task, seconds)
    if is_live(archive, state.run):
        lease, brief = _ask_live(archive, state, wanted, wait)
    else:
        lease, brief = _ask_alone(archive, state, wanted)
    lay_out(folder, brief, lease, archive, state)
    return Lease(folder, brief, lease.holder, lease.until)


def _ask_live(archive: Archive, state: RunState, wanted: ev.Wanted, wait: float) -> tuple[ev.Leased, Brief]:
    """Say that a brief is wanted, and lease the one that the running search makes for it."""
    writer = archive.writer(state.run)
    try:
        writer.append(wanted)
        writer.flush()
        until = time.monotonic() + wait
        while time.monotonic() < until:
            catch_up(archive, state)
            for brief in state.pending.briefs.values():
                if brief.hint.get("request") == wanted.request:
                    writer.poll()  # the lease's clock comes after the brief's
                    lease = ev.Leased(brief.number, wanted.holder, time.time() + wanted.seconds)
                    writer.append(lease)
                    writer.flush()
                    return lease, brief
            if not is_live(archive, state.run):
                raise RepositoryError(f"run {state.run!r} ended before it had a brief to give; ask again")
            time.sleep(0.1)
    finally:
        writer.close()
    raise RepositoryError(
        f"run {state.run!r} had no brief to give within {wait:g} s: all its slots for answers from outside are taken, its "
        "budget is spent, or it is paused ('evolve status'); --wait waits longer"
    )


def _ask_alone(archive: Archive, state: RunState, wanted: ev.Wanted) -> tuple[ev.Leased, Brief]:
    """Make and lease a brief of a run that no process searches."""
    from evolve.inline import opened

    with opened(archive, state) as session:
        if why := session.search.spent():
            raise RepositoryError(f"run {state.run!r} has spent its {why}; 'evolve budget' raises it")
        session.search.append(wanted)
        brief = session.search.ask(OUTSIDE)
        lease = ev.Leased(brief.number, wanted.holder, time.time() + wanted.seconds)
        session.search.append(lease)
        session.writer.flush()
    catch_up(archive, state)
    return lease, brief


def lay_out(folder: Path, brief: Brief, lease: ev.Leased, archive: Archive, state: RunState) -> None:
    """Write the folder of a brief (see the module)."""
    task = task_of(state, brief.task)
    desk = Reading(archive, state, task)
    parent = state.candidates[brief.parents[0]]
    folder.mkdir(parents=True, exist_ok=True)
    files, modes = desk.everything(parent.commit)
    lay(folder / "work", files, modes)
    metrics = parent.verdict.metrics if parent.verdict else {}
    facts = {
        "run": state.run, "task": brief.task, "brief": brief.number, "operator": brief.operator, "holder": lease.holder,
        "until": lease.until, "parents": list(brief.parents), "editable": list(task.editable),
        "metrics": {name: to_json(estimate) for name, estimate in metrics.items()},
        "verdict": to_json(shown(parent.verdict)) if parent.verdict else None, "lessons": list(brief.lessons),
        "directives": list(brief.directives), "inspirations": [to_json(i) for i in brief.inspirations],
        "hint": dict(brief.hint), "archive": str(archive.path.resolve()), "answer": f"evolve tell {folder.name} --idea '...'",
    }  # fmt: skip
    (folder / "brief.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    until = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(lease.until))
    how = (
        f"# How to answer\n\nEdit the files in `work/` in place. Only these may change: {', '.join(task.editable)}. "
        f"Then run `evolve tell {folder} --idea 'what you changed and why, in a line'` before {until}. To give up: "
        f"`evolve tell {folder} --give-up 'why'`.\n"
    )
    (folder / "brief.md").write_text(f"{described(brief, desk)}\n\n{how}", encoding="utf-8")


# ---- tell ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer. state: "born" (candidate and perhaps verdict), "refused", "late", "twice", "waiting"."""

    state: str
    brief: int
    why: str = ""
    candidate: str = ""
    fitness: float | None = None
    status: str = ""
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told besides the files. give_up: why there is no answer; money: dollars it cost, None: unknown."""

    idea: str = ""
    why: str = ""
    model: str = ""
    money: float | None = None
    give_up: str = ""


def read_brief(folder: Path) -> dict[str, Any]:
    """brief.json of a folder. Raises UsageError where there is none that makes sense."""
    path = folder / "brief.json"
    try:
        facts = json.loads(regular(path, 1 << 20) or b"")
        int(facts["brief"]), str(facts["run"]), str(facts["archive"]), str(facts["holder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds no brief.json of 'evolve ask' ({error})") from error
    found: dict[str, Any] = facts
    return found


def tell(folder: Path, answer: Answer, *, wait: float = 600.0) -> Outcome:
    """Hand in the answer that lies in `folder`. wait: seconds to wait for what becomes of it.

    Raises UsageError for an edit that may not be (nothing is recorded then, so it can be put right), and for a folder
    that is no brief's.
    """
    facts = read_brief(folder)
    archive = Archive.open(facts["archive"])
    try:
        state = archive.state(facts["run"])
        number, holder = int(facts["brief"]), str(facts["holder"])
        if (over := _over(archive, state, number)) is not None:
            return over
        lease = state.pending.leases.get(number)
        if lease is None or lease.holder != holder:
            raise UsageError(f"brief {number} of run {state.run!r} is not leased to {holder!r}")
        if time.time() > lease.until:
            return Outcome(
                "late", number, f"the lease ran out at {time.ctime(lease.until)}; 'evolve ask' takes a new brief"
            )
        brief = state.pending.briefs[number]
        task = task_of(state, brief.task)
        changed: dict[str, bytes | None] = {}
        ignored: list[str] = []
        if not answer.give_up:
            files, modes = Reading(archive, state, task).everything(brief.parents[0])
            changed, ignored = collect(folder / "work", files, modes, task)
        if not changed and not answer.give_up:
            raise UsageError(
                f"nothing changed in {folder / 'work'}; edit {', '.join(task.editable)}, or --give-up with a reason"
            )
        outcome = _record(archive, state, brief, holder, changed, answer, wait)
    finally:
        archive.close()
    return replace(outcome, ignored=tuple(ignored))


def _record(
    archive: Archive,
    state: RunState,
    brief: Brief,
    holder: str,
    changed: Mapping[str, bytes | None],
    answer: Answer,
    wait: float,
) -> Outcome:
    """Put the answer on record; a live run takes it from there, else it is judged here."""
    from evolve.inline import opened, settle

    def event(store: Store, now: float) -> ev.Told:
        commit = ""
        if not answer.give_up:
            tree = store.edit(state.candidates[brief.parents[0]].tree, changed)
            commit = store.commit(tree, brief.parents[:1], f"Answer to brief {brief.number}\n", now)
        return ev.Told(
            brief.number, holder, commit, answer.idea, answer.why, answer.model, answer.money, answer.give_up
        )

    if is_live(archive, state.run):
        writer = archive.writer(state.run)
        try:
            writer.append(event(archive.store, writer.now()))
            writer.flush()
        finally:
            writer.close()
    else:
        with opened(archive, state) as session:
            session.search.append(event(session.store, session.writer.now()))
            session.writer.flush()
            settle(session, brief)
    return await_outcome(archive, state, brief.number, wait)


def await_outcome(archive: Archive, state: RunState, number: int, wait: float) -> Outcome:
    """What becomes of a brief's answer, waiting for its verdict up to `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        over = _over(archive, state, number)
        if over is not None and (over.state != "twice") and (over.status or over.state == "refused"):
            return over
        if time.monotonic() >= until:
            return over if over is not None and over.state == "born" else Outcome("waiting", number)
        time.sleep(0.1)
        if not is_live(archive, state.run) and not catch_up(archive, state):
            return over or Outcome(
                "waiting", number, "the run stopped; it goes on with this answer when it is started again"
            )


def _over(archive: Archive, state: RunState, number: int) -> Outcome | None:
    """How a brief ended; "twice" where it has an answer but no end yet; None where it is open."""
    catch_up(archive, state)
    if number in state.pending.told:
        return Outcome("twice", number, "the brief has an answer already")
    if number in state.pending.briefs:
        return None
    for candidate in state.candidates.values():
        if candidate.brief == number and number:
            verdict = candidate.verdict
            status = verdict.status.value if verdict else ""
            return Outcome(
                "born", number, told(verdict) if verdict else "", candidate.commit, candidate.fitness, status
            )
    for recorded in archive.events(state.run):
        if isinstance(recorded.event, ev.Refused) and recorded.event.brief == number:
            return Outcome("refused", number, f"{recorded.event.reason}: {recorded.event.why}")
    raise UsageError(f"run {state.run!r} has no brief {number}")


def wait(archive: Archive, state: RunState, what: str, seconds: float) -> bool:
    """Block until the run has `what` ("improvement", "idle", or a number of judged candidates); False after `seconds`."""
    champions = dict(state.lineage.champions)
    until = time.monotonic() + seconds
    while True:
        catch_up(archive, state)
        reached = {
            "improvement": state.lineage.champions != champions,
            "idle": not is_live(archive, state.run),
        }
        if reached.get(what, what.isdigit() and state.ledger.evaluations >= int(what)):
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.25)
