"""The candidate's own root: what is mounted where. Runs in the launcher and in a candidate's init. Standard library only.

    /usr /bin /lib ...   the system's toolchain and this Python, read-only
    /proc                of the candidate's own pid namespace
    /dev                 null zero full random urandom, a GPU's nodes where asked for
    /work (or `at`)      the candidate's tree: a copy where small, an overlay where large or where setup left something
    HOME /tmp /dev/shm   private; with the tree one tmpfs, bounded in bytes and inodes
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
from typing import Any

from evolve.evaluators.sandbox import system

Request = dict[str, Any]

SMALL_FILES, SMALL_BYTES = 200, 8 << 20
"""A tree up to this is copied into the jail; a larger one becomes the lower layer of an overlay."""

NAMESPACED = ("native", "userns")

WORK = "/work"
"""Where a candidate sees its tree, unless its command says another place."""

HOME = "/home/candidate"


def prepare(configuration: Request) -> str:
    """A read-only root in a mount namespace of the launcher's own. Returns its path; candidates' roots start from it."""
    if configuration["rung"] == "userns":
        _own_user_namespace()
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", "", system.MS_REC | system.MS_PRIVATE)
    base: str = configuration["scratch"] + "/root"
    os.makedirs(base, exist_ok=True)
    system.mount("tmpfs", base, "tmpfs", system.MS_NOSUID, "size=4m,mode=755")
    for name in ("proc", "dev", "work", "tmp", HOME[1:], "rw", "etc", "old", "dev/shm"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    for path in configuration["binds"]:
        bind(base, path)
    for name in ("null", "zero", "full", "random", "urandom"):
        bind(base, f"/dev/{name}", read_only=False)
    for path in configuration.get("devices", ()):
        bind(base, path, read_only=False)
    links = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"))
    for link, target in links:
        os.symlink(target, f"{base}/dev/{link}")
    uid = configuration["uid"]
    for name, text in (
        ("passwd", f"root:x:0:0::/:/bin/sh\ncandidate:x:{uid}:{uid}::{HOME}:/bin/sh\n"),
        ("group", f"root:x:0:\ncandidate:x:{uid}:\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ):
        with open(f"{base}/etc/{name}", "w") as file:
            file.write(text)
    return base


def _own_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    system.unshare(system.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def bind(base: str, path: str, *, read_only: bool = True, target: str = "") -> None:
    """Show a host path inside; a symlink is recreated as it is; what is not there is left out."""
    inside = base + (target or path)
    if os.path.islink(path) and not target:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        if not os.path.lexists(inside):
            os.symlink(os.readlink(path), inside)
        return
    if not os.path.exists(path):
        return
    if os.path.isdir(path):
        os.makedirs(inside, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        if not os.path.exists(inside):
            os.close(os.open(inside, os.O_CREAT | os.O_RDONLY))
    system.mount(path, inside, "", system.MS_BIND | system.MS_REC)
    if read_only:
        try:
            system.make_read_only(inside)
        except OSError:  # before Linux 5.12: this mount alone, so nothing may be mounted below it
            system.umount(inside)
            system.mount(path, inside, "", system.MS_BIND)
            flags = system.MS_REMOUNT | system.MS_BIND | system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV
            system.mount("none", inside, "", flags)


def build(request: Request) -> None:
    """In the candidate's init, in its new namespaces: private places to write, its tree, /proc, then pivot_root."""
    base, limits, opened = request["base"], request["limits"], request["opened"]
    if "mounts" in opened:
        return _open_mounts(request)
    system.unshare(system.CLONE_NEWNS)
    bound = "" if "disk" in opened else f"size={limits['disk']},nr_inodes={limits['inodes']},"
    system.mount("tmpfs", f"{base}/rw", "tmpfs", system.MS_NOSUID | system.MS_NODEV, f"{bound}mode=755")
    places = (("work", 0o755), ("tmp", 0o1777), ("home", 0o755), ("shm", 0o1777), ("upper", 0o755), ("layer", 0o755))
    for name, mode in places:
        os.mkdir(f"{base}/rw/{name}", mode)
        os.chmod(f"{base}/rw/{name}", mode)
        _give(f"{base}/rw/{name}", request)
    for name, place in (("tmp", "tmp"), ("home", HOME[1:]), ("shm", "dev/shm")):
        if f"private {name}" in opened:
            bind(base, f"/{place}", read_only=False)
        else:
            system.mount(f"{base}/rw/{name}", f"{base}/{place}", "", system.MS_BIND)
    at = request["at"]
    hidden = [path for path in request["hide"] if os.path.isdir(base + path)]
    for path in hidden:
        system.mount("tmpfs", base + path, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "size=64k,mode=755")
    if at != WORK:
        os.makedirs(base + at, exist_ok=True)
    _bring_tree(request, f"{base}/rw", base + at)
    for mount in request["mounts"]:
        target = mount.get("target") or mount["source"]
        if target.startswith(HOME + "/"):
            _own_folders(f"{base}/rw/home", target.removeprefix(HOME + "/"), request)
        bind(base, mount["source"], read_only=not mount.get("writable"), target=target)
    for path in request["binds"]:  # an interpreter may live below a place that has just been covered
        if path.startswith(("/tmp/", "/dev/shm/", HOME + "/", at + "/", *(f"{folder}/" for folder in hidden))):
            bind(base, path)
    system.mount("proc", f"{base}/proc", "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    os.chdir(base)
    system.pivot_root(".", "old")
    if "old root" not in opened:
        system.umount("/old")
    if "read-only" not in opened:
        for path in ("/", *hidden):
            system.mount("none", path, "", system.MS_REMOUNT | system.MS_BIND | system.MS_RDONLY | system.MS_NOSUID)
    if not request["network"] and "network" not in opened:
        loopback_up()


def _open_mounts(request: Request) -> None:
    """The wall "mounts" left out, for the attack tests only: the host's own root, with the tree where it is."""
    system.unshare(system.CLONE_NEWNS)
    system.mount("proc", "/proc", "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    request["base"] = ""


def _own_folders(home: str, path: str, request: Request) -> None:
    """Folders of a mount point inside HOME belong to the candidate, so that it can make siblings of the mount."""
    at = home
    for part in path.split("/")[:-1]:
        at = f"{at}/{part}"
        if not os.path.isdir(at):
            os.mkdir(at, 0o755)
            _give(at, request)


def _give(path: str, request: Request) -> None:
    if request["rung"] == "native":
        os.chown(path, request["uid"], request["uid"], follow_symlinks=False)


def _bring_tree(request: Request, rw: str, place: str) -> None:
    """The candidate's files, writable, its own: copied where small, an overlay where large.

    `lower`, what the environment's setup left, lies beneath. Its folders are writable for all (its parents are not),
    so no file of it has to change hands; what the candidate writes goes to its own upper layer.
    """
    tree, lower = request["tree"], request["lower"]
    if request["small"] and not lower:
        copy(tree, f"{rw}/work", request["uid"] if request["rung"] == "native" else -1)
        system.mount(f"{rw}/work", place, "", system.MS_BIND)
        return
    layers = ":".join(_escaped(path) for path in (tree, lower) if path)
    options = f"lowerdir={layers},upperdir={_escaped(rw)}/upper,workdir={_escaped(rw)}/layer"
    system.mount("overlay", place, "overlay", 0, options + (",userxattr" if request["rung"] == "userns" else ""))


def _escaped(path: str) -> str:
    """A path within overlayfs's options, where comma and colon separate."""
    for sign in ("\\", ",", ":"):
        path = path.replace(sign, "\\" + sign)
    return path


def copy(source: str, target: str, uid: int = -1) -> None:
    """Copy a folder's files and symlinks (as they are) into an existing folder; uid -1: owners stay ours."""
    for entry in os.scandir(source):
        into = f"{target}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), into)
        elif entry.is_dir():
            os.mkdir(into, 0o755)
            copy(entry.path, into, uid)
        else:
            shutil.copyfile(entry.path, into)
            os.chmod(into, 0o755 if entry.stat().st_mode & 0o100 else 0o644)
        if uid >= 0:
            os.chown(into, uid, uid, follow_symlinks=False)


def loopback_up() -> None:
    """A fresh network namespace has its loopback down, and honest programs talk to themselves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(device, 0x8913, request))[1]
        fcntl.ioctl(device, 0x8914, struct.pack("16sH14s", b"lo", flags | 1, b""))
