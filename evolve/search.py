"""The search: chooses, remembers, decides. It never measures, never writes code and never waits.

Every decision is an event first; the state it decides on is the fold of those events. So a resume is a replay, and
each brief is a pure function of the log up to the positions it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from evolve.asking import Asker
from evolve.evaluators.evaluator import Job, Stage
from evolve.gate import Gatekeeper
from evolve.gates import audited
from evolve.lessons import Lessons
from evolve.limits import Limits
from evolve.plateau import Ladder
from evolve.population import events as ev
from evolve.population.brief import Brief, Proposal
from evolve.population.candidate import Candidate
from evolve.population.embedding import Embedder
from evolve.population.folds import RunState
from evolve.population.git import Entry
from evolve.population.novelty import shape, sketch
from evolve.population.policy import Policy
from evolve.population.selection import Selector
from evolve.standing import Standings
from evolve.studies import Tuner
from evolve.tasks.errors import EvolveError, GraderError, InfrastructureError
from evolve.tasks.evidence import Artifact, Evidence, Failure, FailureKind
from evolve.tasks.policy import check_edit
from evolve.tasks.task import Task
from evolve.tasks.verdict import CONFIRM, VERIFY, Verdict, judge
from evolve.upkeep import Upkeep

MOST_STARTS = 3
"""A job started this often without an end took the machine down: its candidate is INVALID."""

BREAKER = 5
"""Failures of our own in a row that stop the run."""

MOST_REFUSALS = 2000
"""Refused proposals in a row after which a mutator has nothing new to say."""

MOST_CALLS = 200
"""Answers of models in a row, none of which became a candidate, after which going on would only cost money."""


class Record(Protocol):
    """What the search needs of the archive's writer."""

    def append(self, event: ev.Event, artifacts: Sequence[Artifact] = ()) -> ev.Recorded: ...


class Objects(Protocol):
    """What the search needs of the archive's object store (population/git.py)."""

    def edit(self, tree: str, files: Mapping[str, bytes | None]) -> str: ...
    def commit(self, tree: str, parents: Sequence[str], message: str, when: float) -> str: ...
    def files(self, tree: str, match: Callable[[str], bool] | None = None) -> dict[str, bytes]: ...
    def entries(self, tree: str) -> Iterable[Entry]: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """One task of a run, as fixed when the run was opened. `stages` end with the one whose samples make the fitness."""

    task: Task
    base: str
    base_tree: str
    stages: tuple[Stage, ...]
    epoch: str
    task_digest: str
    evaluator: str


@dataclass(slots=True)
class Unfinished:
    """What a resume goes on with."""

    briefs: list[Brief] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)


