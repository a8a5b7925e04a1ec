"""Landlock by system call: which paths, ports and processes a candidate may reach. Standard library only."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from evolve.evaluators.sandbox import system

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

NEEDED = 6
"""The first ABI (Linux 6.12) that keeps a process from signalling others and from their abstract sockets."""


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return system.syscall("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def restrict(
    read: Iterable[str], write: Iterable[str], devices: Iterable[str] = (), *, names: Iterable[str] = (), network: bool = False
) -> None:
    """Confine this process and its children, for good. no_new_privs must be set.

    read: folders and files to read and execute. write: to read, write and execute. devices: device nodes to use, with
    ioctl. names: files to write to only. network: TCP stays open. Raises OSError where the kernel is too old.
    """
    version = abi()
    if version < NEEDED:
        raise OSError(f"Landlock ABI {version}, {NEEDED} is needed (Linux 6.12)")
    every = (1 << 16) - 1
    ruleset = struct.pack("QQQ", every, 0 if network else 0b11, 0b11)
    handle = system.syscall("landlock_create_ruleset", ruleset, len(ruleset), 0)
    try:
        for paths, rights in ((read, READ), (write, every & ~IOCTL_DEV), (names, WRITE_FILE | TRUNCATE),
                              (devices, READ_FILE | WRITE_FILE | IOCTL_DEV)):  # fmt: skip
            for path in paths:
                _allow(handle, path, rights)
        system.syscall("landlock_restrict_self", handle, 0)
    finally:
        os.close(handle)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there, or not ours to see, needs no right
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        system.syscall("landlock_add_rule", ruleset, 1, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)
