"""One candidate, whole: verdict, evidence, how it was asked for and answered, what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolve.errors import UsageError
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.taking import ways
from evolve.tasks.evidence import Evidence
from evolve.tasks.records import to_json
from evolve.web import columns
from evolve.web.index import headline
from evolve.web.pages import line

if TYPE_CHECKING:
    from evolve.web.runs import Live

MOST_RELATIVES = 200
MOST_EVENTS = 300
MOST_TEXT = 200_000
"""Characters of one artifact that a page is sent."""


def find(live: Live, name: str) -> Candidate:
    """By number, `best`, `base`, or the beginning of a commit id (4 characters or more). Raises UsageError."""
    name = name.lstrip("#")
    lineage = live.state.lineage
    if name in ("best", "champion") and lineage.champions:
        return live.state.candidates[next(iter(lineage.champions.values()))]
    if name in ("base", "seed") and lineage.seeds:
        return live.state.candidates[next(iter(lineage.seeds.values()))]
    if name.isdigit() and len(name) < 10:
        place = int(name)
        if place < len(live.order) and live.order[place].number == place:
            return live.order[place]
        for candidate in live.order:
            if candidate.number == place:
                return candidate
    if len(name) >= 4:
        for commit, candidate in live.state.candidates.items():
            if commit.startswith(name):
                return candidate
    raise UsageError(f"run {live.run!r} has no candidate {name!r}; give a number, a commit id, 'best' or 'base'")


def candidate(live: Live, c: Candidate, archive: Archive) -> dict[str, Any]:
    """Call with `live.lock` and the archive's reading lock held."""
    state = live.state
    task = live.tasks[c.task]
    measured = [archive.recorded(oid) for oid in state.lineage.measured.get(c.commit, ())[-MOST_EVENTS:]]
    events = _events(live, c, archive)
    path = state.lineage.path_to(c.commit)
    children = [state.candidates[x] for x in state.lineage.children.get(c.commit, ())]
    verdict = c.verdict
    base = state.candidates.get(state.lineage.seeds.get(c.task, ""))
    return {
        **line(live, c),
        "tree": c.tree,
        "brief": c.brief,
        "indexed": live.indexed,
        "version": live.version,
        "metric": columns.metrics(live)[c.task],
        "units": {m.name: m.unit for m in task.evaluate.metrics},
        "goals": {m.name: m.goal for m in task.evaluate.metrics},
        "stage": verdict.stage if verdict else "",
        "metrics": {name: to_json(e) for name, e in verdict.metrics.items()} if verdict else {},
        "base_metrics": _metrics(base),
        "message": archive.store.message_of(c.commit),
        "parents": [_relative(live, p) for p in c.parents],
        "inspired_by": [_relative(live, p) for p in c.inspired_by],
        "ancestors": [line(live, a) for a in path[:-1]][-MOST_RELATIVES:],
        "ancestors_total": len(path) - 1,
        "children_list": [line(live, x) for x in children[:MOST_RELATIVES]],
        "descendants": _descendants(live, c.commit),
        "evidence": [_evidence(r, c.tree) for r in measured if isinstance(r.event, ev.Measured)],
        "reigns": [to_json(r) for r in state.lineage.reigns.get(c.task, ()) if r.candidate == c.commit],
        "events": [_event_line(r) for r in events],
        "artifacts": [_artifact(r, name) for r in [*events, *measured] for name in r.artifacts],
        "request": _request(events),
        "lessons": [
            {"text": x.text, "falsified": x.falsified} for x in state.memory.lessons if c.commit in x.evidence
        ],
        "take": [{"label": way.what, "commands": list(way.commands)} for way in ways(state, archive, c)],
        "neighbours": _neighbours(live, c),
    }


def _metrics(c: Candidate | None) -> dict[str, float]:
    return {name: e.mean for name, e in c.verdict.metrics.items()} if c and c.verdict else {}


def _relative(live: Live, commit: str) -> dict[str, Any]:
    known = live.state.candidates.get(commit)
    return line(live, known) if known else {"commit": commit, "number": None}


def _descendants(live: Live, commit: str) -> int:
    seen, stack = {commit}, [commit]
    while stack:
        for child in live.state.lineage.children.get(stack.pop(), ()):
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return len(seen) - 1


def _events(live: Live, c: Candidate, archive: Archive) -> list[ev.Recorded]:
    """Events about its brief and itself, oldest first, evidence (shown apart) aside."""
    oids = dict.fromkeys([*live.index.of_brief.get(c.brief, ()), *live.index.of_candidate.get(c.commit, ())])
    found = [archive.recorded(oid) for oid in list(oids)[:MOST_EVENTS]]
    return sorted((r for r in found if not isinstance(r.event, ev.Measured)), key=lambda r: (r.clock, r.log))


