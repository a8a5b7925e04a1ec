"""seccomp: which system calls a candidate may not make. Classic BPF written by hand. Standard library only."""

from __future__ import annotations

import ctypes
import functools
import struct
from dataclasses import dataclass

from evolve.evaluators.sandbox import system

_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16

ALWAYS = (
    "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "memfd_secret", "mount", "mount_setattr",
    "move_mount", "move_pages", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd",
    "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "reboot",
    "request_key", "sethostname", "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare",
    "userfaultfd",
)  # fmt: skip
"""Denied in every rung but "bare": new namespaces and mounts, other processes' memory, keys (which outlive a process),
kernel programs, clocks, and large attack surfaces that honest programs do without (io_uring, userfaultfd)."""

SYSTEM_V = ("shmget", "semget", "msgget", "mq_open")
"""Denied where there is no IPC namespace: what they make outlives the process."""

OTHERS = ("sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "prlimit64")
"""Denied for another process than the caller where there is no pid namespace: Landlock does not look at them."""

_NAMESPACES = (
    system.CLONE_NEWNS | system.CLONE_NEWUTS | system.CLONE_NEWIPC | system.CLONE_NEWUSER | system.CLONE_NEWPID
    | system.CLONE_NEWNET | system.CLONE_NEWCGROUP
)  # fmt: skip

_RLIMIT_CORE = 4
"""Its limit of 1 stays: calls that would change it do nothing and say that all is well. A machine that pipes core dumps to a
handler (systemd-coredump, apport) runs it, as root and outside the jail, at every other limit, 0 included."""

_TERMINAL = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into a terminal that someone else reads."""


@dataclass(frozen=True, slots=True)
class Policy:
    """families: socket address families allowed. shared: no IPC namespace stands between us and others. others: a
    process of the same user that is not the candidate's can be named (no pid namespace, or the jail's own init).
    deaf: sockets may be made but not connected, and local ones only of the kinds that cannot send unconnected (NVIDIA's
    driver binds and listens on one of kind SEQPACKET; this machine's services must stay out of reach).
    memfd: whether anonymous files are allowed (they are memory that only a cgroup can count).
    """

    families: tuple[int, ...] = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)
    shared: bool = False
    others: bool = False
    deaf: bool = False
    memfd: bool = True


Row = tuple[int, int, int, int]


@functools.cache
def program(policy: Policy) -> bytes:
    """The filter: kill on a foreign architecture, EPERM on what is denied, all else allowed."""
    rows: list[Row] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCH[system.MACHINE]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if system.MACHINE == "x86_64":  # the x32 table doubles every call under another number
        rows += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    denied = [*ALWAYS, *(SYSTEM_V if policy.shared else ()), *(() if policy.memfd else ("memfd_create",))]
    for name in denied:
        if (call := system.number(name)) >= 0:
            rows += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    # clone3 keeps its flags in memory, where a filter cannot look; the C library falls back to clone
    rows += [(_EQUAL, 0, 1, system.number("clone3")), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    rows += _block("clone", 0, [(_ANY_BIT, 0, 1, _NAMESPACES), (_RETURN, 0, 0, _ERRNO | _EPERM)])
    rows += _block("ioctl", 1, [row for code in _TERMINAL for row in _deny(code)])
    families: list[Row] = [row for family in policy.families for row in ((_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW))]
    if policy.deaf:
        rows += [(_EQUAL, 0, 1, system.number("connect")), (_RETURN, 0, 0, _ERRNO | _EPERM)]
        stream = [(_LOAD, 0, 0, 24), (_AND, 0, 0, 0xF), *_allow(1), *_allow(5)]  # SOCK_STREAM, SOCK_SEQPACKET
        families += [(_EQUAL, 0, len(stream), AF_UNIX), *stream]
    rows += _block("socket", 0, [*families, (_RETURN, 0, 0, _ERRNO | _EAFNOSUPPORT)])
    rows += _block("setrlimit", 0, [(_EQUAL, 0, 1, _RLIMIT_CORE), (_RETURN, 0, 0, _ERRNO)])
    if_given = [(_LOAD, 0, 0, 32), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, 36), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ERRNO)]
    rows += _block("prlimit64", 1, [(_EQUAL, 0, len(if_given), _RLIMIT_CORE), *if_given])
    if policy.others:
        for name in OTHERS:
            rows += _block(name, 0, [(_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ERRNO | _EPERM)])
        own = [(_EQUAL, 0, 3, 0), (_LOAD, 0, 0, 24), (_EQUAL, 0, 1, 0), (_RETURN, 0, 0, _ALLOW)]
        rows += _block("setpriority", 0, [*own, (_RETURN, 0, 0, _ERRNO | _EPERM)])
    rows.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *row) for row in rows)


def _allow(value: int) -> tuple[Row, Row]:
    return (_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)


def _deny(value: int) -> tuple[Row, Row]:
    return (_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ERRNO | _EPERM)


def _block(name: str, argument: int, rows: list[Row]) -> list[Row]:
    """`rows` for one call, with its argument's low half loaded before and the call's number again after."""
    body = [(_LOAD, 0, 0, 16 + 8 * argument), *rows, (_LOAD, 0, 0, 0)]
    return [(_EQUAL, 0, len(body), system.number(name)), *body]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(policy: Policy) -> None:
    """Put the filter on this process and its children, for good. no_new_privs must be set. Raises OSError."""
    text = program(policy)
    buffer = ctypes.create_string_buffer(text, len(text))
    packed = _Program(len(text) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    system.check(libc.prctl(system.PR_SET_SECCOMP, 2, ctypes.byref(packed), 0, 0), "seccomp")
