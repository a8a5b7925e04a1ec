"""The clean parent: a small process that forks each candidate into its jail. Standard library only; started with -I.

    launcher    one per slot; holds no secret; imported what candidates commonly need; waits for requests
      keeper    one per candidate, outside the jail: clock, memory watch, kills the tree, reports how it ended
        init    first process of the candidate's pid namespace: builds the jail, reaps
          candidate    dropped rights, then exec, or a call of a Python function without a new interpreter

When init ends, the kernel ends every process of its pid namespace: daemons, double forks and sessions included. Where
there are no namespaces (rung "process") the keeper is a subreaper and kills what it finds below it until nothing is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
from typing import Any, NoReturn

from evolve.evaluators.sandbox import system, worker

POLL = 0.02
"""Seconds between two looks of the keeper at the tree's memory; doubles to 16 times that for long runs."""

SMALL_FILES, SMALL_BYTES = 200, 8 << 20
"""A tree up to this is copied into the jail; a larger one becomes the lower layer of an overlay."""

Request = dict[str, Any]


# ---- the launcher ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve requests on the socket given as the only argument until it is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    configuration: Request = json.loads(sys.argv[2])
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in configuration.get("preload", ()):
        __import__(module)
    base = _prepare(configuration) if configuration["rung"] in ("native", "userns") else ""
    control.send(json.dumps({"ready": True}).encode())
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 22, 8)
        if not data:
            break
        request: Request = {**configuration, **json.loads(data), "base": base}
        keeper = os.fork()
        if keeper == 0:
            _guarded(_keep, control, request, fds)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(keeper, 0)
        if status != 0:
            control.send(json.dumps({"error": f"the keeper ended with status {status}"}).encode())
    os._exit(0)


def _guarded(work: Any, control: socket.socket, *arguments: Any) -> NoReturn:
    """Run the keeper; what goes wrong in it is reported as our own failure."""
    try:
        report = work(control, *arguments)
    except OSError as error:
        report = {"error": f"{type(error).__name__}: {error}"}
    control.send(json.dumps(report).encode())
    os._exit(0)


