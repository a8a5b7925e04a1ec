"""What is remembered of a self-test counts only while nothing that it rests on has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolve.evaluators.sandbox import Command, ladder, remembered
from evolve.evaluators.sandbox.ladder import RungReport
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.testing import tree_of
from evolve.tasks.errors import SandboxError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def record() -> Path:
    remembered.remember("native", True)
    path = remembered.folder() / "native.json"
    assert remembered.holds("native")
    return path


def pretend(monkeypatch: pytest.MonkeyPatch, *available: str) -> list[str]:
    """From now on these rungs hold and no other; the list of those tried, as they are."""
    tried: list[str] = []

    def instead(rung: str) -> RungReport:
        tried.append(rung)
        return RungReport(rung, rung, rung in available, why="" if rung in available else "not here")

    monkeypatch.setattr(ladder, "test_rung", instead)
    return tried


def test_a_pass_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVOLVE_SANDBOX", raising=False)
    tried = pretend(monkeypatch, "userns")
    assert ladder.strongest.__wrapped__() == "userns" and tried == ["native", "userns"]
    assert ladder.strongest.__wrapped__() == "userns" and tried == ["native", "userns", "native"]  # a no is not believed


def test_a_rung_asked_for_by_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVE_SANDBOX", "landlock")
    tried = pretend(monkeypatch, "landlock")
    assert [ladder.strongest.__wrapped__() for _ in range(2)] == ["landlock"] * 2 and tried == ["landlock"]
    monkeypatch.setenv("EVOLVE_SANDBOX", "process")
    with pytest.raises(SandboxError, match="not here"):
        ladder.strongest.__wrapped__()


def test_the_doctor_always_tries_and_puts_right_what_was_remembered(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, "bubblewrap")
    ladder.ladder.__wrapped__()
    assert tried == list(ladder.RUNGS)
    assert not remembered.holds("native") and remembered.holds("bubblewrap")


def changed(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda found: found["facts"].update({key: value})


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "another rung": changed("rung", "userns"),
    "another code version": changed("code", "0" * 64),
    "another kernel": changed("kernel", ["5.4.0", "#1", "x86_64"]),
    "another interpreter": changed("python", []),
    "other namespaces": changed("namespaces", []),
    "other rights": changed("rights", []),
    "another boot": lambda found: found["facts"]["policy"].update({"/proc/sys/kernel/random/boot_id": "x"}),
    "fewer facts": lambda found: found["facts"].pop("code"),
    "no facts": lambda found: found.pop("facts"),
    "a pass that is none": lambda found: found.update(available="yes"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_not_trusted_when_anything_differs(change: str, record: Path) -> None:
    found = json.loads(record.read_text())
    CHANGES[change](found)
    record.write_text(json.dumps(found))
    assert not remembered.holds("native")


def symlink(record: Path) -> None:
    record.rename(record.with_name("elsewhere"))
    record.symlink_to("elsewhere")


PLANTED: dict[str, Callable[[Path], object]] = {
    "readable by others": lambda record: record.chmod(0o644),
    "writable by the group": lambda record: record.chmod(0o660),
    "in an open folder": lambda record: record.parent.chmod(0o755),
    "a symlink": symlink,
    "a second name": lambda record: os.link(record, record.with_name("second")),
    "no JSON": lambda record: record.write_text("{"),
    "a list": lambda record: record.write_text("[]"),
    "deep JSON": lambda record: record.write_text("[" * 10_000),
    "too large": lambda record: record.write_text(record.read_text() + " " * 20_000),
    "a FIFO": lambda record: (record.unlink(), os.mkfifo(record, 0o600)),
    "a folder": lambda record: (record.unlink(), record.mkdir(0o700)),
}


@pytest.mark.parametrize("how", PLANTED)
def test_not_trusted_where_someone_else_may_have_written(how: str, record: Path) -> None:
    PLANTED[how](record)
    assert not remembered.holds("native")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
@pytest.mark.parametrize("part", ["file", "folder"])
def test_not_trusted_from_another_user(part: str, record: Path) -> None:
    os.chown(record if part == "file" else record.parent, 65534, 65534)
    assert not remembered.holds("native")


def test_only_the_owner_may_read_it(record: Path) -> None:
    assert record.stat().st_mode & 0o777 == 0o600 and record.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in record.parent.iterdir()] == ["native.json"]


def test_where_nothing_can_be_kept_the_test_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-such-place")
    remembered.remember("native", True)
    assert not remembered.holds("native")


@pytest.mark.jail
def test_a_candidate_neither_reads_nor_writes_it(record: Path, tmp_path: Path) -> None:
    ladder.strongest.cache_clear()  # what this process found before this test's own cache folder
    rung = ladder.strongest()
    kept = remembered.folder() / f"{rung}.json"
    before = kept.read_bytes()
    sandbox = LocalSandbox(rung, tmp_path / "s")
    try:
        line = f"cat {kept}; echo '{{}}' > {kept}; rm -rf {kept.parent}; ls {kept.parent}"
        outcome = sandbox.run(Command(("/bin/sh", "-c", line), tree_of(tmp_path / "t")))
    finally:
        sandbox.close()
    assert outcome.stdout == "" and kept.read_bytes() == before and remembered.holds(rung)
