"""The record: logs, order, artifacts, several writers, what a newer version left, what a full disk does."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.population import archive as archive_module
from evolve.population import disk, lock, maintenance, pack
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.disk import DiskError
from evolve.tasks.errors import ArchiveError, RepositoryError, SchemaError, UsageError
from evolve.tasks.evidence import Artifact, Evidence
from tests.population.scene import bear, fsck, git, opened, repository


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "user")


def test_a_run_is_read_back_as_it_was_written(repo: Path) -> None:
    archive, writer, base = opened(repo)
    child = bear(archive, writer, base, 1, "rate = 0.2\n", 1.5)
    written = list(archive.events("r"))
    writer.close()
    archive.close()
    again = Archive.open(repo / "lib")
    assert list(again.events("r")) == written and len(written) == 5
    assert again.runs() == ["r"]
    state = again.state("r")
    assert state.candidates[child].fitness == 1.5 and state.seen == {writer.name: 5}
    assert again.resolve(child[:10]) == child and again.has(base) and not again.has("nothing")
    assert again.event(written[3].oid) == written[3].event
    fsck(again.path)


def test_an_event_is_a_commit_reachable_from_one_ref(repo: Path) -> None:
    archive, writer, base = opened(repo)
    child = bear(archive, writer, base, 1, "rate = 0.2\n")
    last = writer.append(ev.Closed("evaluations"))
    writer.close()
    archive.close()
    assert (
        git(archive.path, "for-each-ref", "--format=%(refname) %(objectname)")
        == f"refs/evolve/r/log/{writer.name} {last.oid}"
    )
    born = git(archive.path, "rev-parse", f"{last.oid}~1")
    assert git(archive.path, "log", "-1", "--format=%P", born).split() == [
        git(archive.path, "rev-parse", f"{born}~1"),
        child,
    ]
    assert git(archive.path, "log", "-1", "--format=%s", born) == "born"
    assert git(archive.path, "merge-base", "--is-ancestor", child, last.oid) == ""


def test_dates_interleave_so_that_walks_stay_short(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs backwards never dates an event before what it speaks of."""
    archive, writer, base = opened(repo)
    times = iter([5e9, 1e9, 5e9 - 100, 2e9])
    monkeypatch.setattr(type(writer), "now", lambda self: next(times))
    writer.append(ev.Directive("far future"))
    candidate = archive.store.commit(archive.store.tree_of(base), [base], "c\n", 4.9e9)
    born = [writer.append(ev.Born(1, "t", candidate, "a" * 40, (base,), 1)) for _ in range(3)]
    dates = [archive.store.commit_of(event.oid).time for event in born]
    assert dates == [5_000_000_000] * 3
    assert [event.time for event in born] == [1e9, 5e9 - 100, 2e9]  # what the clock said stays on record


