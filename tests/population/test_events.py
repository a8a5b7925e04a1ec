"""Events as they are on disk: one golden file for each kind, so that a changed meaning cannot slip through."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evolve.population import events as ev
from evolve.population.brief import Brief, Inspiration
from evolve.tasks.errors import ArchiveError, SchemaError
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Outcome, Sample
from evolve.tasks.verdict import Calibration, Estimate, Status, Verdict

GOLDEN = Path(__file__).parent / "golden"

C1, C2, TREE = "1" * 40, "2" * 40, "a" * 40

EVIDENCE = Evidence(
    "3/screen/0", (TREE,), "d" * 64, "v" * 8, "m" * 16, "screen", secret="5" * 64,
    samples=(Sample(TREE, {"val_bpb": 0.97, "vram": 1e4}, block=1, seconds=2.5),),
    failures={TREE: Failure(FailureKind.CRASH, "exit status 1: ünïcode \"quoted\"\n")},
    checks=(Check("canary", Outcome.PASSED, "quiet", TREE),), cost=Cost(3.0, 2.0, 1.0), sandbox="namespaces",
    self_reported=True, facts={"per": [1, 2.5, None, {"x": True}]}, artifacts=(Artifact("stderr", "boom", 3),),
)  # fmt: skip

EXAMPLES: tuple[ev.Event, ...] = (
    ev.RunOpened(
        "fast", {"t": ev.TaskOpened(C1, "[task]\n", "d" * 64, "circle_packing", {"a": 1})}, 7, "0.1.0",
        "syntactic", "islands", {"x": [1]},
    ),
    ev.EpochOpened("t", "e1", "d" * 64, "v" * 8, "cpu"),
    ev.Rescored("t", ev.TaskOpened(C1, "[task]\n", "d" * 64, around=C2), "e2", "d" * 64, "v" * 8, "cpu", ("e1", "e2"), (C1,)),
    ev.Calibrated("t", "e1", Calibration({"val_bpb": 0.001}, 4, "m" * 16), C1, ("answers visible",)),
    ev.Asked(Brief(
        3, "t", "crossover", (C1, C2), 2**64 - 1, mutator="syntactic", island="north",
        inspirations=(Inspiration(C2, "fast"),), lessons=("l",), directives=("d",), saw={"host-1": 12}, hint={"k": 1},
    )),
    ev.Leased(3, "agent-1", 1700000000.5),
    ev.Wanted("5f3a", "agent-1", "improve", "t", 600.0),
    ev.Told(3, "agent-1", C2, "one line", "because", "some-model", 0.5),
    ev.Requested(3, 0, "f" * 64, "some-model", 0.25, 4096),
    ev.Batched("batch-7", "some-model", ("f" * 64,)),
    ev.Answered(3, 0, "some-model", "ok", None, 1000, 200, 300, 4.5),
    ev.Refused(3, "t", "known", "same tree", C2, "syntactic/constant"),
    ev.Born(
        3, "t", C2, TREE, (C1,), 5, "syntactic/constant", "some-model", "one line", "north", (C1,), "b" * 64, "c2tl",
    ),
    ev.Fingerprinted("t", C2, "e" * 64),
    ev.Imported("t", C1, TREE, (), 0, "seed", "seed", "main", "b" * 64, "c2tldGNo"),
    ev.Started("3/confirm/0", "t", (C2, C1), "confirm", 2, 60.0, 30.0, "5" * 64, C1),
    ev.Cancelled("3/screen/0", 12.5, 1.0),
    ev.Measured("3/screen/0", "t", (C2,), "e1", EVIDENCE),
    ev.Judged("t", C2, "e1", Verdict(
        Status.SCORED, -0.97, -0.98, -0.96, (-0.97,), {"val_bpb": Estimate(0.97, 0.96, 0.98, 3)}, self_reported=True,
    ), 1),
    ev.Promoted("t", C2, C1, 0.02, 0.01, 3, 2),
    ev.GateClosed("t", C2, C1, 0.001, -0.01, 12, 2),
    ev.Suspended("t", C2, "odd"),
    ev.Released("t", C2, "looked at"),
    ev.Quarantined("t", C2, "copied the answer", C1),
    ev.Pinned("t", C2, True),
    ev.Migrated("t", C2, "south", "best of north"),
    ev.Lesson("t", "larger batches diverge", (C2,), False, 100),
    ev.Tactic("t", "annealing", "cool slowly"),
    ev.Plateau("t", "lineage", 3, 40, 6, "l4", {"k": 1}),
    ev.HandedOver("model", "strong", "half of the budget is spent"),
    ev.StudyOpened("t", "2222-1", C2, -0.97, "b" * 32, ({"path": "a.py", "start": 4, "value": 0.5},), 24, 8, "new best"),
    ev.StudyClosed("t", "2222-1", 24, 0.01, "24 trials"),
    ev.Directive("try float16", "t"),
    ev.BudgetChanged(100.0, 3600.0, 5.0, 1e6, 7200.0, "user"),
    ev.Spent("tuning", 0.1, 2.0, 1.0, 3, "lost slot"),
    ev.Paused("stopping", "asked to"),
    ev.Session("open", "host", 123, 2, "namespaces", "m" * 16, 1.5, "why"),
    ev.Control("t", 50, 1.9),
    ev.GreedyControl("t", 50, 1.9, "c" * 40),
    ev.Closed("evaluations"),
)  # fmt: skip


def test_every_kind_has_an_example() -> None:
    shown = {event.kind for event in EXAMPLES}
    missing = set(ev.KINDS) - shown
    assert not missing, f"add an example and a golden file for {sorted(missing)}"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_golden(event: ev.Event) -> None:
    """`python -m tests.population.test_events` writes those of new kinds. A difference is a schema change."""
    path = GOLDEN / f"{event.kind}.json"
    body = json.loads(ev.encode(event, 41, position=40, time=1700000000.25).split("\n", 2)[2])
    golden = json.loads(path.read_text())
    assert body == golden | {"schema": body["schema"]}, "kinds and fields may be added, which raises the minor version"
    assert [int(part) for part in golden["schema"].split(".")] <= list(ev.SCHEMA)
    assert ev.decode(f"{event.kind}\n\n{path.read_text()}") == (event, 41)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_round_trip_is_exact(event: ev.Event) -> None:
    message = ev.encode(event, 5, position=3, time=12.3456, artifacts={"log": (10, 2)}, kept=10)
    assert ev.read(message) == ev.Message(event, 5, 3, 12.346, {"log": (10, 2)}, 10, ev.SCHEMA)
    assert message.startswith(event.kind + "\n\n") and message.count("\n") == 3


def _altered(name: str, **changes: object) -> str:
    body = json.loads((GOLDEN / f"{name}.json").read_text())
    return f"{name}\n\n{json.dumps(body | changes)}\n"


def test_a_newer_major_schema_may_be_read_but_not_decoded() -> None:
    message = _altered("judged", schema="2.0")
    with pytest.raises(SchemaError, match=r"2\.0.*upgrade"):
        ev.decode(message)
    found = ev.read(message)
    assert isinstance(found.event, ev.Unknown) and found.event.name == "judged" and found.event.why


def test_an_unknown_kind_is_kept_when_it_only_informs() -> None:
    event, clock = ev.decode(_altered("spent", kind="weather", binding=False))
    assert event == ev.Unknown("weather", json.loads((GOLDEN / "spent.json").read_text())["event"]) and clock == 41
    with pytest.raises(SchemaError, match="unknown binding event 'weather'"):
        ev.decode(_altered("spent", kind="weather", binding=True))


def test_a_field_only_a_newer_minor_schema_knows_forbids_writing() -> None:
    body = json.loads((GOLDEN / "closed.json").read_text())
    body["event"]["colour"] = "red"
    body["schema"] = f"{ev.SCHEMA[0]}.{ev.SCHEMA[1] + 1}"
    with pytest.raises(SchemaError, match="colour"):
        ev.decode("closed\n\n" + json.dumps(body))
    body["schema"] = f"{ev.SCHEMA[0]}.{ev.SCHEMA[1]}"
    with pytest.raises(ArchiveError, match="colour"):
        ev.read("closed\n\n" + json.dumps(body))


@pytest.mark.parametrize(
    "message", ["", "fix a bug\n", "judged\n\n{}\n", "judged\n\nnot json\n", 'x\n\n{"schema":"one"}']
)
def test_what_is_no_event_says_so(message: str) -> None:
    with pytest.raises(ArchiveError, match="no event of ours"):
        ev.read(message)


def test_text_that_utf8_cannot_hold_is_escaped() -> None:
    event = ev.Directive("lone \ud800 surrogate, nul \0, snowman ☃")
    message = ev.encode(event, 1)
    message.encode("utf-8")
    assert "\0" not in message
    assert ev.decode(message)[0] == event
    assert "☃" in ev.encode(dataclasses.replace(event, text="☃"), 1)


def test_a_number_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        ev.encode(ev.Control("t", 1, float("nan")), 1)


if __name__ == "__main__":
    for example in EXAMPLES:
        text = ev.encode(example, 41, position=40, time=1700000000.25).split("\n", 2)[2]
        path = GOLDEN / f"{example.kind}.json"
        if not path.exists():
            path.write_text(json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
