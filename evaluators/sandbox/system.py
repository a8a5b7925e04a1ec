"""The system calls a jail needs, by ctypes: no compiled extension. Linux; x86-64 and arm64. Standard library only."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP = 0x10000000, 0x20000000, 0x40000000, 0x02000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_SECCOMP = 38, 36, 22
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_libc = ctypes.CDLL(None, use_errno=True)
_MACHINE = platform.machine()

_NUMBERS = {  # name -> (x86-64, arm64)
    "pivot_root": (155, 41),
    "seccomp": (317, 277),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "pidfd_getfd": (438, 438),
    "clone3": (435, 435),
    "syslog": (103, 116),
    "quotactl": (179, 60),
}


def number(name: str) -> int:
    """System call number on this machine. Raises OSError on an architecture not listed."""
    if _MACHINE not in ("x86_64", "aarch64"):
        raise OSError(f"no table of system calls for {_MACHINE}")
    return _NUMBERS[name][_MACHINE == "aarch64"]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {source} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(target.encode(), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    _check(_libc.syscall(number("pivot_root"), new.encode(), old.encode()), "pivot_root")


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
    arguments = [ctypes.c_ulong(x) for x in (a, b, c, d)]
    _check(_libc.prctl(option, *arguments), f"prctl {option}")


def drop_bounding_set() -> None:
    """No capability can be gained again, whatever is executed."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            return  # past the kernel's last capability


# ---- seccomp ---------------------------------------------------------------------------------------------------------

_DENIED = tuple(name for name in _NUMBERS if name not in ("seccomp", "clone3"))
_EPERM, _ENOSYS, _ALLOW, _KILL = 0x00050001, 0x00050026, 0x7FFF0000, 0x80000000
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
)


def filter_program() -> bytes:
    """Classic BPF: kill on a foreign architecture, EPERM on the denied calls and on clone with a namespace flag."""
    code: list[tuple[int, int, int, int]] = [
        (0x20, 0, 0, 4),  # load arch
        (0x15, 1, 0, _ARCH[_MACHINE]),
        (0x06, 0, 0, _KILL),
        (0x20, 0, 0, 0),  # load number
    ]
    if _MACHINE == "x86_64":  # the x32 table doubles every call under another number
        code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, _EPERM)]
    for name in _DENIED:
        code += [(0x15, 0, 1, number(name)), (0x06, 0, 0, _EPERM)]
    # clone3 keeps its flags in memory, where a filter cannot look; the C library falls back to clone
    code += [(0x15, 0, 1, number("clone3")), (0x06, 0, 0, _ENOSYS)]
    code += [
        (0x15, 0, 3, _CLONE[_MACHINE]),
        (0x20, 0, 0, 16),  # first argument, low half: the flags
        (0x45, 0, 1, _NAMESPACES),
        (0x06, 0, 0, _EPERM),
        (0x06, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *row) for row in code)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def seccomp() -> None:
    """Install the filter on this process and its children. no_new_privs must be set."""
    program = filter_program()
    buffer = ctypes.create_string_buffer(program, len(program))
    packed = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _check(_libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(packed), 0, 0), "seccomp")