def test_fixed_dates_make_commits_repeat(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        repo = repository(tmp_path / name)
        git(repo, "commit", "--amend", "-qm", "First", "--date=@1600000000 +0000")
        git(repo, "-c", "user.name=x", "reset", "-q", "--hard")
        archive, writer, _ = opened(repo, fixed_dates=True)
        store = archive.store
        base = store.commit(store.tree({}), [], "Seed\n", writer.now())
        ids.append((base, bear(archive, writer, base, 1, "rate = 0.2\n")))
        writer.close()
        archive.close()
    assert ids[0] == ids[1]


def test_group_commit_serves_many_writers_with_few_flushes(repo: Path) -> None:
    archive, writer, _ = opened(repo)

    async def worker(n: int) -> None:
        for k in range(10):
            oid = writer.append(ev.Directive(f"{n}/{k}")).oid
            await writer.durable()
            assert git(archive.path, "cat-file", "-t", oid) == "commit" if k == 9 else True

    async def all_of_them() -> None:
        await asyncio.gather(*(worker(n) for n in range(40)))

    asyncio.run(all_of_them())
    assert archive.group.flushes < 100  # 400 barriers
    writer.close()
    archive.close()
    assert len(list(Archive.open(repo).events("r"))) == 403


def test_durable_means_the_ref_on_disk_reaches_it(repo: Path) -> None:
    archive, writer, _ = opened(repo)

    async def step() -> None:
        for k in range(5):
            event = writer.append(ev.Directive(str(k)))
            await writer.durable()
            assert (archive.path / f"refs/evolve/r/log/{writer.name}").read_text() == event.oid + "\n"
            assert git(archive.path, "rev-list", "--count", event.oid)

    asyncio.run(step())
    writer.append(ev.Directive("flushed by close"))
    writer.close()
    assert len(Archive.open(repo).tips("r")) == 1


def test_what_nobody_waits_for_reaches_the_disk_within_seconds(repo: Path) -> None:
    archive, writer, _ = opened(repo)

    async def step() -> bool:
        writer.append(ev.Directive("one"))
        await writer.durable()
        tip = writer.append(ev.Directive("two")).oid
        for _ in range(80):
            await asyncio.sleep(0.05)
            if archive.refs.read(f"refs/evolve/r/log/{writer.name}") == tip:
                return True
        return False

    assert asyncio.run(step())
    writer.close()


# ---- artifacts -------------------------------------------------------------------------------------------------------


def test_artifacts_are_bounded_named_and_found_again(repo: Path) -> None:
    archive, writer, _ = opened(repo, artifact_cap=1000, run_cap=2600)
    text = "head" + "x" * 5000 + "tail"
    event = writer.append(
        ev.Directive("d"), [Artifact("logs/../out put", text), Artifact(".git", "git"), Artifact("short", "s")]
    )
    assert event.artifacts == ("logs_.._out_put", "_git", "short")
    kept = archive.artifact(event.oid, "logs/../out put") or b""
    assert len(kept) <= 1000 and kept.startswith(b"head") and kept.endswith(b"tail") and b"bytes cut" in kept
    sizes = ev.read(archive.store.message_of(event.oid)).artifacts
    assert sizes["short"] == (1, 0) and sizes["logs_.._out_put"][1] > 4000
    assert archive.artifact(event.oid, "nothing") is None
    writer.append(ev.Directive("d"), [Artifact("a", text)])
    last = writer.append(ev.Directive("d"), [Artifact("a", text), Artifact("a", "again")])
    assert len(archive.artifact(last.oid, "a") or b"") <= 1000
    spent = writer.append(ev.Directive("d"), [Artifact("a", text)])
    assert len(archive.artifact(spent.oid, "a") or b"") <= 512, "the run's cap is spent: only a little of each is kept"
    assert last.artifacts == ("a", "a-2")
    writer.close()
    other = archive.writer("r", run_cap=2600)
    event = other.append(ev.Directive("d"), [Artifact("a", text)])
    assert len(archive.artifact(event.oid, "a") or b"") <= 512, "another process continues the run's account"
    other.close()
    archive.close()
    fsck(archive.path)


def test_evidence_carries_no_artifacts_in_its_event(repo: Path) -> None:
    archive, writer, base = opened(repo)
    tree = archive.store.tree_of(base)
    evidence = Evidence("0/s/0", (tree,), "t", "e", "m", "s", artifacts=(Artifact("stdout", "hello"),))
    event = writer.append(ev.Measured("0/s/0", "t", (base,), "e1", evidence))
    assert isinstance(event.event, ev.Measured) and event.event.evidence.artifacts == ()
    assert archive.artifact(event.oid, "stdout") == b"hello"
    assert archive.event(event.oid) == event.event
    twice = writer.append(ev.Measured("0/s/1", "t", (base,), "e1", evidence), evidence.artifacts)
    assert twice.artifacts == ("stdout",)


def test_keys_are_gone_from_artifacts_and_events(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    key = "sk-ant-api03-" + "k" * 40
    event = writer.append(ev.Directive(f"use this:\n{key} please"), [Artifact("log", f"ANTHROPIC_API_KEY={key}\n")])
    assert isinstance(event.event, ev.Directive)
    assert event.event.text == "use this:\n[redacted: Anthropic key] please"
    writer.close()
    archive.close()
    assert Archive.open(repo).event(event.oid) == event.event
    for oid in git(archive.path, "rev-list", "--objects", "--all").split():
        if len(oid) == 40:
            assert key not in git(archive.path, "cat-file", "-p", oid)


# ---- several writers -------------------------------------------------------------------------------------------------


def test_two_runners_of_one_name_cannot_be(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    with pytest.raises(RepositoryError, match=f"run 'r' is held by process {os.getpid()} on "):
        Archive.open(repo).writer("r", exclusive=True)
    Archive.open(repo).writer("other", exclusive=True).close()
    writer.close()
    Archive.open(repo).writer("r", exclusive=True).close()
    archive.close()


def test_a_killed_runner_leaves_no_lock(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    writer.close()
    archive.close()
    code = f"""
import os, signal
from evolve.population.archive import Archive
writer = Archive.open({str(repo)!r}).writer("r", exclusive=True)
if os.fork() == 0:
    import time; time.sleep(60)  # an orphan that inherited every descriptor
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None and child.stdout.readline() == "locked\n"
    child.wait()
    try:
        Archive.open(repo).writer("r", exclusive=True).close()
    finally:
        os.killpg(child.pid, 9)
        child.stdout.close()


def test_others_are_seen_once_in_the_order_all_agree_on(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    writer.flush()
    note = Archive.open(repo)
    other = note.writer("r")
    assert other.name != writer.name
    assert writer.poll() == []
    first = other.append(ev.Directive("one"))
    assert writer.poll() == [], "not durable yet, so nobody else may act on it"
    other.flush()
    assert writer.poll() == [first] and writer.poll() == []
    mine = writer.append(ev.Directive("after hearing of it"))
    assert mine.clock > first.clock
    other.append(ev.Directive("two"))
    other.append(ev.Directive("three"))
    other.close()
    assert [r.event.text for r in writer.poll() if isinstance(r.event, ev.Directive)] == ["two", "three"]
    writer.flush()
    texts = [r.event.text for r in Archive.open(repo).events("r") if isinstance(r.event, ev.Directive)]
    assert texts.index("one") < texts.index("after hearing of it")
    assert list(archive.events("r")) == list(Archive.open(repo).events("r"))
    assert next(archive.events("r", after={writer.name: 3})).position in (0, 3)
    writer.close()
    note.close()


def test_poll_survives_packing_of_refs(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    writer.flush()
    other_archive = Archive.open(repo)
    other = other_archive.writer("r")
    other.append(ev.Directive("one"))
    other.flush()
    assert len(writer.poll()) == 1
    git(archive.path, "pack-refs", "--all", "--prune")
    assert writer.poll() == []
    other.append(ev.Directive("two"))
    other.flush()
    assert len(writer.poll()) == 1
    late = Archive.open(repo).writer("r")
    git(archive.path, "pack-refs", "--all", "--prune")
    assert writer.poll() == []
    late.append(ev.Directive("three"))
    late.flush()
    git(archive.path, "pack-refs", "--all", "--prune")
    assert [r.log for r in writer.poll()] == [late.name]
    assert len(archive.state("r").memory.directives) == 3
    for w in (late, other, writer):
        w.close()


def test_a_new_process_gets_a_new_log_after_the_old_ones(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    tip = writer.append(ev.Closed("x")).oid
    writer.close()
    archive.close()
    again = Archive.open(repo)
    second = again.writer("r", exclusive=True)
    event = second.append(ev.Session("open"))
    assert event.position == 0 and event.clock == 5 and event.log != writer.name
    assert again.store.parents_of(event.oid) == (tip,)
    second.close()


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/b", "", "-x", "x.lock", "a..b", "x.", "a b", "ü", "x" * 65, "a~1", "@{u}"])
def test_a_run_name_that_cannot_be_a_branch_is_refused(repo: Path, name: str) -> None:
    with pytest.raises(UsageError, match="holds a '/'" if "/" in name else "must be letters"):
        Archive.open(repo, create=True).writer(name)


def test_a_run_name_that_differs_only_in_case_is_refused(repo: Path) -> None:
    _, writer, _ = opened(repo, "Fast")
    writer.close()
    with pytest.raises(RepositoryError, match="only in case"):
        Archive.open(repo).writer("fast")


def test_a_run_that_is_not_there_names_those_that_are(repo: Path) -> None:
    archive, writer, _ = opened(repo, "fast")
    writer.flush()
    with pytest.raises(ArchiveError, match="no run 'slow'; it has: fast"):
        list(archive.events("slow"))
    assert archive.state("slow").run == ""
    writer.close()


# ---- newer versions --------------------------------------------------------------------------------------------------


def _append_raw(archive: Archive, run: str, message: str) -> None:
    """What a later version of this tool would have written, on a log of its own."""
    tip = archive.store.commit(
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904", list(archive.heads(run).values()), message, 0
    )
    archive.store.flush()
    archive.refs.move(f"refs/evolve/{run}/log/future-1", tip)


def _future(**changes: object) -> str:
    body: dict[str, object] = {"kind": "weather", "schema": "1.99", "clock": 99, "binding": True, "event": {}, "at": 0}
    return "weather\n\n" + json.dumps(body | changes) + "\n"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (_future(), "unknown binding event 'weather'"),
        (_future(schema="9.0", binding=False, kind="judged"), "schema 9.0"),
    ],
)
def test_what_a_newer_version_wrote_can_be_read_and_not_written_beside(repo: Path, message: str, why: str) -> None:
    archive, writer, _ = opened(repo)
    writer.close()
    _append_raw(archive, "r", message)
    again = Archive.open(repo)
    events = list(again.events("r"))
    assert isinstance(events[-1].event, ev.Unknown) and len(events) == 4
    assert len(again.state("r").candidates) == 1
    with pytest.raises(SchemaError, match=why):
        again.writer("r", exclusive=True)
    _append_raw(archive, "fine", _future(binding=False))
    writer = again.writer("fine")
    assert writer.append(ev.Directive("x")).clock == 100
    writer.close()


def test_an_archive_of_a_newer_format_is_not_opened(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    writer.close()
    git(archive.path, "config", "evolve.archive", "2")
    with pytest.raises(SchemaError, match="archive format 2, this version knows 1"):
        Archive.open(repo)


# ---- full and read-only disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB; needs root."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_stops_with_the_log_whole_and_goes_on_when_space_returns(small_disk: Path) -> None:
    repo = repository(small_disk / "user")
    archive, writer, _ = opened(repo)
    writer.flush()
    hog = small_disk / "hog"
    hog.write_bytes(b"")
    with hog.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(os.urandom(1 << 16))
            file.flush()
    for k in range(3):
        writer.append(ev.Directive(str(k)), [Artifact("noise", os.urandom(30_000).hex())])
        with pytest.raises(DiskError, match=r"No space left on device.*ENOSPC") as caught:
            asyncio.run(writer.durable())
        assert caught.value.errno == errno.ENOSPC and caught.value.path.startswith(str(small_disk))
    assert not [f for f in (archive.path / "objects/pack").iterdir() if f.name.startswith("tmp_")]
    fsck(archive.path)
    assert len(list(Archive.open(repo).events("r"))) == 3, "what was acknowledged is there, nothing else"
    hog.unlink()
    writer.append(ev.Directive("3"))
    asyncio.run(writer.durable())
    writer.close()
    archive.close()
    events = list(Archive.open(repo).events("r"))
    assert [r.event.text for r in events if isinstance(r.event, ev.Directive)] == ["0", "1", "2", "3"]
    fsck(archive.path)


def test_a_read_only_disk_says_so_and_can_be_read(small_disk: Path) -> None:
    repo = repository(small_disk / "user")
    archive, writer, _ = opened(repo)
    writer.close()
    archive.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    again = Archive.open(repo)
    assert len(list(again.events("r"))) == 3 and len(again.state("r").candidates) == 1
    with pytest.raises(DiskError, match=r"EROFS\); the file system is read-only") as caught:
        again.writer("r", exclusive=True)
    assert caught.value.errno == errno.EROFS
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    again.writer("r", exclusive=True).close()


def test_a_failing_ref_move_loses_nothing(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, writer, _ = opened(repo)
    writer.flush()
    real = disk.replace

    def broken(source: str, target: str) -> None:
        if "/refs/" in target:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(disk, "replace", broken)
    event = writer.append(ev.Directive("x"))
    with pytest.raises(DiskError, match="EIO"):
        writer.flush()
    monkeypatch.undo()
    assert not list((archive.path / "refs").rglob("*.lock"))
    writer.flush()
    assert list(Archive.open(repo).events("r"))[-1] == event
    writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_reaches_those_who_wait(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, writer, _ = opened(repo)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(pack, "build", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            asyncio.run(asyncio.wait_for(writer.durable(), 10))
    event = writer.append(ev.Directive("the next one goes on"))
    asyncio.run(asyncio.wait_for(writer.durable(), 10))
    writer.close()
    archive.close()
    assert list(Archive.open(repo).events("r"))[-1] == event
    fsck(archive.path)


# ---- maintenance -----------------------------------------------------------------------------------------------------


def test_maintenance_keeps_everything_and_makes_it_small(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolve.population.git.FOLD_PACKS", 5)
    archive, writer, base = opened(repo)
    parent, lines = base, [f"value_{n} = {n}\n" for n in range(300)]
    for n in range(60):
        lines[n] = f"value_{n} = {n * 7919}\n"
        parent = bear(archive, writer, parent, n + 1, "".join(lines))
        writer.flush()
        archive.store.fold_if_due()
    unreferred = archive.store.blob(b"written a moment ago, not referred to yet")
    writer.flush()
    before = list(archive.events("r"))
    archive.store.fold()
    size = sum(f.stat().st_size for f in (archive.path / "objects/pack").iterdir())
    assert archive.maintain()
    after = sum(f.stat().st_size for f in (archive.path / "objects/pack").iterdir())
    assert after < size / 2
    assert len(list((archive.path / "objects/pack").glob("*.pack"))) < 6
    assert list(archive.events("r")) == before and archive.store.read(unreferred).startswith(b"written")
    assert archive.store.file(parent, "train.py") == "".join(lines).encode()
    writer.append(ev.Directive("after"))
    writer.close()
    archive.close()
    assert len(list(Archive.open(repo).events("r"))) == len(before) + 1
    fsck(archive.path)
    fsck(repo)


def test_a_reader_with_old_packs_open_survives_maintenance(repo: Path) -> None:
    archive, writer, base = opened(repo)
    for n in range(20):
        bear(archive, writer, base, n + 1, f"rate = {n}\n")
        writer.flush()
        archive.store.fold()
    reader = Archive.open(repo)
    seen = reader.events("r")
    first = [next(seen) for _ in range(3)]
    assert archive.maintain()
    assert first + list(seen) == list(archive.events("r"))
    writer.close()


def test_one_process_maintains_at_a_time(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    held = lock.Lock(archive.home / "locks" / "maintenance.lock", "maintenance")
    assert not archive.maintain()
    held.close()
    assert archive.maintain()
    writer.close()


def test_maintenance_starts_by_itself_beside_a_busy_writer(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolve.population.git.FOLD_PACKS", 2)
    monkeypatch.setattr(archive_module, "SOME_PACKS", 4)
    monkeypatch.setattr(archive_module, "MAINTAIN_EVERY", 0.0)
    monkeypatch.setattr(archive_module, "MAINTENANCE_GRACE", 60.0)
    archive, writer, base = opened(repo)
    graph = archive.path / "objects/info/commit-graphs"

    async def work() -> int:
        for n in range(1, 3000):
            bear(archive, writer, base, n, f"rate = {n}\n")
            await writer.durable()
            if graph.exists():
                return n
        raise AssertionError("no maintenance ended while 3000 candidates were written")

    n = asyncio.run(work())
    writer.close()
    archive.close()
    fsck(archive.path)
    assert len(Archive.open(repo).state("r").candidates) == n + 1


def test_maintenance_removes_what_dead_processes_left(repo: Path) -> None:
    archive, writer, base = opened(repo)
    bear(archive, writer, base, 1, "rate = 9\n")
    writer.close()
    packs = archive.path / "objects/pack"
    (keep,) = packs.glob("*.keep")
    host = keep.read_text().split()[2]
    dead = subprocess.Popen(["true"])
    dead.wait()
    keep.write_text(f"evolve fresh {host} {dead.pid}")
    old, new = packs / "tmp_pack_old", packs / "tmp_pack_new"
    for file in (old, new):
        file.write_bytes(b"torn")
    os.utime(old, (1, 1))
    (archive.path / "objects" / f"{maintenance.SCRATCH}1").mkdir()
    archive.store.reopen()
    maintenance.maintain(archive.path)
    assert not old.exists() and new.exists() and not keep.exists()
    assert not list((archive.path / "objects").glob(f"{maintenance.SCRATCH}*"))
    fsck(archive.path)


@pytest.mark.parametrize(
    ("counts", "take"),
    [
        ([], 0), ([5], 0), ([1, 2, 4, 8], 0), ([1, 1, 4, 16], 2), ([1, 1, 3, 16], 3), ([3, 5, 9, 100], 3),
        ([10, 15, 100], 2), ([1, 2, 5, 9], 4),
    ],
)  # fmt: skip
def test_geometric_progression(counts: list[int], take: int) -> None:
    assert maintenance.geometric(counts) == take
    joined = [sum(counts[:take]), *counts[take:]] if take else counts
    assert all(b >= 2 * a for a, b in itertools.pairwise(joined))


def test_a_lock_that_a_killed_runner_left_on_a_branch_bars_nobody(repo: Path) -> None:
    archive, writer, _ = opened(repo)
    writer.close()
    ref = "refs/heads/evolve/r/best"
    archive.refs.move(ref, "1" * 40)
    lock = archive.path / f"{ref}.lock"
    lock.touch()
    os.utime(lock, (1.0, 1.0))
    archive.writer("r", exclusive=True).close()
    assert not lock.exists()
    lock.touch()  # of a moment ago, as where the run is started again at once
    archive.writer("r", exclusive=True).close()
    assert not lock.exists()
    lock.touch()
    with pytest.raises(disk.DiskError, match="EEXIST"):  # somebody who lives holds it
        disk.swap_file(str(archive.path / ref), b"", durable=False, wait=0.1)
    os.utime(lock, (1.0, 1.0))
    disk.swap_file(str(archive.path / ref), b"2" * 40 + b"\n", durable=False, wait=0.1)
    assert archive.refs.read(ref) == "2" * 40
    archive.close()