def _prepare(configuration: Request) -> str:
    """A read-only root in a mount namespace of the launcher's own: toolchain, devices, empty places for the rest."""
    if configuration["rung"] == "userns":
        _own_user_namespace()
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", "", system.MS_REC | system.MS_PRIVATE)
    base = configuration["scratch"] + "/root"
    os.makedirs(base, exist_ok=True)
    system.mount("tmpfs", base, "tmpfs", system.MS_NOSUID, "size=4m,mode=755")
    for name in ("proc", "dev", "work", "tmp", "home", "rw", "etc", "old", "dev/shm"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    for path in configuration["binds"]:
        _bind_in(base, path)
    for name in ("null", "zero", "full", "random", "urandom"):
        _bind_in(base, f"/dev/{name}", read_only=False)
    for path in configuration.get("devices", ()):
        _bind_in(base, path, read_only=False)
    for link, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")):
        os.symlink(target, f"{base}/dev/{link}")
    with open(f"{base}/etc/passwd", "w") as file:
        file.write(f"candidate:x:{configuration['uid']}:{configuration['uid']}::/home:/bin/sh\n")
    return base


def _own_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    system.unshare(system.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _bind_in(base: str, path: str, *, read_only: bool = True, target: str = "") -> None:
    """Show a host path inside; a symlink is recreated as it is; what is not there is left out."""
    inside = base + (target or path)
    if os.path.islink(path) and not target:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        if not os.path.lexists(inside):
            os.symlink(os.readlink(path), inside)
        return
    if not os.path.exists(path):
        return
    if os.path.isdir(path):
        os.makedirs(inside, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        os.close(os.open(inside, os.O_CREAT | os.O_RDONLY))
    system.mount(path, inside, "", system.MS_BIND | system.MS_REC)
    if read_only:
        flags = system.MS_REMOUNT | system.MS_BIND | system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV
        system.mount("none", inside, "", flags)


# ---- the keeper ------------------------------------------------------------------------------------------------------


def _keep(control: socket.socket, request: Request, fds: list[int]) -> Request:
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    jailed = request["rung"] in ("native", "userns")
    if jailed:
        flags = system.CLONE_NEWPID | system.CLONE_NEWIPC | system.CLONE_NEWUTS
        system.unshare(flags | (0 if request["network"] else system.CLONE_NEWNET))
    status, status_end = os.pipe2(os.O_CLOEXEC)
    init = os.fork()
    if init == 0:
        os.close(status)
        control.close()
        _initialise(request, fds, status_end)
    os.close(status_end)
    for fd in fds:
        os.close(fd)
    watch = _Watch(control, request, init, status)
    report = watch.run()
    _end(init, jailed)
    return report


class _Watch:
    """The keeper's eyes: wall clock from the candidate's start, memory of the whole tree, and whether we are wanted."""

    def __init__(self, control: socket.socket, request: Request, init: int, status: int) -> None:
        self.control, self.request, self.init, self.status = control, request, init, status
        self.buffer = b""
        self.peak = 0
        self.cpu = 0.0

    def run(self) -> Request:
        """How the candidate ended: {"code", "signal", "kind", "message", "wall", "cpu", "peak"} or {"error"}."""
        poller = select.poll()
        poller.register(self.status, select.POLLIN)
        poller.register(self.control.fileno(), select.POLLHUP | select.POLLERR)
        began: float | None = None
        deadline = time.monotonic() + 60.0  # for building the jail
        step = POLL
        while True:
            now = time.monotonic()
            ready = dict(poller.poll(max(0.0, min(step, deadline - now)) * 1000))
            if self.control.fileno() in ready:
                return {"error": "the slot went away"}
            if self.status in ready:
                chunk = os.read(self.status, 65536)
                self.buffer += chunk
                if began is None and b"started\n" in self.buffer:
                    began = time.monotonic()
                    deadline = began + self.request["wall"]
                if not chunk:
                    return self._ended(began)
                continue
            now = time.monotonic()
            if began is None and now >= deadline:
                return {"error": "the jail was not built within 60 s"}
            if began is not None and now >= deadline:
                return self._limit("timeout", f"ran longer than {self.request['wall']:g} s", began)
            if began is not None and (failure := self._look()):
                return self._limit(*failure, began)
            step = min(step * 1.1, POLL * 16)

    def _look(self) -> tuple[str, str] | None:
        pids = descendants(self.init)
        total, cpu = 0, 0.0
        for pid in pids:
            rss, used = _usage(pid)
            total, cpu = total + rss, cpu + used
        self.peak = max(self.peak, total)
        self.cpu = max(self.cpu, cpu)
        limits = self.request["limits"]
        if total > limits["memory"]:
            return "memory", f"its processes took {total >> 20} MiB, {limits['memory'] >> 20} MiB are allowed"
        if len(pids) > limits["processes"] + 1:
            return "limit", f"it had {len(pids)} processes, {limits['processes']} are allowed"
        if limits.get("cpu") and cpu > limits["cpu"]:
            return "timeout", f"used more than {limits['cpu']:g} s of CPU time"
        return None

    def _limit(self, kind: str, message: str, began: float) -> Request:
        wall = time.monotonic() - began
        return {"code": None, "kind": kind, "message": message, "wall": wall, "cpu": self.cpu, "peak": self.peak}

    def _ended(self, began: float | None) -> Request:
        lines = self.buffer.decode("utf-8", "replace").splitlines()
        last = lines[-1] if lines else ""
        if last.startswith("setup "):
            return {"error": f"the jail could not be built: {last[6:]}"}
        if began is None or not last.startswith("ended "):
            return {"error": f"the jail's first process was lost ({last!r})"}
        status, cpu, peak = last[6:].split()
        wall = time.monotonic() - began
        report: Request = {"wall": wall, "cpu": float(cpu), "peak": max(self.peak, int(peak))}
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


def _end(init: int, jailed: bool) -> None:
    """Nothing of the candidate is left when this returns."""
    if not jailed:
        for _ in range(1000):
            pids = descendants(os.getpid())
            for pid in pids:
                _kill(pid)
            if not pids:
                break
            _reap()
            time.sleep(0.001)
    _kill(init)
    _reap(block=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _reap(block: bool = False) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, 0 if block else os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


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
    """(resident bytes less what is shared with files, CPU seconds) of a process; zeros once it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = file.read().split()
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0.0
    anonymous = int(pages[1]) - int(pages[2])
    return anonymous * resource.getpagesize(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- init ------------------------------------------------------------------------------------------------------------


def _initialise(request: Request, fds: list[int], status: int) -> NoReturn:
    """First process inside: build the jail, start the candidate, reap until it ends."""
    try:
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if request["rung"] in ("native", "userns"):
            _build(request)
        os.write(status, b"started\n")
        candidate = os.fork()
        if candidate == 0:
            _become(request, fds, status)
        for fd in fds:
            os.close(fd)
        while True:
            pid, ended = os.wait()
            if pid == candidate:
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                os.write(status, f"ended {ended} {used.ru_utime + used.ru_stime:.6f} {used.ru_maxrss * 1024}\n".encode())
                os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the last words of a process that has nobody else to tell
        os.write(status, f"setup {type(error).__name__}: {error}\n".replace("\n", " ").encode() + b"\n")
        os._exit(1)


def _build(request: Request) -> None:
    """The candidate's own root: the launcher's read-only base, with fresh bounded places to write."""
    base, limits, uid = request["base"], request["limits"], request["uid"]
    system.unshare(system.CLONE_NEWNS)
    size = f"size={limits['disk']},nr_inodes={limits['inodes']},mode=755"
    system.mount("tmpfs", f"{base}/rw", "tmpfs", system.MS_NOSUID | system.MS_NODEV, size)
    for name, mode in (("work", 0o755), ("tmp", 0o1777), ("home", 0o755), ("shm", 0o1777), ("upper", 0o755), ("layer", 0o755)):
        os.mkdir(f"{base}/rw/{name}", mode)
        os.chmod(f"{base}/rw/{name}", mode)
        if request["rung"] == "native":
            os.chown(f"{base}/rw/{name}", uid, uid)
    _bring_tree(request, f"{base}/rw", f"{base}/work")
    for name, place in (("tmp", "tmp"), ("home", "home"), ("shm", "dev/shm")):
        system.mount(f"{base}/rw/{name}", f"{base}/{place}", "", system.MS_BIND)
    for mount in request["mounts"]:
        _bind_in(base, mount["source"], read_only=not mount.get("writable"), target=mount.get("target") or mount["source"])
    system.mount("proc", f"{base}/proc", "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    os.chdir(base)
    system.pivot_root(".", "old")
    system.umount("/old")
    system.mount("none", "/", "", system.MS_REMOUNT | system.MS_BIND | system.MS_RDONLY | system.MS_NOSUID)
    if not request["network"]:
        _loopback_up()


def _bring_tree(request: Request, rw: str, place: str) -> None:
    """The candidate's files, writable, its own: copied where small, an overlay where large."""
    tree, uid = request["tree"], request["uid"] if request["rung"] == "native" else -1
    if request["small"]:
        _copy(tree, f"{rw}/work", uid)
        system.mount(f"{rw}/work", place, "", system.MS_BIND)
        return
    options = f"lowerdir={tree},upperdir={rw}/upper,workdir={rw}/layer"
    system.mount("overlay", place, "overlay", 0, options + (",userxattr" if request["rung"] == "userns" else ""))
    if uid >= 0:
        os.chown(place, uid, uid)
        for folder, _, files in os.walk(place):
            os.chown(folder, uid, uid)
            for name in files:
                os.chown(f"{folder}/{name}", uid, uid, follow_symlinks=False)


def _copy(source: str, target: str, uid: int) -> None:
    for entry in os.scandir(source):
        into = f"{target}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), into)
        elif entry.is_dir():
            os.mkdir(into, 0o755)
            _copy(entry.path, into, uid)
        else:
            shutil.copyfile(entry.path, into)
            os.chmod(into, entry.stat().st_mode & 0o755)
        if uid >= 0:
            os.chown(into, uid, uid, follow_symlinks=False)


def _loopback_up() -> None:
    """A fresh network namespace has its loopback down, and honest programs talk to themselves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(device, 0x8913, request))[1]
        fcntl.ioctl(device, 0x8914, struct.pack("16sH14s", b"lo", flags | 1, b""))


# ---- the candidate ---------------------------------------------------------------------------------------------------


def _become(request: Request, fds: list[int], status: int) -> NoReturn:
    """Give up every right, then run. Whatever fails before the candidate's own code does is a setup failure."""
    try:
        _limit(request)
        os.dup2(fds[0], 0)
        os.dup2(fds[1], 1)
        os.dup2(fds[2], 2)
        channel = -1
        if len(fds) > 3:
            channel = 3
            os.dup2(fds[3], 64, inheritable=True)
            os.dup2(64, channel, inheritable=True)
        os.set_inheritable(status, False)
        os.chdir(os.path.join("/work" if request["base"] else request["tree"], request["cwd"]))
        _drop(request)
        environment = dict(request["env"])
        if channel >= 0:
            environment["EVOLVE_CHANNEL"] = str(channel)
        if request.get("call") is None:
            os.closerange(channel + 1 if channel >= 0 else 3, 4096)
            try:
                os.execvpe(request["argv"][0], request["argv"], environment)
            except OSError as error:
                os.write(2, f"{request['argv'][0]}: {error.strerror}\n".encode())
                os._exit(127 if error.errno == errno.ENOENT else 126)
        os.closerange(channel + 1, 4096)
    except BaseException as error:  # noqa: BLE001 - told to init's parent, then gone
        try:
            os.write(status, f"setup {type(error).__name__}: {error}\n".encode())
        except OSError:
            os.write(2, f"setup {type(error).__name__}: {error}\n".encode())
        os._exit(125)
    worker.serve(request["call"], channel, environment)


def _limit(request: Request) -> None:
    limits = request["limits"]
    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_DATA, limits["memory"] if not request.get("devices") else resource.RLIM_INFINITY),
    )
    for which, value in wanted:
        resource.setrlimit(which, (value, value))
    if request["rung"] != "userns" and request["uid"] != 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"], limits["processes"]))
    if limits.get("cpu"):
        seconds = int(limits["cpu"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _drop(request: Request) -> None:
    uid = request["uid"]
    system.drop_bounding_set() if os.getuid() == 0 else None
    if os.getuid() == 0 and uid != 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    elif request["rung"] == "userns":
        system.drop_bounding_set()
        _drop_capabilities()
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    system.prctl(system.PR_SET_DUMPABLE, 1)  # a changed uid clears it, and honest programs read /proc/self
    if request["seccomp"]:
        system.seccomp()


def _drop_capabilities() -> None:
    """In a user namespace of its own a process keeps its uid and must let its capabilities go by hand (capset)."""
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", 0, 0, 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    main()