def _event_line(recorded: ev.Recorded) -> dict[str, Any]:
    event = recorded.event
    text = headline(event)
    if isinstance(event, ev.Asked):
        text = f"asked {event.brief.mutator} for: {event.brief.operator}"
    elif isinstance(event, ev.Answered):
        cost = "price unknown" if event.money is None else f"${event.money:.4f}"
        text = f"{event.model} answered ({event.outcome}): {event.tokens_in} + {event.tokens_out} tokens, {cost}"
    elif isinstance(event, ev.Started):
        text = f"{event.stage} started (attempt {event.attempt})"
    return {"kind": event.kind, "time": round(recorded.time, 3), "text": text or event.kind, "oid": recorded.oid}


def _request(events: list[ev.Recorded]) -> dict[str, Any] | None:
    """The brief as it was given, and what answering it cost."""
    for recorded in events:
        if isinstance(recorded.event, ev.Asked):
            brief = recorded.event.brief
            answers = [r.event for r in events if isinstance(r.event, ev.Answered)]
            told = [r.event for r in events if isinstance(r.event, ev.Told)]
            prices = [a.money for a in answers] + [t.money for t in told]
            return {
                "brief": {k: v for k, v in to_json(brief).items() if k != "saw"},
                "calls": len(answers),
                "model": ", ".join(dict.fromkeys(a.model for a in answers)),
                "tokens_in": sum(a.tokens_in for a in answers),
                "tokens_out": sum(a.tokens_out for a in answers),
                "seconds": sum(a.seconds for a in answers),
                "money": sum(p for p in prices if p is not None) if prices and None not in prices else None,
            }
    return None


def _artifact(recorded: ev.Recorded, name: str) -> dict[str, Any]:
    return {"event": recorded.oid, "kind": recorded.event.kind, "name": name}


def _evidence(recorded: ev.Recorded, tree: str) -> dict[str, Any]:
    event = recorded.event
    assert isinstance(event, ev.Measured)
    item: Evidence = event.evidence
    failure = item.failures.get(tree)
    return {
        "oid": recorded.oid,
        "time": round(recorded.time, 3),
        "job": item.job,
        "stage": item.stage,
        "sandbox": item.sandbox,
        "machine": item.machine,
        "epoch": event.epoch,
        "self_reported": item.self_reported,
        "secret": item.secret,
        "cost": to_json(item.cost),
        "samples": [
            {"block": s.block, "metrics": dict(s.metrics), "seconds": s.seconds, "own": s.tree == tree}
            for s in item.samples
        ],
        "failure": to_json(failure) if failure else None,
        "checks": [to_json(check) for check in item.checks if check.tree in ("", tree)],
        "facts": to_json(item.facts),
    }


def _neighbours(live: Live, c: Candidate) -> dict[str, int | None]:
    """Where the keys j, k, p and c lead."""
    i = live.place[c.commit]
    parent = live.state.candidates.get(c.parents[0]) if c.parents else None
    children = live.state.lineage.children.get(c.commit, ())
    best = max(children, key=lambda x: _worth(live, x), default=None)
    return {
        "next": live.order[i + 1].number if i + 1 < len(live.order) else None,
        "previous": live.order[i - 1].number if i else None,
        "parent": parent.number if parent else None,
        "child": live.state.candidates[best].number if best else None,
    }


def _worth(live: Live, commit: str) -> float:
    fitness = live.state.candidates[commit].fitness
    return fitness if fitness is not None else float("-inf")


def artifact(archive: Archive, live: Live, oid: str, name: str) -> dict[str, Any]:
    """The text of an artifact of one of this run's events, head and tail where it is long. Raises UsageError."""
    if len(oid) != 40 or not archive.store.holds_commit(oid):
        raise UsageError(f"no event {oid!r}")
    if name not in archive.recorded(oid).artifacts:
        raise UsageError(f"event {oid[:12]} has no artifact {name!r}")
    data = archive.artifact(oid, name) or b""
    text = data.decode("utf-8", "replace")
    if len(text) <= MOST_TEXT:
        return {"name": name, "text": text, "bytes": len(data), "cut": 0}
    half = MOST_TEXT // 2
    return {
        "name": name,
        "text": text[:half] + "\n[...]\n" + text[-half:],
        "bytes": len(data),
        "cut": len(text) - MOST_TEXT,
    }
