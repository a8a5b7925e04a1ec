"""Nothing acknowledged is ever lost: processes killed anywhere, power cut anywhere."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve.population import events as ev
from evolve.population import maintenance
from evolve.population.archive import Archive
from evolve.tasks.errors import ArchiveError
from tests.population.powercut import Disk, cuts, operations, recorder
from tests.population.scene import fsck, opened, repository

WRITER = Path(__file__).with_name("crash_writer.py")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A user's repository with an archive in which run "r" is open."""
    made = repository(tmp_path / "user")
    archive, writer, _ = opened(made)
    writer.close()
    archive.close()
    return made


def write(repo: Path, acks: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WRITER), str(repo), str(acks), *arguments]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE)


def acknowledged(acks: Path) -> list[str]:
    """Whole lines only: the process may have died writing one."""
    return acks.read_text().split("\n")[:-1] if acks.exists() else []


def check_whole(path: Path, acked: list[str]) -> int:
    """Every acknowledged event is in the log with all it needs; each log is unbroken. Returns the number of events."""
    archive = Archive(path)
    found: dict[str, ev.Recorded] = {}
    for log, tip in archive.tips("r").items():
        events = archive.read_log(log, tip, 0)
        assert [event.position for event in events] == list(range(len(events)))
        found |= {event.oid: event for event in events}
    for event in found.values():
        for name in event.artifacts:
            assert archive.artifact(event.oid, name)
        if isinstance(event.event, ev.Born):
            assert archive.store.tree_of(event.event.candidate) == event.event.tree
            assert len(archive.store.files(event.event.tree)) == 3
    missing = [oid for oid in acked if oid not in found]
    assert not missing, f"{len(missing)} of {len(acked)} acknowledged events are gone"
    return len(found)


def check_goes_on(repo: Path) -> None:
    """The next process needs no repair: it takes the lock, appends, maintains."""
    archive = Archive.open(repo)
    before = len(list(archive.events("r")))
    writer = archive.writer("r", exclusive=True)
    writer.append(ev.Session("open"))
    writer.close()
    assert archive.maintain()
    archive.close()
    assert len(list(Archive.open(repo).events("r"))) == before + 1
    fsck(archive.path)


@pytest.mark.parametrize("count", [1, 4, 11])
@pytest.mark.parametrize("point", ["pack", "before-ref", "in-ref", "after-ref", "before-ack"])
def test_kill_at_a_failpoint(
    repo: Path, tmp_path: Path, point: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "LOOSE_REFS", 0)  # refs are packed too, past the lock file the dead process left
    acks = tmp_path / "acks"
    process = write(repo, acks, point, str(count), "400", "fold=6")
    _, said = process.communicate(timeout=60)
    assert process.returncode == -9, said.decode()
    acked = acknowledged(acks)
    assert check_whole(repo / ".git/evolve/archive.git", acked) >= 3 + len(acked)
    if count > 1:
        assert acked, "it died after the first acknowledgement"
    check_goes_on(repo)


@pytest.mark.parametrize("seed", range(20))
def test_kill_at_any_time(repo: Path, tmp_path: Path, seed: int) -> None:
    """With folds and maintenance under way."""
    acks = tmp_path / "acks"
    process = write(repo, acks, "none", "0", "100000", "maintain=yes", "fold=4")
    while not acks.exists():
        time.sleep(0.005)
        assert process.poll() is None, process.communicate()[1].decode()
    time.sleep(random.Random(seed).uniform(0.0, 0.8))
    process.kill()
    process.communicate()
    acked = acknowledged(acks)
    check_whole(repo / ".git/evolve/archive.git", acked)
    check_goes_on(repo)


# ---- power cuts ------------------------------------------------------------------------------------------------------


def power_cuts(repo: Path, tmp_path: Path, samples: int, *options: str, whole: int = 0) -> tuple[int, list[str]]:
    """Record a writer, then cut the power at `samples` places, three ways each. Returns (cuts made, what was wrong)."""
    home = repo / ".git/evolve"
    disk = Disk(home)
    log, acks = tmp_path / "disk.log", home / "acks"
    preload = {"LD_PRELOAD": str(recorder(tmp_path)), "DISKLOG": str(log), "DISKLOG_ROOT": str(home)}
    process = write(repo, acks, "none", "0", "60", *options, **preload)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()
    done = operations(log)
    rng = random.Random(3)
    places = set(rng.sample(range(len(done)), min(samples, len(done)))) | {len(done) - 1}
    acked, wrong, made = "", [], 0
    for place, operation in enumerate(done):
        disk.apply(operation)
        if operation.op == "w" and b"\n" in operation.data and disk.files[operation.ino] is _acks(disk):
            acked += operation.data.decode()
        if place not in places:
            continue
        for what, kept, content in cuts(disk, rng):
            made += 1
            target = tmp_path / "after"
            disk.cut(target, kept, content)
            try:
                check_whole(target / "archive.git", acked.split())
                if made % 20 == 1 and whole:
                    fsck(target / "archive.git")
            except (AssertionError, ArchiveError) as error:
                wrong.append(f"operation {place} of {len(done)}, {what}: {str(error).splitlines()[0]}")
            shutil.rmtree(target)
    return made, wrong


def _acks(disk: Disk) -> object:
    folder = disk.folders[disk.root]
    return folder.entries(len(folder.changes)).get("acks")


def test_a_power_cut_loses_nothing_acknowledged(repo: Path, tmp_path: Path) -> None:
    made, wrong = power_cuts(repo, tmp_path, 40, "fold=4", whole=1)
    assert made > 100 and not wrong, wrong[:5]


def test_a_power_cut_during_maintenance_loses_nothing_acknowledged(repo: Path, tmp_path: Path) -> None:
    made, wrong = power_cuts(repo, tmp_path, 50, "fold=2", "maintain=yes", whole=1)
    assert made > 100 and not wrong, wrong[:5]


def test_the_power_cut_test_sees_missing_fsyncs(repo: Path, tmp_path: Path) -> None:
    _, wrong = power_cuts(repo, tmp_path, 10, "durable=no")
    assert any("acknowledged events are gone" in line for line in wrong)


def test_the_power_cut_test_sees_a_ref_moved_before_its_objects(repo: Path, tmp_path: Path) -> None:
    _, wrong = power_cuts(repo, tmp_path, 30, "order=ref-first")
    assert any("holds no object" in line for line in wrong)
