"""What the start-up self-test runs inside a rung. Each attack is tried and named; whether it had an effect is looked at
from outside (ladder.py). Standard library only, and no import of ours: it is copied into the jail as a candidate."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import time
from typing import Any


def attack(facts: dict[str, Any]) -> dict[str, Any]:
    """Try everything once. {"tried": names, "read": what was read or got, by name}."""
    tried: list[str] = []
    got: dict[str, Any] = {}
    for name, attempt in ATTACKS.items():
        try:
            got[name] = attempt(facts)
        except OSError as error:
            got[name] = f"errno {error.errno}"
        tried.append(name)
    return {"tried": tried, "got": got}


def _read(facts: dict[str, Any]) -> str:
    with open(facts["secret"]) as file:
        return file.read()


def _environment(facts: dict[str, Any]) -> str:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    found = file.read()
            except OSError:
                continue
            if facts["marker"].encode() in found:
                return str(facts["marker"])
    return ""


def _write(facts: dict[str, Any]) -> None:
    with open(facts["planted"], "w") as file:
        file.write("x")


def _daemon(facts: dict[str, Any]) -> None:
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(15, facts["daemon"].encode(), 0, 0, 0)  # its name, to be seen by
                time.sleep(5)
        finally:
            os._exit(0)
    os.wait()


def _connect(facts: dict[str, Any]) -> None:
    with socket.create_connection(("127.0.0.1", facts["port"]), 1) as connection:
        connection.send(b"tcp")


def _abstract(facts: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + facts["abstract"])
        connection.send(b"unix")


def _signal(facts: dict[str, Any]) -> None:
    os.kill(facts["victim"], signal.SIGTERM)


def _limit(facts: dict[str, Any]) -> None:
    resource.prlimit(facts["other"], resource.RLIMIT_NOFILE, (77, 77))


def _leave_files(facts: dict[str, Any]) -> None:
    for folder in ("/tmp", "/dev/shm"):
        with open(f"{folder}/{facts['daemon']}", "w") as file:
            file.write("x")


def _namespace(facts: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(0x10000000) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def spawn(facts: dict[str, Any]) -> int:
    """More processes than allowed: how many there were at once. May be ended for it."""
    children: list[int] = []
    try:
        while len(children) < facts["processes"] + 40:
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


ATTACKS = {
    "read a private file": _read,
    "read another process's environment": _environment,
    "write outside": _write,
    "leave a daemon": _daemon,
    "connect to this machine": _connect,
    "connect to an abstract socket": _abstract,
    "signal another process": _signal,
    "change another process's limits": _limit,
    "leave files for the next": _leave_files,
    "make a user namespace": _namespace,
}


def eat(facts: dict[str, Any]) -> str:
    """A tree of processes, each within a per-process limit, that together take three times what is allowed."""
    for _ in range(6):
        if os.fork() == 0:
            block = bytearray(facts["memory"] // 2)
            block[::4096] = b"x" * len(block[::4096])
            time.sleep(1.0)
            os._exit(0)
    for _ in range(6):
        os.wait()
    return "eaten"