class Search:
    """Chooses and remembers; see `evolve.loop.evolve` for the order in which its methods are called."""

    def __init__(
        self,
        record: Record,
        objects: Objects,
        state: RunState,
        grounds: Mapping[str, Ground],
        selector: Selector,
        operators: Mapping[str, Sequence[str]],
        *,
        evidence: Callable[[str], list[Evidence]],
        dates: Callable[[], float],
        timer: Callable[[], float],
        immediate: Sequence[str] = (),
        readers: Sequence[str] = (),
        models: Mapping[str, Sequence[str]] | None = None,
        until: Mapping[str, float] | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        """operators: mutator name -> the operators it answers. immediate: those of them that answer at once and so share
        the evaluation slots. readers: those that read what a brief says in words. models: mutator name -> its models, the
        cheapest first. until: task -> the fitness of its champion at which the search is done, where all have theirs.
        embedder: for novelty, instead of token fingerprints. evidence: commit -> all its evidence, oldest first. dates:
        seconds since the epoch for commits. timer: a monotonic clock in seconds for the wall-time budget."""
        self.record, self.objects, self.state, self.grounds = record, objects, state, grounds
        self.selector, self.operators, self.evidence = selector, operators, evidence
        self.dates, self.timer, self.immediate = dates, timer, tuple(immediate)
        self.embedder, self.readers = embedder, frozenset(readers)
        self.models, self.until = dict(models or {}), dict(until or {})
        opened = state.lineage.opened
        if opened is None:
            raise EvolveError("the run has no run_opened event; open it with evolve.api.open_run")
        self.seed = opened.seed
        self.policy = Policy.known(opened.settings.get("policy", {}))
        self.gates, self.asker, self.tuner = Gatekeeper(self), Asker(self), Tuner(self)
        self.standings, self.ladder, self.lessons = Standings(self), Ladder(self), Lessons(self)
        self.upkeep, self.limits = Upkeep(self), Limits(self)
        self._files: dict[str, dict[str, bytes]] = {}
        self._modes: dict[str, dict[str, int]] = {}
        self._errors_in_a_row = 0
        self._session_start = timer()
        self._session_base = state.ledger.seconds()
        self.stop_reason = ""

    # ---- whether to go on ----------------------------------------------------------------------------------------

    def wants_more(self, mutator: str = "") -> bool:
        """Whether another brief fits: not paused or stopping, and every budget allows it with what is under way. One
        for outside also needs somebody there who wants it."""
        if mutator and not self.asker.wants(mutator):
            return False
        if not self.stop_reason and self.reached():
            self.stop_reason = "until"
        if self.state.ledger.state != "running" or self.stop_reason:
            return False
        if self.state.pending.refused_in_a_row >= MOST_REFUSALS:
            self.stop_reason = f"{MOST_REFUSALS} proposals in a row were refused: the mutators have nothing new"
            return False
        if self.state.pending.paid_in_a_row >= MOST_CALLS:
            self.stop_reason = f"{MOST_CALLS} answers of models in a row became no candidate; 'evolve log' and the answers on record say why"
            return False
        return not (self.spent() or self.limits.tight() or self.limits.short("") or self.limits.short(mutator))

    def reached(self) -> bool:
        """Whether the champions are as good as was asked for."""
        champions = {task: self.state.champion(task) for task in self.until}
        found = {task: c.fitness for task, c in champions.items() if c is not None and c.fitness is not None}
        return bool(self.until) and all(task in found and found[task] >= low for task, low in self.until.items())

    def spent(self) -> str:
        """Why no further brief fits, or an empty string."""
        return self.limits.spent()

    def seconds(self) -> float:
        """Wall seconds of the run, earlier processes included."""
        return self._session_base + self.timer() - self._session_start

    def waiting(self) -> bool:
        """Whether the loop must stay open though nothing is under way (a person paused it)."""
        return self.state.ledger.state == "paused" and not self.stop_reason and not self.spent()

    def closing(self) -> bool:
        """Whether the run is ending for a reason that no answer still waited for can change."""
        return bool(self.stop_reason) or self.spent() not in ("", "evaluations")

    # ---- ask -----------------------------------------------------------------------------------------------------

    def ask(self, mutator: str) -> Brief:
        """The next order for `mutator`, on record before it is returned."""
        brief = self.asker.brief(mutator)
        self.append(ev.Asked(brief))
        return brief

    # ---- accept --------------------------------------------------------------------------------------------------

    def accept(self, brief: Brief, proposal: Proposal) -> Job | None:
        """A commit and its first job; or a recorded refusal and None."""
        ground = self.grounds[brief.task]
        parents = proposal.parents or brief.parents[:1]
        operator = proposal.operator or brief.operator
        if proposal.stillborn:
            return self._refuse(brief, "stillborn", proposal, proposal.stillborn)
        if proposal.families:
            return self._new_tactics(brief, proposal)
        parent = self.state.candidates[parents[0]]
        before = self.modes(parent.tree)
        if why := check_edit(ground.task, before, proposal.files):
            return self._refuse(brief, "policy", proposal, why)
        tree = self.objects.edit(parent.tree, proposal.files)
        if tree == parent.tree:
            return self._refuse(brief, "no-op", proposal, "the edit changes nothing", parent.commit)
        if earlier := self.state.lineage.known_tree(brief.task, tree):  # whatever the policy: evidence is of a tree, and it has some
            return self._refuse(brief, "duplicate", proposal, "this very tree is known", earlier)
        files = self._edited(ground.task, parent, proposal.files)
        form = shape(files)
        if self.policy.duplicates and (earlier := self.state.lineage.known_shape(brief.task, form)):
            return self._refuse(brief, "duplicate", proposal, "the same program but for layout and comments", earlier)
        earlier = self.state.lineage.known_behaviour(brief.task, proposal.behaviour)
        if earlier and not audited(brief.number):
            why = f"it answers the probes as candidate #{self.state.candidates[earlier].number} does"
            return self._refuse(brief, "behaviour", proposal, why, earlier)
        number = self.state.pending.next_number
        message = self._message(brief, proposal, operator)
        commit = self.objects.commit(tree, parents, message, self.dates())
        self._remember_files(commit, files)
        self.append(
            ev.Born(
                brief=brief.number,
                task=brief.task,
                candidate=commit,
                tree=tree,
                parents=tuple(parents),
                number=number,
                operator=operator,
                model=proposal.model,
                idea=proposal.idea,
                island=brief.island,
                inspired_by=tuple(i.candidate for i in (*brief.inspirations, *proposal.inspirations)),
                shape=form,
                sketch=sketch(files),
            ),
            proposal.artifacts,
        )
        if proposal.behaviour:
            self.append(ev.Fingerprinted(brief.task, commit, proposal.behaviour))
        return self._job(ground, number, tree, ground.stages[0], 0, parent.tree)

    def _refuse(self, brief: Brief, reason: str, proposal: Proposal, why: str, earlier: str = "") -> Job | None:
        operator = proposal.operator or brief.operator
        self.append(ev.Refused(brief.number, brief.task, reason, why[:500], earlier, operator), proposal.artifacts)
        self.upkeep.look(self.grounds[brief.task])
        return None

    def unpaid(self, brief: Brief, what: str, why: str) -> None:
        """A request for this brief did not fit into what is left of `what`."""
        self.limits.unpaid(brief.mutator, what)
        self._refuse(brief, "stillborn", Proposal(operator=brief.operator), f"budget: {why}")

    def _new_tactics(self, brief: Brief, proposal: Proposal) -> Job | None:
        """Record the families that a tactic call named; those of a known name are left out."""
        known = {tactic.family.casefold() for tactic in self.state.memory.tactics if tactic.task == brief.task}
        fresh = {f.name.casefold(): f for f in reversed(proposal.families) if f.name.casefold() not in known}
        if not fresh:
            return self._refuse(brief, "stillborn", proposal, "all families it names were named before")
        artifacts = proposal.artifacts
        for family in reversed(fresh.values()):
            self.append(ev.Tactic(brief.task, family.name, family.text, brief.number), artifacts)
            artifacts = ()
        return None

    def _message(self, brief: Brief, proposal: Proposal, operator: str) -> str:
        idea = " ".join(proposal.idea.split())[:200] or operator
        opened = self.state.lineage.opened
        lines = [
            idea,
            "",
            f"Evolve-Run: {opened.run if opened else ''}",
            f"Evolve-Task: {brief.task}",
            f"Evolve-Brief: {brief.number}",
            f"Evolve-Operator: {operator}",
        ]
        if proposal.model:
            lines.append(f"Evolve-Model: {proposal.model}")
        lines += [f"Inspired-by: {i.candidate} {i.why}" for i in (*brief.inspirations, *proposal.inspirations)]
        return "\n".join(lines) + "\n"

    def _edited(self, task: Task, parent: Candidate, edits: Mapping[str, bytes | None]) -> dict[str, bytes]:
        files = dict(self.files_of(task, parent))
        for path, content in edits.items():
            if content is None:
                files.pop(path, None)
            else:
                files[path] = content
        return files

    def files_of(self, task: Task, candidate: Candidate) -> dict[str, bytes]:
        """Editable files of a candidate, from a bounded cache."""
        if candidate.commit not in self._files:
            self._remember_files(candidate.commit, self.objects.files(candidate.tree, task.may_edit))
        return self._files[candidate.commit]

    def modes(self, tree: str) -> dict[str, int]:
        """path -> git mode of every file of a tree, from a bounded cache."""
        if tree not in self._modes:
            while len(self._modes) >= 64:
                self._modes.pop(next(iter(self._modes)))
            self._modes[tree] = {entry.path: entry.mode for entry in self.objects.entries(tree)}
        return self._modes[tree]

    def _remember_files(self, commit: str, files: dict[str, bytes]) -> None:
        self._files[commit] = files
        while len(self._files) > 256:
            self._files.pop(next(iter(self._files)))

    # ---- start, tell ---------------------------------------------------------------------------------------------

    def _job(self, ground: Ground, number: int, tree: str, stage: Stage, repeat: int, parent: str = "") -> Job:
        job = f"{number}/{stage.name}/{repeat or self.state.lineage.rescored.get(ground.task.name, 0)}"
        attempt = self.state.pending.starts.get(job, 0) + 1
        return Job(job, ground.task.name, (tree,), stage.name, stage.blocks, attempt=attempt, parent=parent)

    def start(self, job: Job) -> None:
        """Put a job's start on record, with its reservation; durable before it runs (the loop waits for it)."""
        ground = self.grounds[job.task]
        gate = self.state.pending.gates.get(job.task)
        candidates = tuple(self.state.lineage.by_tree[(job.task, bytes.fromhex(tree))] for tree in job.trees)
        seconds, gpu_seconds = self.limits.most(ground, job.stage, job.blocks, len(job.trees))
        over = ""
        if job.stage == CONFIRM:
            over = gate.over if gate and gate.candidate == candidates[0] else self.state.lineage.champions[job.task]
        self.append(
            ev.Started(
                job.id,
                job.task,
                candidates,
                job.stage,
                job.attempt,
                seconds,
                gpu_seconds,
                over=over,
            )
        )

    def cancelled(self, job: Job, seconds: float) -> None:
        """We ended a job ourselves: charged what it ran, and not held against its candidate."""
        gpus = self.grounds[job.task].task.evaluate.gpus
        self.append(ev.Cancelled(job.id, seconds, seconds * gpus))

    def tell(self, job: Job, evidence: Evidence) -> list[Job]:
        """Record evidence and decide what it calls for: the next stage, a verdict, a champion gate; usually nothing."""
        self._errors_in_a_row = 0
        ground = self.grounds[job.task]
        candidates = tuple(self.state.lineage.by_tree[(job.task, bytes.fromhex(tree))] for tree in job.trees)
        self.append(ev.Measured(job.id, job.task, candidates, ground.epoch, evidence), evidence.artifacts)
        if job.stage == CONFIRM:
            jobs = self.gates.told(ground, candidates[0])
        elif job.stage == VERIFY:
            jobs = self.standings.told(ground, candidates[0])
        elif follow := self._follow(ground, candidates[0]):
            return [follow]
        else:
            jobs = [*self.standings.next(ground), *self.gates.next(ground)]
        self.upkeep.look(ground, candidates[0])
        return jobs

    def _follow(self, ground: Ground, commit: str) -> Job | None:
        """The candidate's next stage; None once its verdict is given (which this does)."""
        candidate = self.state.candidates[commit]
        gathered = self.state.pending.candidates.get(commit, [])
        failed = any(candidate.tree in item.failures or _stopped(item, candidate.tree) for item in gathered)
        done = {item.stage for item in gathered}
        for stage in ground.stages:
            if stage.name not in done and not failed:
                parent = self.state.candidates.get(candidate.parents[0]) if candidate.parents else None
                return self._job(ground, candidate.number, candidate.tree, stage, 0, parent.tree if parent else "")
        self.give_verdict(ground, candidate, gathered)
        return None

    def give_verdict(self, ground: Ground, candidate: Candidate, evidence: Sequence[Evidence]) -> Verdict:
        """Judge and record; nothing is recorded where the verdict is the one already known."""
        verdict = judge(evidence, candidate.tree, ground.task, self.state.lineage.calibration(ground.task.name))
        if verdict != candidate.verdict:
            self.standings.before(ground, candidate, verdict)
            self.append(ev.Judged(ground.task.name, candidate.commit, ground.epoch, verdict))
        return verdict

    def broke(self, job: Job, error: InfrastructureError) -> list[Job]:
        """Our own failure: counted apart, tried again; the third start without an end ends the candidate instead.

        Raises InfrastructureError once BREAKER failures came in a row, and at once where the task's grader fails on the
        seed: the run stops with its reason.
        """
        self._errors_in_a_row += 1
        self.append(ev.Spent("error", why=str(error)[:500]))
        if isinstance(error, GraderError):
            raise error  # no candidate can be judged until somebody mends it
        starts = self.state.pending.starts.get(job.id, 0)
        if self._errors_in_a_row >= BREAKER:
            raise InfrastructureError(
                f"{BREAKER} evaluations in a row failed for reasons of our own; the last: {error}. "
                "Nothing is lost: the same command resumes once the cause is gone"
            ) from error
        if starts >= MOST_STARTS:
            return self._give_up(job)
        return [replace(job, attempt=starts + 1)]

    def _give_up(self, job: Job) -> list[Job]:
        """Record that a job never came to an end; its candidate is INVALID, not its rivals in the job."""
        ground = self.grounds[job.task]
        tree = job.trees[0]
        commit = self.state.lineage.by_tree[(job.task, bytes.fromhex(tree))]
        why = Failure(FailureKind.HOST, f"started {MOST_STARTS} times without an end: it takes the machine down")
        evidence = Evidence(
            job.id, job.trees, ground.task_digest, ground.evaluator, "", job.stage, failures={tree: why}
        )
        self.append(ev.Measured(job.id, job.task, (commit,), ground.epoch, evidence))
        if job.stage == CONFIRM:
            return self.gates.told(ground, commit)
        if job.stage == VERIFY:
            return self.standings.told(ground, commit)
        self.give_verdict(ground, self.state.candidates[commit], self.state.pending.candidates.get(commit, []))
        return []

    # ---- resume --------------------------------------------------------------------------------------------------

    def unfinished(self) -> Unfinished:
        """Briefs without an outcome, candidates without a verdict, gates under way. Stages with evidence are kept."""
        self.standings.under_way.clear()
        self.gates.opening.clear()
        rest = Unfinished(briefs=[b for _, b in sorted(self.state.pending.briefs.items())])
        for commit in list(self.state.pending.candidates):
            candidate = self.state.candidates[commit]
            ground = self.grounds.get(candidate.task)
            if ground is None:
                continue
            follow = self._follow(ground, commit)
            if follow and follow.attempt > MOST_STARTS:
                self._give_up(follow)
            elif follow:
                rest.jobs.append(follow)
        for ground in self.grounds.values():
            rest.jobs += self.standings.resume(ground)
            rest.jobs += self.gates.resume(ground)
            self.upkeep.look(ground)
        return rest

    def adopt(self, recorded: Sequence[ev.Recorded]) -> None:
        """Fold what other processes wrote (a person's word, an outside mutator's answer)."""
        for item in recorded:
            self.state.apply(item)

    def append(self, event: ev.Event, artifacts: Sequence[Artifact] = ()) -> ev.Recorded:
        recorded = self.record.append(event, artifacts)
        self.state.apply(recorded)
        return recorded


def _stopped(evidence: Evidence, tree: str) -> bool:
    """Whether an integrity check already ended it, so that no dearer stage is paid for."""
    return any(check.outcome.value != "passed" and check.tree in ("", tree) for check in evidence.checks)
