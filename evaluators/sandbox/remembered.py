"""That a rung held in its self-test here, remembered until anything that could change the answer does.

A self-test takes half a second, and every start of the command line would pay it. What is kept is only *that a rung
held*, in a file of the user's own (mode 0600 in a folder 0700 below the user's cache folder), under the facts it was
found with: this boot, this kernel, this user id, these capabilities, namespaces and control groups, this interpreter,
and a digest of our own code. A rung that did not hold is tried again each time, and `evolve doctor` always tries.

No jailed candidate sees the folder. One that was run with --unsafe has the user's rights and could write to it, as it
could to everything else of the user's. Each candidate's jail is built all the same: a rung that can no longer be set up
stops the run whatever is remembered.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

_NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")
_POLICY = (
    "/proc/sys/kernel/random/boot_id", "/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/self/attr/current", "/proc/self/cgroup", "/sys/kernel/security/lsm",
)  # fmt: skip
"""Files of the kernel's that say what this process may do."""

_RIGHTS = ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd")
"""Lines of /proc/self/status."""

_LARGEST = 1 << 14


def folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "evolve" / "sandbox"


def facts(rung: str) -> dict[str, Any]:
    """All that the answer rests on, as far as it can be read."""
    return {
        "rung": rung, "code": _code(), "kernel": [platform.release(), platform.version(), platform.machine()],
        "python": [os.path.realpath(sys.executable), sys.prefix, sys.version],
        "namespaces": [_link(f"/proc/self/ns/{name}") for name in _NAMESPACES],
        "policy": {path: _text(path) for path in _POLICY},
        "rights": [line for line in _text("/proc/self/status").splitlines() if line.split(":")[0] in _RIGHTS],
        "bubblewrap": _stamp() if rung == "bubblewrap" else "", "temp": tempfile.gettempdir(),
    }  # fmt: skip


def holds(rung: str) -> bool:
    """Whether the rung passed its self-test under the very facts of now. False whenever that cannot be told for sure."""
    record = _read(folder() / f"{rung}.json")
    return record is not None and record.get("facts") == facts(rung) and record.get("available") is True


def remember(rung: str, available: bool) -> None:
    """Keep that a rung held; forget it where it did not. Where nothing can be kept, the next start tries again."""
    place = folder() / f"{rung}.json"
    try:
        if not available:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _ours(os.lstat(place.parent), stat.S_ISDIR):
            return
        handle, partial = tempfile.mkstemp(dir=place.parent, prefix=f".{rung}-")  # mode 0600
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"facts": facts(rung), "available": True}, file)
        os.rename(partial, place)
    except OSError:
        return


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if not _ours(os.lstat(path.parent), stat.S_ISDIR):
            return None
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if not _ours(found, stat.S_ISREG) or found.st_nlink != 1 or found.st_size > _LARGEST:
            return None
        record = json.loads(os.read(handle, _LARGEST))
    except (ValueError, RecursionError):
        return None
    finally:
        os.close(handle)
    return record if isinstance(record, dict) else None


def _ours(found: os.stat_result, kind: Any) -> bool:
    """Of the wanted kind, this user's own, and nobody else's to read or write."""
    return bool(kind(found.st_mode)) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


@functools.cache
def _code() -> str:
    """Digest of every file of this package: another version of the jail has shown nothing yet."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        digest.update(f"{path.name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def _stamp() -> list[Any]:
    from evolve.evaluators.sandbox import bubble

    path = bubble.program()
    if path is None:
        return []
    found = os.stat(path)
    return [path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        return f"errno {error.errno}"


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        return f"errno {error.errno}"
