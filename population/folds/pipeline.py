"""What is under way: briefs without an outcome, calls with and without answers, candidates without a verdict.

A resume goes on from here and nowhere else, so nothing received is asked for again and nothing measured is measured
again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from evolve.population import events as ev
from evolve.population.brief import Brief
from evolve.tasks.evidence import Evidence
from evolve.tasks.verdict import CONFIRM


@dataclass(slots=True)
class Gate:
    """A champion gate under way: the paired differences come from the evidence of its jobs."""

    task: str
    candidate: str
    over: str
    evidence: list[Evidence] = field(default_factory=list)


@dataclass(slots=True)
class Pending:
    """briefs: number -> brief without an outcome. calls: (brief, call) -> commit of its answered event.
    requests: (brief, call) -> digest of a request on record. candidates: commit -> evidence so far, until judged.
    starts: job -> starts without an end. gates: task -> the gate under way. tries: task -> gates since a promotion.
    gated: (task, candidate, champion) whose gate ended without a promotion, since the last one.
    batches: digest of a request -> the batch it went out in, until answered. wanted: request -> somebody outside who
    has no brief yet. leases: brief -> its lease. told: brief -> commit of the first answer from outside.
    refused_in_a_row: proposals, paid_in_a_row: models' answers, since the last commit came of one in this process."""

    next_brief: int = 1
    next_number: int = 0
    briefs: dict[int, Brief] = field(default_factory=dict)
    calls: dict[tuple[int, int], str] = field(default_factory=dict)
    requests: dict[tuple[int, int], str] = field(default_factory=dict)
    candidates: dict[str, list[Evidence]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    gated: set[tuple[str, str, str]] = field(default_factory=set)
    refused_in_a_row: int = 0
    paid_in_a_row: int = 0
    batches: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, ev.Wanted] = field(default_factory=dict)
    leases: dict[int, ev.Leased] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)

    def on_session(self, event: ev.Session, recorded: ev.Recorded) -> None:
        if event.state == "open":  # whoever starts a run again has seen why it stopped
            self.refused_in_a_row = self.paid_in_a_row = 0

    def on_asked(self, event: ev.Asked, recorded: ev.Recorded) -> None:
        self.briefs[event.brief.number] = event.brief
        self.next_brief = max(self.next_brief, event.brief.number + 1)
        self.wanted.pop(str(event.brief.hint.get("request", "")), None)

    def on_wanted(self, event: ev.Wanted, recorded: ev.Recorded) -> None:
        self.wanted[event.request] = event

    def on_leased(self, event: ev.Leased, recorded: ev.Recorded) -> None:
        if event.brief in self.briefs:
            self.leases[event.brief] = event

    def on_told(self, event: ev.Told, recorded: ev.Recorded) -> None:
        if event.brief in self.briefs:  # the first answer counts; one to a brief that is over is kept and unused
            self.told.setdefault(event.brief, recorded.oid)

    def on_batched(self, event: ev.Batched, recorded: ev.Recorded) -> None:
        self.batches.update(dict.fromkeys(event.digests, event.batch))

    def on_requested(self, event: ev.Requested, recorded: ev.Recorded) -> None:
        self.requests[(event.brief, event.call)] = event.digest

    def on_answered(self, event: ev.Answered, recorded: ev.Recorded) -> None:
        self.calls[(event.brief, event.call)] = recorded.oid
        self.paid_in_a_row += 1
        self.batches.pop(self.requests.get((event.brief, event.call), ""), None)

    def on_refused(self, event: ev.Refused, recorded: ev.Recorded) -> None:
        self._done(event.brief)
        self.refused_in_a_row += 1

    def on_tactic(self, event: ev.Tactic, recorded: ev.Recorded) -> None:
        self._done(event.brief)
        self.paid_in_a_row = 0

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        self._done(event.brief)
        self.refused_in_a_row = 0
        if event.model:
            self.paid_in_a_row = 0
        self._expect(event.candidate, event.number)

    def on_imported(self, event: ev.Imported, recorded: ev.Recorded) -> None:
        self._expect(event.candidate, event.number)

    def _expect(self, commit: str, number: int) -> None:
        self.candidates.setdefault(commit, [])
        self.next_number = max(self.next_number, number + 1)

    def _done(self, brief: int) -> None:
        self.briefs.pop(brief, None)
        self.leases.pop(brief, None)
        self.told.pop(brief, None)
        for table in (self.calls, self.requests):
            call = 0
            while table.pop((brief, call), None) is not None:
                call += 1

    def on_started(self, event: ev.Started, recorded: ev.Recorded) -> None:
        self.starts[event.job] = self.starts.get(event.job, 0) + 1
        gate = self.gates.get(event.task)
        if event.stage == CONFIRM and (gate is None or gate.candidate != event.candidates[0]):
            self.gates[event.task] = Gate(event.task, event.candidates[0], event.over)

    def on_rescored(self, event: ev.Rescored, recorded: ev.Recorded) -> None:
        self.gates.pop(event.task, None)
        self.tries[event.task] = 0
        self.gated = {one for one in self.gated if one[0] != event.task}
        for commit, gathered in self.candidates.items():
            if any(item.task != event.task_digest for item in gathered):
                self.candidates[commit] = []
        self.candidates.update({commit: [] for commit in event.again})

    def on_cancelled(self, event: ev.Cancelled, recorded: ev.Recorded) -> None:
        left = self.starts.get(event.job, 1) - 1
        if left > 0:
            self.starts[event.job] = left
        else:
            self.starts.pop(event.job, None)

    def on_measured(self, event: ev.Measured, recorded: ev.Recorded) -> None:
        self.starts.pop(event.job, None)
        gate = self.gates.get(event.task)
        if gate and event.evidence.stage == CONFIRM and event.candidates[0] == gate.candidate:
            gate.evidence.append(event.evidence)
        elif event.candidates and event.candidates[0] in self.candidates:
            self.candidates[event.candidates[0]].append(event.evidence)

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        self.candidates.pop(event.candidate, None)

    def on_promoted(self, event: ev.Promoted, recorded: ev.Recorded) -> None:
        self.tries[event.task] = 0
        self.gates.pop(event.task, None)
        self.gated = {one for one in self.gated if one[0] != event.task}

    def on_gate_closed(self, event: ev.GateClosed, recorded: ev.Recorded) -> None:
        self.tries[event.task] = event.tries
        self.gated.add((event.task, event.candidate, event.over))
        self.gates.pop(event.task, None)

    def on_released(self, event: ev.Released, recorded: ev.Recorded) -> None:
        self.gated = {one for one in self.gated if one[:2] != (event.task, event.candidate)}
