"""Sandboxes on this machine: one launcher process each, at the rung asked for."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import Command, Outcome, bubble, cgroups, network, system
from evolve.evaluators.sandbox.jail import HOME, NAMESPACED, SMALL_BYTES, SMALL_FILES, WORK
from evolve.evaluators.sandbox.session import Exchange, Session
from evolve.tasks.errors import SandboxError
from evolve.tasks.task import ANYWHERE, host_ports

LABELS = {
    "native": "jailed",
    "userns": "jailed-user",
    "bubblewrap": "jailed-user",
    "landlock": "confined",
    "process": "separate-uid",
    "bare": "UNPROTECTED",
}
"""Rung -> the label shown in every view and event. Strongest first."""

WALLS = frozenset(
    {"pids", "ipc", "uts", "network", "mounts", "old root", "read-only", "private tmp", "private home", "private shm", "uid",
     "capabilities", "no_new_privs", "seccomp", "landlock", "cgroup", "memory", "processes", "disk", "files", "descriptors",
     "lifeline", "sweep"}
)  # fmt: skip
"""What can be left out one at a time, so that an attack test can show that its attack works without it."""

FIRST_UID, UIDS = 61_000, 256

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

_TOOLCHAIN = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/ld.so.conf",
              "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/ssl", "/etc/localtime", "/etc/nsswitch.conf",
              "/sys/devices/system/cpu", "/sys/devices/system/node")  # fmt: skip
_FOR_A_GPU = ("/sys", "/etc/OpenCL", "/etc/vulkan", "/opt/nvidia")
_FOR_A_NETWORK = ("/etc/resolv.conf", "/etc/gai.conf", "/etc/ca-certificates")

_GPU_VARIABLES = ("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES",
                  "NVIDIA_DRIVER_CAPABILITIES", "TRITON_LIBCUDA_PATH")  # fmt: skip


class LocalSandbox:
    """Runs commands in one rung: "native" (namespaces, as root), "userns" (namespaces, as a plain user), "bubblewrap",
    "landlock" (Landlock and a system-call filter), "process" (another uid, limits and a subreaper, as root) or "bare"
    (limits and a subreaper only: UNPROTECTED).

    One candidate at a time; not for several threads. Raises SandboxError where the rung cannot be set up or has
    degraded.
    """

    def __init__(
        self,
        rung: str,
        scratch: str | Path,
        *,
        preload: tuple[str, ...] = (),
        devices: tuple[str, ...] = (),
        network: bool = False,
        show: tuple[str, ...] = (),
        hide: tuple[str, ...] = (),
        opened: frozenset[str] = frozenset(),
    ) -> None:
        """scratch: a folder of this sandbox's own. preload: modules the launcher imports once for all candidates.
        devices: device nodes shown inside (a GPU's). network: what name resolution reads is shown. show: further host
        paths shown read-only. hide: host folders not shown even where they lie below one that is (a project in
        /usr/src). opened: walls left out, for attack tests; the label then says UNPROTECTED."""
        if rung not in LABELS:
            raise SandboxError(f"no rung {rung!r}; there are {', '.join(LABELS)}")
        if unknown := opened - WALLS:
            raise SandboxError(f"no wall {min(unknown)!r}; there are {', '.join(sorted(WALLS))}")
        if os.getuid() != 0 and rung in ("native", "process"):
            raise SandboxError(f"the sandbox rung {rung!r} needs root")
        if rung == "bubblewrap" and bubble.program() is None:
            raise SandboxError("the sandbox rung 'bubblewrap' needs the program bwrap (package bubblewrap)")
        if os.getuid() == 0 and rung in ("landlock", "process") and (barrier := _barrier(os.__file__)):
            raise SandboxError(
                f"the sandbox rung {rung!r} runs candidates as another user, who cannot enter {barrier}, where this Python "
                "lies; use one that all users may read"
            )
        self.rung, self.opened = rung, opened
        self.label = LABELS[rung] if not opened else f"UNPROTECTED (open: {', '.join(sorted(opened))})"
        self.scratch = Path(scratch)
        self._preload, self._devices = preload, devices
        self._binds, self._hide = _binds(gpu=bool(devices), network=network, show=show, hide=hide)
        if self._hide and rung == "landlock":
            raise SandboxError(
                f"the sandbox rung 'landlock' cannot hide {self._hide[0]}, which lies below a folder that candidates must "
                "read; move it elsewhere"
            )
        self._lease: int | None = None
        self._group = None
        self.uid = os.getuid()
        if self.uid == 0 and rung != "bare":
            self._lease, leased = _lease_uid()
            self._clear_leftovers(leased)
            self._group = cgroups.create(f"evolve-{leased}")
            folders = "\n".join(self._group.folders) if self._group else ""
            os.pwrite(self._lease, folders.encode().ljust(4096), 0)  # for whoever leases it next, if we cannot clean up
            self.uid = leased if rung in ("native", "landlock", "process") else 0
        self._launcher: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def private_home(self) -> str:
        """The candidate's HOME where it is a fixed path that mounts can be made in; empty where it is not."""
        return HOME if self.rung in (*NAMESPACED, "bubblewrap") else ""

    def _clear_leftovers(self, uid: int) -> None:
        """Whatever runs under a uid that we have just leased was left by a supervisor that crashed."""
        assert self._lease is not None
        folders = os.pread(self._lease, 4096, 0).decode("utf-8", "replace").split()
        if staying := cgroups.clear([folder for folder in folders if os.path.basename(folder) == f"evolve-{uid}"]):
            raise SandboxError(f"processes {sorted(staying)} of an earlier run do not end")
        system.send_kill_to_all_of(uid)
        for left in Path(tempfile.gettempdir()).glob(f"evolve-{uid}-*"):
            if left.is_dir() and not left.is_symlink() and left.stat().st_uid == uid:
                remove(str(left))

    # ---- the launcher --------------------------------------------------------------------------------------------

    def _start(self) -> socket.socket:
        if self._control is not None and self._launcher is not None and self._launcher.poll() is None:
            return self._control
        self._stop()
        self.scratch.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        configuration = {
            "rung": self.rung,
            "uid": self.uid,
            "scratch": str(self.scratch.absolute()),
            "binds": self._binds,
            "hide": self._hide,
            "devices": list(self._devices),
            "preload": list(self._preload),
            "opened": sorted(self.opened),
            "group": asdict(self._group) if self._group else None,
        }
        self._launcher = subprocess.Popen(
            [*python("evolve.evaluators.sandbox.launcher", bare=self._bare()), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**ENVIRONMENT, **self._gpu_environment()}, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        ours.settimeout(120)
        try:
            ours.send(json.dumps(configuration).encode())
            ready = json.loads(ours.recv(4096) or b"{}")
        except (TimeoutError, OSError, ValueError):
            ready = {}
        if not ready.get("ready"):
            ours.close()
            said = self._last_words()
            self._stop()
            raise SandboxError(f"the sandbox rung {self.rung!r} cannot be set up here: {said}; see 'evolve doctor'")
        ours.settimeout(None)
        self._control = ours
        return ours

    def _bare(self) -> bool:
        return not any(name.split(".")[0] == "evolve" for name in self._preload)

    def _last_words(self) -> str:
        assert self._launcher is not None and self._launcher.stderr is not None
        try:
            self._launcher.wait(2)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()
        lines = self._launcher.stderr.read(8000).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"its launcher ended with {self._launcher.returncode} and said nothing"

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._launcher is not None:
            try:
                self._launcher.wait(1)
            except subprocess.TimeoutExpired:
                self._launcher.kill()
                self._launcher.wait()
            if self._launcher.stderr:
                self._launcher.stderr.close()
            self._launcher = None

    def close(self) -> None:
        """End what runs, give back the uid and the group, remove the scratch folder."""
        self._stop()
        if self._group is not None:
            self._group.kill()
            self._group.remove()
            self._group = None
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None
        remove(str(self.scratch))

    # ---- running -------------------------------------------------------------------------------------------------

    def run(self, command: Command) -> Outcome:
        with self._open(command, None, channel="pipe" if command.frame else "") as session:
            return session.finish(command.stdin)

    def call(self, command: Command, target: str, arguments: tuple[Any, ...]) -> Outcome:
        """Call a Python function of the candidate's, `"program.py:function"`, without starting an interpreter; its
        value comes back in the frame as {"value": ...}. `command.argv` is unused. Raises ValueError for arguments
        that are no JSON."""
        json.dumps(arguments, allow_nan=False)
        with self._open(command, {"target": target, "args": list(arguments)}, channel="pipe") as session:
            return session.finish(command.stdin)

    def open(
        self, command: Command, harness: str, arguments: tuple[Any, ...] = (), descriptors: tuple[int, ...] = ()
    ) -> Session:
        """Start a worker that speaks with the referee over a socket for as long as it lives (up to `command.wall`).

        harness: `"package.module:function"` of ours, preloaded; called in the jail as function(fd, *arguments).
        descriptors: further open files it gets, at 4 and on (at most 4; later ones go with `Session.send`).
        Use as a context manager; no other candidate runs in this sandbox meanwhile.
        """
        return self._open(command, {"harness": harness, "args": list(arguments)}, "socket", descriptors)

    def _open(
        self, command: Command, call: dict[str, Any] | None, channel: str, descriptors: tuple[int, ...] = ()
    ) -> Session:
        control = self._start()
        tree, own = self._tree(command)
        request = self._request(command, call, tree, own)
        request["channel"] = channel
        try:
            exchange = Exchange(control, request, command, channel, self._fail, lambda: self._clean(own), descriptors)
        except OSError as error:
            self._clean(own)
            self._stop()
            raise SandboxError(f"the sandbox's launcher is gone: {error}") from error
        return Session(exchange)

    def _request(self, command: Command, call: dict[str, Any] | None, tree: str, own: str) -> dict[str, Any]:
        files, size = _weigh(Path(tree))
        jailed = self.rung in (*NAMESPACED, "bubblewrap")
        home, tmp = (HOME, "/tmp") if jailed and "mounts" not in self.opened else (f"{own}/home", f"{own}/tmp")
        path = f"{os.path.dirname(sys.executable)}:{ENVIRONMENT['PATH']}"
        hosts = self._hosts(command)
        caches = {"TRITON_HOME": home, "TORCH_HOME": f"{home}/.torch", "TORCHINDUCTOR_CACHE_DIR": f"{tmp}/inductor"}
        return {
            "argv": list(command.argv),
            "call": call,
            "tree": tree,
            "own": own,
            "lower": str(command.lower) if command.lower else "",
            "at": command.at or WORK,
            "small": files <= SMALL_FILES and size <= SMALL_BYTES,
            "cwd": command.cwd,
            "env": {**ENVIRONMENT, **self._gpu_environment(), "HOME": home, "TMPDIR": tmp, "PATH": path,
                    **(caches if self._devices else {}), **(network.environment() if hosts else {}), **command.env},
            "wall": command.wall,
            "limits": asdict(command.limits),
            "mounts": [asdict(mount) for mount in command.mounts],
            "network": ANYWHERE in command.network or (self.rung == "bare" and bool(command.network)),
            "hosts": hosts,
        }

    def _hosts(self, command: Command) -> list[list[Any]]:
        """(host, port) for all that a command may reach through the proxy. Raises SandboxError where the rung cannot hold a
        candidate to them: it would have to open the network whole."""
        if not command.network or ANYWHERE in command.network or self.rung == "bare":
            return []
        if self.rung not in NAMESPACED:
            raise SandboxError(
                f"the sandbox rung {self.rung!r} cannot hold a candidate to the hosts named in [environment] network "
                f"({', '.join(command.network)}); only {' and '.join(NAMESPACED)} can. network = [{ANYWHERE!r}] opens it whole"
            )
        return [[host, port] for entry in command.network for host, ports in [host_ports(entry)] for port in ports]

    def _gpu_environment(self) -> dict[str, str]:
        return {k: os.environ[k] for k in _GPU_VARIABLES if k in os.environ} if self._devices else {}

    def _fail(self, message: str) -> SandboxError:
        self._stop()
        return SandboxError(f"sandbox rung {self.rung!r}: {message}")

    def _tree(self, command: Command) -> tuple[str, str]:
        """The tree's folder and, where no mount namespace gives the candidate a private place, a folder of its own
        with a copy of the tree, a home and a tmp, removed afterwards."""
        if self.rung in NAMESPACED and "mounts" not in self.opened:
            return str(Path(command.tree).absolute()), ""
        own = tempfile.mkdtemp(prefix=self._prefix, dir=self._parent())
        for name in ("tree", "home", "tmp"):
            os.mkdir(f"{own}/{name}")
        if command.lower:
            shutil.copytree(command.lower, f"{own}/tree", symlinks=True, dirs_exist_ok=True)
        _copy_over(str(command.tree), f"{own}/tree")
        if self.uid != os.getuid():
            for folder, folders, names in os.walk(own):
                for path in (folder, *(os.path.join(folder, name) for name in (*folders, *names))):
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)
        return f"{own}/tree", own

    @property
    def _prefix(self) -> str:
        return f"evolve-{self.uid}-"

    def _parent(self) -> str:
        """Where a candidate's folder goes: another user must have a path to it, which our own scratch may not give."""
        if self.uid != os.getuid():
            return tempfile.gettempdir()
        self.scratch.mkdir(parents=True, exist_ok=True)
        return str(self.scratch.absolute())

    def _clean(self, own: str) -> None:
        if own:
            remove(own)


_BARE = """
import types
for _name in ("evolve", "evolve.evaluators", "evolve.evaluators.sandbox"):
    sys.modules[_name] = types.ModuleType(_name)
    sys.modules[_name].__path__ = [{root!r} + _name.replace(".", "/")]
"""


def python(module: str, *, bare: bool = False) -> list[str]:
    """A command line that runs one of our modules in a fresh isolated interpreter, wherever we are imported from.

    bare: the packages above it are not executed, only found in. A launcher needs none of what they import, and each
    of its forks would copy the page tables of it: 1.4 ms of CPU time a fork with them, 0.9 without.
    """
    root = str(Path(__file__).parents[3])
    start = f"import sys; sys.path.append({root!r}); import runpy; "
    if bare:
        start += _BARE.format(root=f"{root}/")
    start += f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-I", "-c", start]


def _barrier(path: str) -> str:
    """The first folder on the way to a file that not everyone may enter; empty where there is none."""
    for folder in reversed(Path(os.path.realpath(path)).parents):
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return ""


def remove(folder: str) -> None:
    """Remove a folder that a candidate wrote to, however deep it is nested and whatever rights are on it."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except (OSError, RecursionError):
        for words in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            subprocess.run([*words, "--", folder], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _copy_over(source: str, target: str) -> None:
    """Copy a tree over what setup left, whatever kind of thing is in the way."""
    for entry in os.scandir(source):
        into = f"{target}/{entry.name}"
        if os.path.islink(into) or os.path.isfile(into):
            os.unlink(into)
        if entry.is_dir(follow_symlinks=False):
            os.makedirs(into, exist_ok=True)
            _copy_over(entry.path, into)
        elif not entry.is_symlink():
            shutil.copyfile(entry.path, into)
            os.chmod(into, 0o755 if entry.stat().st_mode & 0o100 else 0o644)
        else:
            os.symlink(os.readlink(entry.path), into)


def _binds(*, gpu: bool, network: bool, show: tuple[str, ...], hide: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What a jail shows read-only: the system's toolchain and this Python with its packages; and what it hides of that."""
    prefixes = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)} | {sys.prefix}
    wanted = list(_TOOLCHAIN)
    if gpu:
        wanted = [path for path in wanted if not path.startswith("/sys")] + list(_FOR_A_GPU)
    if network:
        wanted += _FOR_A_NETWORK
    for path in (*sorted(prefixes), *show):
        if os.path.exists(path) and not any(_below(path, known) for known in wanted):
            wanted.append(path)
    binds = [path for path in wanted if os.path.lexists(path)]
    hidden = _shown(hide, [*binds, *prefixes])
    again = [p for p in (*prefixes, *show) if os.path.exists(p) and any(_below(p, folder) for folder in hidden)]
    return [*binds, *(path for path in again if path not in binds)], hidden


