"""The bubblewrap rung: for machines whose policy lets only a known helper make user namespaces. Standard library only."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import filters
from evolve.evaluators.sandbox.jail import HOME

Request = dict[str, Any]

_INNER = 'cp -RP /in/. "$0"/ && cd "$0/$1" && shift && exec "$@"'


def program() -> str | None:
    """Path of bubblewrap, or None."""
    return shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")


def wrap(request: Request) -> tuple[list[str], tuple[int, ...]]:
    """bubblewrap's command line for a request, and the descriptor of the filter it installs.

    The filter's descriptor is the first one free after the candidate's own: 0, 1, 2, the channel's, and what a session
    passes on.
    """
    limits, at = request["limits"], request["at"]
    argv = [program() or "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    argv += ["--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"]
    if os.getuid() == 0:
        argv += ["--uid", "65534", "--gid", "65534"]
    if request["network"]:
        argv.append("--share-net")
    share = str(max(limits["disk"] // 4, 1 << 20))
    for place in ("/tmp", HOME, "/dev/shm"):
        argv += ["--size", share, "--tmpfs", place]
    for path in request["binds"]:
        argv += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]
    for path in request["hide"]:
        argv += ["--size", "65536", "--tmpfs", path]
        for inner in (inner for inner in request["binds"] if inner.startswith(path + "/")):
            argv += ["--ro-bind-try", inner, inner]
    for path in request["devices"]:
        argv += ["--dev-bind-try", path, path]
    argv += ["--size", str(limits["disk"]), "--tmpfs", at, "--ro-bind", request["tree"], "/in"]
    for mount in request["mounts"]:
        kind = "--bind" if mount.get("writable") else "--ro-bind"
        argv += [kind, mount["source"], mount.get("target") or mount["source"]]
    filter_end = request["descriptors"]
    _put_filter(request, filter_end)
    argv += ["--seccomp", str(filter_end), "--remount-ro", "/"]
    for path in request["hide"]:
        argv += ["--remount-ro", path]
    argv += ["--", "/bin/sh", "-c", _INNER, at, request["cwd"]]
    return [*argv, *_inner(request)], (filter_end,)


def _inner(request: Request) -> list[str]:
    if request.get("call") is None:
        return list(request["argv"])
    source = Path(__file__).with_name("worker.py").read_text(encoding="utf-8")
    return [sys.executable, "-I", "-c", source + "\nmain()\n", json.dumps(request["call"])]


def _put_filter(request: Request, at: int) -> None:
    from evolve.evaluators.sandbox.launcher import policy

    handle = os.memfd_create("filter")
    os.write(handle, filters.program(policy(request)))
    os.lseek(handle, 0, os.SEEK_SET)
    os.dup2(handle, at)
    if handle != at:
        os.close(handle)
