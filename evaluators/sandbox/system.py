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

_libc = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()

_NUMBERS = {  # name -> (x86-64, arm64); -1: the architecture has no such call
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setrlimit": (160, 164),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}


def number(name: str) -> int:
    """System call number on this machine; -1 where it has none. Raises OSError on an architecture not listed."""
    if MACHINE not in ("x86_64", "aarch64"):
        raise OSError(f"no table of system calls for {MACHINE}")
    return _NUMBERS[name][MACHINE == "aarch64"]


def check(result: int, what: str) -> int:
    """`result`, or OSError with the errno the C library left."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    """A raw system call. Raises OSError."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(_libc.syscall(ctypes.c_long(number(name)), *wide), name)


def unshare(flags: int) -> None:
    check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), os.fsencode(data) or None
    )
    check(result, f"mount {source} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def make_read_only(target: str, *, devices: bool = False) -> None:
    """A mount and every mount below it read-only, without set-uid programs, and without devices unless asked for.

    Raises OSError on a kernel before 5.12, which cannot do it for a whole subtree.
    """
    read_only, no_suid, no_dev = 0x1, 0x2, 0x4
    attributes = struct.pack("QQQQ", read_only | no_suid | (0 if devices else no_dev), 0, 0, 0)
    recursive, here = 0x8000, -100
    syscall("mount_setattr", here, os.fsencode(target), recursive, attributes, len(attributes))


def pivot_root(new: str, old: str) -> None:
    syscall("pivot_root", os.fsencode(new), os.fsencode(old))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
    arguments = [ctypes.c_ulong(x) for x in (a, b, c, d)]
    check(_libc.prctl(option, *arguments), f"prctl {option}")


def drop_bounding_set() -> None:
    """No capability can be gained again, whatever is executed."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            return  # past the kernel's last capability


def drop_capabilities() -> None:
    """In a user namespace of its own a process keeps its uid and must let its capabilities go by hand (capset)."""
    header = struct.pack("Ii", 0x20080522, 0)
    check(_libc.capset(header, struct.pack("6I", 0, 0, 0, 0, 0, 0)), "capset")


def open_beneath(folder: int, path: str) -> int:
    """Open a file below the folder descriptor for reading, refusing every symlink and every way out (openat2).

    A FIFO or device does not block: O_NONBLOCK is set. Raises OSError.
    """
    no_magic, no_symlinks, beneath = 0x02, 0x04, 0x08
    how = struct.pack("QQQ", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0, no_magic | no_symlinks | beneath)
    return syscall("openat2", folder, os.fsencode(path), how, len(how))


def send_kill_to_all_of(uid: int) -> None:
    """SIGKILL every process of a user id at once: the kernel walks the list of processes under its lock, so that no
    fork escapes. Only for a uid that nobody else has. Raises PermissionError where we are not root."""
    if uid <= 0:
        raise PermissionError("uid 0 is never swept")
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, 9)
        except ProcessLookupError:
            pass
        finally:
            os._exit(0)
    os.waitpid(child, 0)
