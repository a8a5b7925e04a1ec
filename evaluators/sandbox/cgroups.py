"""Control groups, version 2 or 1, where they can be written: limits the kernel itself keeps for a whole process tree.

Nothing is assumed about where they are mounted: /proc/self/mountinfo and /proc/self/cgroup say. Groups are made below
the group we are in ourselves, so that a container's own limits stay above ours. Standard library only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

CONTROLLERS = ("memory", "pids")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of every process that was in the group: bytes now and at most, CPU seconds, kills for memory, refused forks."""

    memory: int = 0
    peak: int = 0
    cpu: float = 0.0
    killed: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its folder in the unified hierarchy (version 2) or in one hierarchy for each controller (version 1)."""

    version: int
    memory: str
    pids: str
    cpu: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for path in (self.memory, self.pids, self.cpu) if path))

    def limit(self, memory: int, processes: int) -> None:
        """Bytes for everything its processes touch, files in memory included; number of processes and threads."""
        names = ("memory.max", "memory.swap.max") if self.version == 2 else ("memory.limit_in_bytes", "")
        if self.version == 1:  # the sum with swap may never be below the limit, so the order depends on the direction
            both = "memory.memsw.limit_in_bytes"
            _put(self.memory, both, "-1", optional=True)
            _put(self.memory, names[0], str(memory))
            _put(self.memory, both, str(memory), optional=True)
        else:
            _put(self.memory, names[0], str(memory))
            _put(self.memory, names[1], "0", optional=True)
            _put(self.memory, "memory.oom.group", "1", optional=True)
        _put(self.pids, "pids.max", str(processes))

    def reset(self) -> None:
        """Forget the last candidate's peak and drop its cached pages. A folder that somebody removed while it was empty (a
        session manager tidying up after the shell that started a run) is made again. Raises OSError where it cannot be."""
        for folder in self.folders:
            os.makedirs(folder, exist_ok=True)
        if self.version == 1:
            _put(self.memory, "memory.force_empty", "0", optional=True)
            _put(self.memory, "memory.max_usage_in_bytes", "0", optional=True)
        else:
            _put(self.memory, "memory.peak", "0", optional=True)

    def enter(self) -> None:
        """Put the calling process in. Raises OSError."""
        for folder in self.folders:
            _put(folder, "cgroup.procs", "0")

    def usage(self) -> Usage:
        if self.version == 2:
            events, pids = _table(self.memory, "memory.events"), _table(self.pids, "pids.events")
            cpu = _table(self.cpu or self.memory, "cpu.stat").get("usage_usec", 0) / 1e6
            return Usage(_number(self.memory, "memory.current"), _number(self.memory, "memory.peak"), cpu,
                         events.get("oom_kill", 0), pids.get("max", 0))  # fmt: skip
        events, pids = _table(self.memory, "memory.oom_control"), _table(self.pids, "pids.events")
        cpu = _number(self.cpu, "cpuacct.usage") / 1e9 if self.cpu else 0.0
        return Usage(_number(self.memory, "memory.usage_in_bytes"), _number(self.memory, "memory.max_usage_in_bytes"), cpu,
                     events.get("oom_kill", 0), pids.get("max", 0))  # fmt: skip

    def processes(self) -> set[int]:
        """Ids, as this process sees them, of what is in the group; 0 for those it cannot see."""
        found: set[int] = set()
        for folder in self.folders:
            found |= {int(line) for line in _get(folder, "cgroup.procs").split()}
        return found

    def kill(self, seconds: float = 1.0) -> bool:
        """End every process of the group; whether it is empty afterwards."""
        deadline = time.monotonic() + seconds
        while self.processes():
            if self.version == 2:
                _put(self.memory, "cgroup.kill", "1", optional=True)
            for pid in self.processes():
                try:
                    if pid > 0:
                        os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def remove(self) -> None:
        """Remove the group; does nothing where it is gone."""
        for folder in self.folders:
            for _ in range(200):
                try:
                    os.rmdir(folder)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.005)  # the last process is being taken down


def clear(folders: list[str], seconds: float = 5.0) -> set[int]:
    """End what is in the folders of a group that somebody else made, and remove them; the processes that would not go."""
    present = [folder for folder in folders if os.path.isdir(folder)]
    if not present:
        return set()
    group = Group(2 if os.path.exists(f"{present[0]}/cgroup.kill") else 1, *(present * 3)[:3])
    if not group.kill(seconds):
        return group.processes()
    group.remove()
    return set()


def create(name: str) -> Group | None:
    """A group of that name below our own, or the one that is there; None where we may not, or a controller is missing."""
    mounts = _mounts()
    own = _own()
    try:
        return _create_unified(name, mounts, own) or _create_v1(name, mounts, own)
    except OSError:
        return None


def _create_unified(name: str, mounts: dict[str, str], own: dict[str, str]) -> Group | None:
    root = mounts.get("")
    if root is None or not set(CONTROLLERS) <= set(_get(root, "cgroup.controllers").split()):
        return None
    here = root + own.get("", "/").rstrip("/")
    # A group with processes in it cannot hand controllers down (except the root), so a sibling is tried as well.
    for parent in dict.fromkeys((here, os.path.dirname(here) if len(here) > len(root) else root, root)):
        if not os.access(parent, os.W_OK):
            continue
        if not set(CONTROLLERS) <= set(_get(parent, "cgroup.subtree_control").split()):
            try:
                _put(parent, "cgroup.subtree_control", "+memory +pids")
            except OSError:
                continue
        folder = f"{parent}/{name}"
        os.makedirs(folder, exist_ok=True)
        return Group(2, folder, folder, folder)
    return None


def _create_v1(name: str, mounts: dict[str, str], own: dict[str, str]) -> Group | None:
    folders = {}
    for controller in (*CONTROLLERS, "cpuacct"):
        root = mounts.get(controller)
        folder = f"{root}{own.get(controller, '/').rstrip('/')}/{name}" if root else ""
        if not root:
            if controller in CONTROLLERS:
                return None
            continue
        os.makedirs(folder, exist_ok=True)
        folders[controller] = folder
    return Group(1, folders["memory"], folders["pids"], folders.get("cpuacct", ""))


def _mounts() -> dict[str, str]:
    """Controller ("" for the unified hierarchy) -> where it is mounted."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split()[:3]
            place = left.split()[4]
            if kind == "cgroup2":
                found.setdefault("", place)
            elif kind == "cgroup":
                for option in options.split(",") + right.split()[-1].split(","):
                    found.setdefault(option, place)
    return found


def _own() -> dict[str, str]:
    """Controller -> path of our own group in its hierarchy."""
    found = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                found[controller] = path
    return found


def _put(folder: str, name: str, text: str, *, optional: bool = False) -> None:
    try:
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
    except OSError:
        if not optional:
            raise


def _get(folder: str, name: str) -> str:
    try:
        with open(f"{folder}/{name}", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _number(folder: str, name: str) -> int:
    text = _get(folder, name).strip()
    return int(text) if text.isdigit() else 0


def _table(folder: str, name: str) -> dict[str, int]:
    rows = (line.split() for line in _get(folder, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
