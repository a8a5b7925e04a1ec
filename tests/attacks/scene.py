"""What attacks are aimed at, and where their effects are seen: files, sockets, processes, the kernel's tables."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import system
from evolve.tasks.task import Limits

LIMITS = Limits(memory=96 << 20, processes=24, disk=4 << 20, inodes=400, output=4096, files=64)
SHM_KEY = 0x5EC12E7

_TWIN = """
import ctypes, os, sys, time
uid = int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
os.dup2(os.open(sys.argv[1] + "/file", os.O_RDONLY), 9)
os.dup2(os.open(sys.argv[1] + "/pipe", os.O_RDWR), 8)
print("ready", flush=True)
time.sleep(3600)
"""


class Scene:
    """One arena. `twin` is a process of the candidate's own user id that is not the candidate's: another worker, or the
    referee itself where there is only one user."""

    def __init__(self, root: Path, uid: int) -> None:
        self.root, self.uid = root, uid
        root.chmod(0o755)
        self.marker, self.secret, self.mark = (secrets.token_hex(8) for _ in range(3))
        self.mark = f"at{self.mark[:11]}"
        self.open = root / "open"
        self.open.mkdir()
        (self.open / "cache").mkdir()
        for path in (self.open, self.open / "cache"):
            path.chmod(0o777)
        for name, mode in (("secret", 0o644), ("private", 0o600), ("answers.json", 0o644)):
            (root / name).write_text(self.secret)
            (root / name).chmod(mode)
        (root / f"listed-{self.marker}").mkdir()
        (root / "grader.py").write_text("def grade(x): return x\n")
        (self.open / "grader_helper.py").write_text("GRADE = 'honest'\n")
        (self.open / "grader_helper.py").chmod(0o666)
        os.mkfifo(self.open / "fifo", 0o666)
        (self.open / "fifo").chmod(0o666)
        self.fifo = os.open(self.open / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.heard: set[str] = set()
        self.servers: list[socket.socket] = []
        self._listen_all()
        self._held()
        self.twin = self._twin()
        self.shm = _libc.shmget(SHM_KEY, 64, 0o1666)
        _libc.shmat.restype = ctypes.c_void_p
        self._segment = _libc.shmat(self.shm, None, 0)
        ctypes.memmove(self._segment, self.secret.encode() + b"\0", len(self.secret) + 1)
        self.watch = Watch(self)

    def _listen_all(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = int(tcp.getsockname()[1])
        self.servers.append(tcp)
        with contextlib.suppress(OSError):
            six = socket.create_server(("::1", 0), family=socket.AF_INET6)
            self.servers.append(six)
        self.port6 = int(self.servers[-1].getsockname()[1])
        for address in (f"\0{self.marker}", str(self.open / "service")):
            server = socket.socket(socket.AF_UNIX)
            server.bind(address)
            server.listen()
            self.servers.append(server)
        (self.open / "service").chmod(0o777)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        self.udp = udp
        for server in self.servers:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        threading.Thread(target=self._datagrams, daemon=True).start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.free_port = int(probe.getsockname()[1])

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(1)
                    self.heard.add(connection.recv(16).decode())
            except OSError:
                return

    def _datagrams(self) -> None:
        while True:
            try:
                self.heard.add(self.udp.recv(16).decode())
            except OSError:
                return

    def _held(self) -> None:
        """A file and a pipe of the candidate's own user, in a folder it has no path to: the twin holds them open."""
        self.held = self.root / "held"
        self.held.mkdir(mode=0o700)
        (self.held / "file").write_text(self.secret)
        os.mkfifo(self.held / "pipe", 0o600)
        for path in (self.held / "file", self.held / "pipe", self.held):
            os.chown(path, self.uid, self.uid if os.getuid() == 0 else -1)
        self.pipe = os.open(self.held / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    def _twin(self) -> subprocess.Popen[bytes]:
        python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else "python3"
        made = subprocess.Popen(
            [python, "-I", "-c", _TWIN, str(self.held), str(self.uid), f"argv-{self.marker}"],
            env={"MARKER": self.marker, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert made.stdout is not None and made.stdout.readline() == b"ready\n"
        return made

    def reniced(self) -> bool:
        return os.getpriority(os.PRIO_PROCESS, self.twin.pid) != os.getpriority(os.PRIO_PROCESS, 0)

    def renew(self, *, swept: bool) -> None:
        """Make good what an attack broke, so that the next one starts from the same scene."""
        if not swept and os.getuid() == 0 and self.uid:
            system.send_kill_to_all_of(self.uid)
            self.twin.wait()
        if self.twin.poll() is not None or self.state(self.twin.pid) == "T" or self.limits(self.twin.pid) or self.reniced():
            self.twin.kill()
            self.twin.wait()
            self.twin = self._twin()
        os.sched_setaffinity(self.twin.pid, os.sched_getaffinity(0))
        (self.open / "grader_helper.py").write_text("GRADE = 'honest'\n")
        for name in ("planted", "sitecustomize.py", "cache/kernel.so", "result.json"):
            (self.open / name).unlink(missing_ok=True)
        for folder in ("/tmp", "/dev/shm", "/home/candidate"):
            Path(folder, self.mark).unlink(missing_ok=True)
        self.heard.clear()
        for pid in named(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        ctypes.memmove(self._segment, self.secret.encode() + b"\0", len(self.secret) + 1)
        for remove in (("shmget", "shmctl"), ("msgget", "msgctl"), ("semget", "semctl")):
            found = getattr(_libc, remove[0])(SHM_KEY + 1, *([0, 0] if remove[0] != "msgget" else [0]))
            if found >= 0:
                getattr(_libc, remove[1])(found, 0, 0)
        self.mark = f"at{secrets.token_hex(5)}"

    def facts(self) -> dict[str, Any]:
        return {
            "secret": str(self.root / "secret"), "private": str(self.root / "private"), "listed": str(self.root),
            "answers": str(self.root / "answers.json"), "open": str(self.open), "service": str(self.open / "service"),
            "mark": self.mark, "port": self.port, "port6": self.port6, "abstract": self.marker, "free_port": self.free_port,
            "twin": self.twin.pid, "needle": "needle", "shm_key": SHM_KEY, "left_key": SHM_KEY + 1,
            "memory": LIMITS.memory, "processes": LIMITS.processes, "disk": LIMITS.disk, "inodes": LIMITS.inodes,
            "files": LIMITS.files,
        }  # fmt: skip

    def state(self, pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"

    def limits(self, pid: int) -> bool:
        try:
            return " 77 " in Path(f"/proc/{pid}/limits").read_text()
        except OSError:
            return True

    def segment(self) -> str:
        return ctypes.string_at(self._segment).decode("latin-1")

    def left_ipc(self) -> bool:
        """Whether anything of System V bears the key that candidates were told to leave one under."""
        for name in ("shm", "msg", "sem"):
            for line in Path(f"/proc/sysvipc/{name}").read_text().splitlines()[1:]:
                if int(line.split()[0]) == SHM_KEY + 1:
                    return True
        return False

    def close(self) -> None:
        self.watch.stop()
        self.twin.kill()
        self.twin.wait()
        for server in (*self.servers, self.udp):
            server.close()
        for fd in (self.pipe, self.fifo):
            os.close(fd)
        _libc.shmdt(ctypes.c_void_p(self._segment))
        _libc.shmctl(self.shm, 0, None)
        shutil.rmtree(self.root, ignore_errors=True)


_libc = ctypes.CDLL(None, use_errno=True)


def named(mark: str) -> list[int]:
    """Processes that gave themselves that name, in whatever namespace."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{name}/comm").read_text().strip() == mark:
                    found.append(int(name))
    return found


class Watch:
    """Looks at everything below this process, the whole time a candidate runs, and keeps the most it saw."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.clear()

    def clear(self) -> None:
        self.most: dict[str, int] = {}
        self.descriptors: set[str] = set()
        self.user_namespaces: set[str] = set()
        self.root_seen = self.tracer_seen = self.served = self.core_seen = False

    @contextlib.contextmanager
    def looking(self, ours: set[int]) -> Iterator[None]:
        self.clear()
        self._done.clear()
        self._thread = threading.Thread(target=self._run, args=(ours,), daemon=True)
        self._thread.start()
        yield
        self.stop()

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, ours: set[int]) -> None:
        home = os.readlink("/proc/self/ns/user")
        while not self._done.is_set():
            self._look(ours, home)
            self._serve()
            time.sleep(0.02)

    def _serve(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.scene.free_port), 0.2) as connection:
            connection.settimeout(0.3)
            self.served |= connection.recv(16) == b"served"

    def _look(self, ours: set[int], home: str) -> None:
        from evolve.evaluators.sandbox.keeper import _share, descendants

        theirs = []
        total = {"processes": 0, "threads": 0, "rss": 0, "hidden": 0}
        for pid in descendants(os.getpid()):
            if pid in ours:
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                mine = status["Name"] == self.scene.mark or status["Uid"].split()[0] == str(self.scene.uid)
                if status["Name"] == self.scene.mark:
                    self.root_seen |= status["Uid"].split()[0] == "0"
                    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
                    self.core_seen |= any(line.split()[4:5] == ["0"] for line in limits if line.startswith("Max core"))
                    namespace = os.readlink(f"/proc/{pid}/ns/user")
                    if namespace != home:
                        self.user_namespaces.add(namespace)
                    self._descriptors(pid, total)
                    self._disk(pid)
                if mine:
                    theirs.append(pid)
                    total["processes"] += 1
                    total["threads"] += int(status["Threads"])
                    total["rss"] += sum(int(status[k].split()[0]) << 10 for k in ("RssAnon", "RssShmem") if k in status)
        if total["rss"] > LIMITS.memory:  # what forks share was counted once for each
            total["rss"] = sum(_share(pid) for pid in theirs)
        with contextlib.suppress(OSError):
            self.tracer_seen |= "TracerPid:\t0" not in Path(f"/proc/{self.scene.twin.pid}/status").read_text()
        for name, value in total.items():
            self.most[name] = max(self.most.get(name, 0), value)

    def _descriptors(self, pid: int, total: dict[str, int]) -> None:
        names = os.listdir(f"/proc/{pid}/fd")
        self.most["files"] = max(self.most.get("files", 0), len(names))
        for name in names:
            with contextlib.suppress(OSError):
                link = os.readlink(f"/proc/{pid}/fd/{name}")
                self.descriptors.add(link.split(":")[-1].strip("[]") if "anon_inode" in link else link)
                if "memfd" in link:
                    total["hidden"] += os.stat(f"/proc/{pid}/fd/{name}").st_blocks * 512

    def _disk(self, pid: int) -> None:
        work = os.readlink(f"/proc/{pid}/cwd")
        root = f"/proc/{pid}/root{work}"
        size = count = longest = 0
        for folder, _, names in os.walk(root):
            for name in names:
                with contextlib.suppress(OSError):
                    found = os.lstat(os.path.join(folder, name))
                    size, longest = size + found.st_blocks * 512, max(longest, found.st_size)
            count += len(names)
        for name, value in (("disk", size), ("inodes", count), ("longest", longest)):
            self.most[name] = max(self.most.get(name, 0), value)