def _shown(hide: tuple[str, ...], binds: list[str]) -> list[str]:
    """Of the folders to hide, those that lie below a bind, outermost first; none that is itself one (an interpreter's)."""
    real = sorted({os.path.realpath(path) for path in hide if os.path.isdir(path)})
    folders = [os.path.realpath(bind) for bind in binds]
    return [path for path in real if path not in folders and any(_below(path, folder) for folder in folders)]


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _weigh(tree: Path) -> tuple[int, int]:
    files = size = 0
    for folder, _, names in os.walk(tree):
        files += len(names)
        if files > 10_000:
            break
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return files, size


def _lease_uid() -> tuple[int, int]:
    """A uid that no other sandbox on this machine uses now, held by a file lock until closed."""
    folder = Path("/run/evolve-uids") if os.access("/run", os.W_OK) else Path(tempfile.gettempdir()) / "evolve-uids"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != 0 or folder.is_symlink():
        raise SandboxError(f"{folder} is not ours; remove it")
    for uid in range(FIRST_UID, FIRST_UID + UIDS):
        lock = os.open(folder / str(uid), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return lock, uid
    raise SandboxError(f"all {UIDS} sandbox user ids are taken; other runs hold them")


__all__ = ["LABELS", "WALLS", "LocalSandbox", "python"]
