"""Opening a long run: checkpoints are exact, disposable and never believed against the log."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import math
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evolve.population import checkpoint, replay
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.population.columns import Codec
from evolve.population.folds import RunState
from evolve.tasks.evidence import Cost, Evidence, Failure, FailureKind, Sample
from evolve.tasks.verdict import Calibration, Status, Verdict
from tests.population.scene import bear, fsck, git, opened, repository


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclasses.dataclass(slots=True)
class Row:
    name: str
    values: Any
    colour: Colour = Colour.RED
    below: Row | None = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: float


CODEC = Codec([Colour, Row, Frozen])

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=33)
IDS = st.binary(min_size=20, max_size=20).map(bytes.hex) | st.binary(min_size=32, max_size=32)
VALUES = st.recursive(
    SCALARS | IDS | st.sampled_from(Colour) | st.builds(Frozen, st.floats(allow_nan=False)),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.lists(inner, max_size=8).map(tuple)
        | st.dictionaries(st.text() | IDS | st.tuples(st.text(), st.integers()), inner, max_size=8)
        | st.sets(st.text() | st.text(max_size=1), max_size=8)
        | st.builds(Row, st.text(), inner, st.sampled_from(Colour))
    ),
    max_leaves=40,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, all the way down (1, 1.0 and True are equal to Python)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(same(x, y) for x, y in zip(a, b, strict=True))
            and all(same(a[k], b[k]) for k in a)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return bool(a == b) and not (isinstance(a, float) and math.copysign(1, a) != math.copysign(1, b))


@settings(max_examples=120, deadline=None)
@example([0.0, [-0.0]])
@given(st.lists(VALUES, max_size=12))
def test_columns_bring_back_exactly_what_they_were_given(values: list[Any]) -> None:
    assert same(CODEC.decode(CODEC.encode({"v": values, "w": values}))["v"], values)


def test_columns_do_not_share_what_may_change() -> None:
    rows = [Row("a", []), Row("b", {}), Row("c", set())] + [Row(str(n), [], below=Row("x", {})) for n in range(5)]
    back = CODEC.decode(CODEC.encode({"rows": rows}))["rows"]
    back[3].values.append(1)
    back[3].below.values["k"] = 1
    assert back[4].values == [] and back[4].below.values == {}


def test_one_object_named_before_stays_one_object() -> None:
    row = Row("shared", [1])
    back = CODEC.decode(CODEC.encode({"row": row, "other": Row("holds it", row)}))
    assert back["other"].values is back["row"]


def test_columns_refuse_what_they_do_not_know() -> None:
    with pytest.raises(TypeError, match=r"no column for a builtins\.complex"):
        CODEC.encode({"v": [1j]})
    with pytest.raises(TypeError, match="no column"):
        Codec([]).encode({"v": Row("a", 1)})
    data = Codec([Row, Colour]).encode({"v": Row("a", 1)})
    for broken in (b"", b"x" * 7, data[:-3], data.replace(b'"Row"', b'"Raw"'), data.replace(b'"name"', b'"nome"')):
        with pytest.raises(ValueError, match=r"no columns of ours|other fields|lies outside|Expecting"):
            Codec([Row, Colour]).decode(broken)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_columns_raise_one_error_or_none(data: st.DataObject) -> None:
    whole = bytearray(CODEC.encode({"v": [Row("a", {"k": (1, 2.5, None)}), Row("b" * 40, ["ab" * 20, "cd" * 20])]}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        CODEC.decode(bytes(whole))
    except ValueError:
        pass


# ---- a run's state ---------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "user")


def rich_run(repo: Path) -> tuple[Archive, str]:
    """A run with something in every fold: open briefs, calls, jobs, gates, champions, lessons, islands."""
    archive, writer, base = opened(repo)
    tree = archive.store.tree_of(base)
    writer.append(ev.Calibrated("t", "e1", Calibration({"score": 0.1}, 4, "m"), base))
    writer.append(ev.BudgetChanged(100.0, money=3.5))
    for n in range(1, 40):
        writer.append(ev.Asked(Brief(n, "t", "improve", (base,), 2**63 + n, saw={writer.name: n})))
        writer.append(ev.Requested(n, 0, "f" * 64, "model", 0.25, 100))
        if n % 3:
            writer.append(ev.Answered(n, 0, "model", money=0.1 if n % 2 else None, tokens_in=5))
        if n % 5 == 1:
            writer.append(ev.Refused(n, "t", "known", earlier=base))
            continue
        child = bear(archive, writer, base, n, f"rate = {n}\n", float(n) if n % 4 else None)
        sample = (Sample(tree, {"score": n / 7}, 0, 0.1),)
        failures = {} if n % 7 else {tree: Failure(FailureKind.CRASH, "boom")}
        writer.append(ev.Started(f"{n}/screen/0", "t", (child,), "screen", seconds=3.0))
        if n % 6:
            evidence = Evidence(
                f"{n}/screen/0", (tree,), "t", "e", "m", "screen", samples=sample, failures=failures, cost=Cost(1.0)
            )
            writer.append(ev.Measured(f"{n}/screen/0", "t", (child,), "e1", evidence))
        if n % 9 == 0:
            writer.append(
                ev.Judged("t", child, "e1", Verdict(Status.INVALID, stage="screen", reason="r", kind="crash"))
            )
        if n % 10 == 2:
            writer.append(ev.Promoted("t", child, base, 1.0, 0.5, 3, 1))
    writer.append(ev.Started("g", "t", (child, base), "confirm", over=base))
    writer.append(ev.Lesson("t", "words", (base,)))
    writer.append(ev.Tactic("t", "f", "words"))
    writer.append(ev.Directive("words"))
    writer.append(ev.Pinned("t", child))
    writer.append(ev.Migrated("t", child, "south"))
    writer.append(ev.Quarantined("t", child, "cheat"))
    writer.append(ev.Control("t", 5, 1.5))
    writer.close()
    return archive, base


def content(state: RunState) -> bytes:
    """A canonical form of everything in a state."""
    return zlib.decompress(checkpoint.dump(checkpoint.Checkpoint(state, {})).partition(b"\n")[2])


def unwrapped(data: bytes) -> bytes:
    return zlib.decompress(data.partition(b"\n")[2])


def wrapped(columns: bytes) -> bytes:
    return checkpoint.MAGIC + b"50\n" + zlib.compress(columns)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(checkpoint, "EVERY", 20)
    yield


def folded(archive: Archive, run: str = "r") -> RunState:
    """From every event, no checkpoint."""
    state = RunState()
    for recorded in archive.events(run):
        state.apply(recorded)
    return state


def test_a_checkpoint_is_the_state(repo: Path) -> None:
    archive, _ = rich_run(repo)
    state = folded(archive)
    again = checkpoint.load(checkpoint.dump(checkpoint.Checkpoint(state, {"l": "x"})))
    assert again is not None and again.tips == {"l": "x"}
    assert checkpoint.count(checkpoint.dump(again)) == sum(state.seen.values())
    assert checkpoint.count(b"") == checkpoint.count(checkpoint.MAGIC) == checkpoint.count(b"something else\n") == 0
    assert content(again.state) == content(state)
    assert vars(again.state).keys() == vars(state).keys()
    assert again.state.live.lineage is again.state.lineage, "the folds still see each other"
    event = ev.Recorded(ev.Directive("next"), "new", 0, 9999, 1.0)
    again.state.apply(event)
    state.apply(event)
    assert content(again.state) == content(state)


def test_a_checkpoint_holds_every_attribute_of_the_state(repo: Path) -> None:
    state = RunState()
    state.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="extra"):
        checkpoint.dump(checkpoint.Checkpoint(state, {}))


@pytest.mark.usefixtures("small_steps")
def test_opening_from_cache_from_git_and_from_every_event_agree(repo: Path) -> None:
    archive, _ = rich_run(repo)
    whole = content(folded(archive))
    assert replay.is_due(archive, "r")
    assert content(archive.state("r")) == whole  # also writes the checkpoints
    assert not replay.is_due(archive, "r")
    cache = checkpoint.cache_path(archive.home, "r")
    assert cache.stat().st_mode & 0o777 == 0o600
    assert content(Archive.open(repo).state("r")) == whole
    shutil.rmtree(archive.home / "cache")
    again = Archive.open(repo)
    found, chains = replay._newest(again, "r", again.heads("r"))
    assert found is not None and not any(chains.values()), "the blob in git serves when the cache is gone"
    assert content(again.state("r")) == whole
    git(archive.path, "update-ref", "-d", "refs/evolve/r/checkpoint")
    assert content(Archive.open(repo).state("r")) == whole
    fsck(archive.path)


@pytest.mark.usefixtures("small_steps")
def test_a_checkpoint_and_the_events_since_agree_with_every_event(repo: Path) -> None:
    archive, base = rich_run(repo)
    archive.state("r")
    second = Archive.open(repo)
    writer = second.writer("r", exclusive=True)
    for n in range(100, 130):
        bear(second, writer, base, n, f"rate = {n}\n", float(n))
    assert content(second.state("r")) == content(folded(second)), "its own pending events included"
    writer.close()
    assert content(Archive.open(repo).state("r")) == content(folded(Archive.open(repo)))


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("damage", ["torn", "empty", "garbage", "other version", "other log", "longer than the log"])
def test_a_cache_that_does_not_fit_the_log_is_ignored(repo: Path, damage: str) -> None:
    archive, _ = rich_run(repo)
    whole = content(folded(archive))
    archive.state("r")
    git(archive.path, "update-ref", "-d", "refs/evolve/r/checkpoint")
    cache = checkpoint.cache_path(archive.home, "r")
    data = cache.read_bytes()
    loaded = checkpoint.load(data)
    assert loaded is not None
    (log,) = loaded.tips
    loaded.state.memory.directives.append(ev.Directive("planted"))
    wrong = {
        "torn": data[: len(data) // 2],
        "empty": b"",
        "garbage": wrapped(b"\x03\0\0\0\0\0\0\0{}}"),
        "other version": wrapped(unwrapped(data).replace(checkpoint.version().encode(), b"another version")),
        "other log": checkpoint.dump(dataclasses.replace(loaded, tips={log: "1" * 40})),
    }
    if damage == "longer than the log":
        loaded.state.seen[log] += 5
        cache.write_bytes(checkpoint.dump(loaded))
    else:
        cache.write_bytes(wrong[damage])
    assert content(Archive.open(repo).state("r")) == whole


@pytest.mark.usefixtures("small_steps")
def test_only_the_newest_checkpoint_is_kept(repo: Path) -> None:
    archive, base = rich_run(repo)
    archive.state("r")
    with Archive.open(repo) as again:
        writer = again.writer("r")
        for n in range(200, 260):
            bear(again, writer, base, n, f"rate = {n}\n")
        writer.close()
        again.state("r")
    kept = [f for f in (archive.path / "objects/pack").glob("*.keep") if "checkpoint" in f.read_text()]
    assert len(kept) == 1
    assert git(archive.path, "rev-parse", "refs/evolve/r/checkpoint") in kept[0].read_text()
    fsck(archive.path)


@pytest.mark.usefixtures("small_steps")
def test_a_checkpoint_survives_deletion_by_someone(repo: Path) -> None:
    """Also of the blob alone, behind the ref's back."""
    archive, _ = rich_run(repo)
    whole = content(folded(archive))
    archive.state("r")
    shutil.rmtree(archive.home / "cache")
    for file in (archive.path / "objects/pack").glob("*.keep"):
        if "checkpoint" in file.read_text():
            for suffix in (".pack", ".idx", ".keep"):
                file.with_suffix(suffix).unlink()
    assert content(Archive.open(repo).state("r")) == whole


def test_checkpoints_are_due_ever_more_rarely() -> None:
    taken, have = [], 0
    for total in range(0, 1_000_000, 100):
        if checkpoint.due(have, total):
            have = total
            taken.append(total)
    assert taken[0] == checkpoint.EVERY and len(taken) < 60
    assert all(b - a <= max(checkpoint.EVERY, checkpoint.SHARE * a) + 100 for a, b in itertools.pairwise(taken))


def test_nothing_in_a_checkpoint_is_executed() -> None:
    """It is columns of plain data for known records; a class by another name is refused."""
    data = checkpoint.dump(checkpoint.Checkpoint(RunState(), {}))
    plain = unwrapped(data)
    head = json.loads(plain[8 : 8 + int.from_bytes(plain[:8], "little")])
    head["seen"] = ["rows", "Popen", 1, {}]
    text = json.dumps(head).encode()
    assert checkpoint.load(wrapped(len(text).to_bytes(8, "little") + text)) is None
