"""Runs one command and leaves nothing of it behind: `python leash.py SECONDS COMMAND...`. Standard library only.

The leash adopts whatever the command orphans (a child subreaper), so a daemon it forks is still its descendant. When
the command ends, its time is over, or the leash is told to stop or loses its parent, every descendant is killed.
Exit code: the command's, 124 after its time, 125 where it could not be started, 128 + N where a signal ended it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def descendants() -> list[int]:
    """Ids of every process below this one, from /proc."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended meanwhile
    below, found = {os.getpid()}, []
    grew = True
    while grew:
        grew = False
        for pid, parent in parents.items():
            if parent in below and pid not in below:
                below.add(pid)
                found.append(pid)
                grew = True
    return found


def kill_all() -> None:
    """Kill every descendant until none is left: one may fork while it is looked for."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        left = descendants()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                return
        time.sleep(0.01)


def main(arguments: list[str]) -> int:
    seconds, command = float(arguments[0]), arguments[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    child = os.fork()
    if child == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(125)
    until = time.monotonic() + seconds
    code = 124
    while time.monotonic() < until and not stopped and os.getppid() == parent:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        _reap(child)
        time.sleep(0.02)
    kill_all()
    return 143 if stopped else code if code >= 0 else 128 - code


def _reap(child: int) -> None:
    """Orphans that were adopted and ended, but not the command itself."""
    for pid in descendants():
        if pid != child:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
