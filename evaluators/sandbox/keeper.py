"""The keeper: one process per candidate, outside the jail. Clock, memory watch, the end of the whole process tree.

Standard library only.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any

from evolve.evaluators.sandbox import system
from evolve.evaluators.sandbox.cgroups import Group
from evolve.evaluators.sandbox.jail import NAMESPACED

Request = dict[str, Any]

FIRST_LOOK, LAST_LOOK = 0.02, 0.1
"""Seconds between two looks at the tree: short at first, since most candidates are."""

BUILD_SECONDS = 60.0
"""What building a jail may take before it counts as our failure."""


END_SECONDS = 5.0
"""What killed processes may take to be gone before their staying counts as our failure."""


class Watch:
    """Wall clock from the candidate's start, limits of the whole tree, and whether its result is still wanted."""

    def __init__(self, control: socket.socket, request: Request, init: int, status: int, group: Group | None) -> None:
        self.control, self.request, self.init, self.status, self.group = control, request, init, status, group
        self.limits = request["limits"]
        self.buffer = b""
        self.began: float | None = None
        self.peak = 0
        self.cpu = 0.0
        self.start = group.usage() if group else None
        self.launcher = os.getppid()

    def run(self) -> Request:
        """How the candidate ended: {"code", "signal", "kind", "message", "wall", "cpu", "peak"} or {"error"}."""
        poller = select.poll()
        poller.register(self.status, select.POLLIN)
        poller.register(self.control.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        deadline = time.monotonic() + BUILD_SECONDS
        step = FIRST_LOOK
        while True:
            ready = dict(poller.poll(max(0.0, min(step, deadline - time.monotonic())) * 1000))
            if event := ready.get(self.control.fileno()):
                if event & (select.POLLHUP | select.POLLERR) or not self.control.recv(4096):
                    return {"error": "the slot went away"}
                return self._limit("crash", "stopped by the referee", killed=True)
            if self.status in ready:
                chunk = os.read(self.status, 65536)
                self.buffer += chunk
                if self.began is None and b"started\n" in self.buffer:
                    self.began = time.monotonic()
                    deadline = self.began + self.request["wall"]
                if self.request["channel"] == "socket" and b"running\n" in chunk:
                    self.control.send(json.dumps({"pid": min(descendants(self.init), default=0)}).encode())
                if not chunk:
                    return self._ended()
                continue
            if os.getppid() != self.launcher:
                return {"error": "the launcher went away"}
            if time.monotonic() >= deadline:
                if self.began is None:
                    return {"error": f"the jail was not built within {BUILD_SECONDS:.0f} s"}
                return self._limit("timeout", f"ran longer than {self.request['wall']:g} s")
            if self.began is not None and (failure := self._look()):
                return self._limit(*failure)
            step = min(step * 1.1, LAST_LOOK)

    def _look(self) -> tuple[str, str] | None:
        opened = self.request["opened"]
        if self.group is not None and self.start is not None:
            now = self.group.usage()
            self.peak, self.cpu = max(self.peak, now.peak, now.memory), now.cpu - self.start.cpu
            if now.killed > self.start.killed:
                return self._out_of_memory(None)
        else:
            pids = descendants(self.init)
            used = [_usage(pid) for pid in [self.init, *pids]]
            total, self.cpu = sum(u[0] for u in used), max(self.cpu, sum(u[1] for u in used))
            limit = self.limits["memory"]
            if total > limit:  # pages shared by several processes were counted once for each
                total = sum(_share(pid) for pid in pids)
            self.peak = max(self.peak, total)
            if total > limit and "memory" not in opened:
                return self._out_of_memory(total)
            if len(pids) > self.limits["processes"] + 1 and "processes" not in opened:
                return "limit", f"it had {len(pids)} processes, {self.limits['processes']} are allowed"
        if self.limits.get("cpu") and self.cpu > self.limits["cpu"]:
            return "timeout", f"used more than {self.limits['cpu']:g} s of CPU time"
        if self.request["rung"] not in (*NAMESPACED, "bubblewrap") and "disk" not in opened:
            return self._weigh()
        return None

    def _weigh(self) -> tuple[str, str] | None:
        """Where the candidate's folders lie on the machine's own disk, they are measured. What cannot be measured is over
        the limit: names longer than a path may be, a folder that its owner may not read."""
        size = count = 0
        stack = [self.request["own"]]
        while stack:
            try:
                with os.scandir(stack.pop()) as entries:
                    for entry in entries:
                        count += 1
                        if entry.is_dir(follow_symlinks=False):
                            stack.append(entry.path)
                        else:
                            size += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue  # it is at work
            except OSError as error:
                return "limit", f"its files cannot be measured: {error.strerror}"
            if size > self.limits["disk"]:
                return "limit", f"its files took more than {self.limits['disk'] >> 20} MiB"
            if count > self.limits["inodes"]:
                return "limit", f"it made more than {self.limits['inodes']} files"
        return None

    def _out_of_memory(self, total: int | None) -> tuple[str, str]:
        limit = self.limits["memory"] >> 20
        if total is None:
            return "memory", f"its processes needed more than the {limit} MiB allowed"
        return "memory", f"its processes took {total >> 20} MiB, {limit} MiB are allowed"

    def _limit(self, kind: str, message: str, killed: bool = False) -> Request:
        wall = time.monotonic() - (self.began or time.monotonic())
        report = {"code": None, "kind": kind, "message": message, "wall": wall, "cpu": self.cpu, "peak": self.peak}
        return {**report, "killed": True} if killed else report

    def _ended(self) -> Request:
        lines = self.buffer.decode("utf-8", "replace").splitlines()
        last = lines[-1] if lines else ""
        setup = next((line for line in lines if line.startswith("setup ")), None)
        if setup is not None:
            return {"error": f"the jail could not be built: {setup[6:]}"}
        after = self.group.usage() if self.group else None
        starved = after is not None and self.start is not None and after.killed > self.start.killed
        if self.began is None:
            return {"error": f"the jail's first process was lost ({last!r})"}
        if starved or not last.startswith("ended "):  # nothing but a lack of memory ends the first process
            return self._limit(*self._out_of_memory(None))
        status, cpu, peak = last[6:].split()
        used = after.cpu - self.start.cpu if after and self.start and after.cpu else float(cpu)
        report: Request = {"wall": time.monotonic() - self.began, "cpu": max(used, float(cpu)),
                           "peak": max(self.peak, int(peak), after.peak if after else 0)}  # fmt: skip
        if after and self.start and after.refused > self.start.refused:
            report["refused"] = f"{self.limits['processes']} processes and threads are allowed"
        number = int(status)
        if os.WIFSIGNALED(number):
            which = os.WTERMSIG(number)
            kind = "timeout" if which == signal.SIGXCPU else "limit" if which == signal.SIGXFSZ else "crash"
            return {**report, "code": None, "signal": which, "kind": kind, "message": f"ended by {_name(which)}"}
        return {**report, "code": os.WEXITSTATUS(number)}


def _name(which: int) -> str:
    try:
        return signal.Signals(which).name
    except ValueError:
        return f"signal {which}"


def end(request: Request, init: int, group: Group | None) -> str | None:
    """Nothing of the candidate is left when this returns None; else what is."""
    sweep = "sweep" not in request["opened"]
    jailed = request["rung"] in NAMESPACED and "pids" not in request["opened"]
    if not jailed and sweep:
        _sweep(request)
    _kill(init)
    if proxy := request.get("proxy"):
        _kill(proxy)
    if not sweep:
        os.waitpid(init, 0)
        return None
    deadline = time.monotonic() + END_SECONDS
    while reap():  # the last process of a namespace is only gone when all others are
        if time.monotonic() > deadline:
            return f"processes {descendants(os.getpid())} of the candidate did not end"
        time.sleep(0.0005)
    if group is not None and not group.kill():
        return f"processes {sorted(group.processes())} of the candidate did not end"
    return None


def _sweep(request: Request) -> None:
    """End everything below us: by user id where it has its own, which no fork outruns, and by descent."""
    if os.getuid() == 0 and request["uid"] > 0:
        system.send_kill_to_all_of(request["uid"])
    for _ in range(1000):
        pids = descendants(os.getpid())
        for pid in pids:  # stopped first, so that none forks while the others are found
            _kill(pid, signal.SIGSTOP)
        for pid in pids:
            _kill(pid)
        if not pids:
            break
        reap()
        time.sleep(0.001)


def _kill(pid: int, which: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, which)
    except (ProcessLookupError, PermissionError):
        pass


def reap() -> bool:
    """Take every child that has ended; whether any is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def descendants(root: int) -> list[int]:
    """Every process below `root` (itself left out), as the kernel lists them now."""
    found, stack = [], [root]
    while stack:
        pid = stack.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    children = [int(child) for child in file.read().split()]
            except OSError:
                continue
            found += children
            stack += children
    return found


def _usage(pid: int) -> tuple[int, float]:
    """(resident bytes that are no file's, CPU seconds with those of its reaped children); zeros once it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            rows = dict(line.split(b":", 1) for line in file.read().splitlines() if line.startswith(b"Rss"))
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return 0, 0.0
    resident = sum(int(rows[key].split()[0]) << 10 for key in (b"RssAnon", b"RssShmem") if key in rows)
    return resident, sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _share(pid: int) -> int:
    """Bytes of a process's memory that is no file's, shared pages divided among those that share them (PSS)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            rows = dict(line.split(b":", 1) for line in file.read().splitlines() if line.startswith(b"Pss_"))
    except OSError:
        return _usage(pid)[0]
    return sum(int(rows[key].split()[0]) << 10 for key in (b"Pss_Anon", b"Pss_Shmem") if key in rows)


def threads_of(uid: int) -> int:
    """Processes and threads that a user id has now (for a limit that counts them all)."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def rlimits(request: Request) -> list[tuple[int, int]]:
    """The limits each process of the candidate gets: what a group or the keeper's looks cannot catch between them."""
    limits, opened = request["limits"], request["opened"]
    wanted = [(resource.RLIMIT_CORE, 1)]  # with filters.py: no core dump, and no handler that is piped one
    if "files" not in opened:
        wanted.append((resource.RLIMIT_NOFILE, limits["files"]))
    if "disk" not in opened:
        wanted.append((resource.RLIMIT_FSIZE, limits["disk"]))
    if "memory" not in opened and not request["devices"]:  # a GPU's driver reserves far more than it touches
        wanted.append((resource.RLIMIT_DATA, limits["memory"]))
    if "processes" not in opened:
        # Counted per user id and user namespace (Linux 5.14): the launcher's own three are of the same in "userns".
        others = {"userns": 4, "landlock": 0}.get(request["rung"], 0)
        if request["uid"] == os.getuid() and request["rung"] != "userns":
            others = threads_of(request["uid"])
        others += bool(request["hosts"])  # the proxy has the candidate's user id
        if request["uid"] != 0:
            wanted.append((resource.RLIMIT_NPROC, limits["processes"] + others))
    if limits.get("cpu"):
        wanted.append((resource.RLIMIT_CPU, int(limits["cpu"]) + 1))
    return wanted
