"""Which file a name in an answer means."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from evolve.edits.change import Malformed

_ROOTS = ("/repo/", "/workspace/", "/app/", "/testbed/", "/project/", "/")
"""Folders that agents' prompts call the repository's root."""

_PATH = re.compile(
    r"^[\w@+-][\w@+. /-]*\.[A-Za-z0-9_]{1,10}$|^(?:~?/|\.{1,2}/|\.git)[\w@+./-]*$"
    r"|^(?:[\w@+.-]+/)*(?:Makefile|Dockerfile|LICENSE|README)$"
)


def clean(name: str) -> str:
    """A name out of a heading or a marker without quotes, bullets and labels."""
    name = name.strip().strip("*`#\"'<> \t").rstrip(":").strip()
    name = re.sub(r"^(?i:(?:\d+[.)]|[-*+]|file(?:name)?|path|in|edit|update|modify|new file)\s*:?)\s+", "", name)
    name = re.sub(r"^(?i:file(?:name)?|path):", "", name)
    name = re.sub(r"\s+\((?:new|modified|updated|unchanged|edited)[^)]*\)$", "", name)
    return name.strip().strip("*`\"'").rstrip(":").strip("*`\"'")


def looks_like_path(name: str) -> bool:
    return bool(_PATH.match(name)) and len(name) <= 200 and not name.endswith(".")


def resolve(name: str, known: Iterable[str], may_edit: Callable[[str], bool] | None, *, new: bool = False) -> str:
    """The file meant. `known`: paths that may be edited now. new: one that is not there yet may be meant.

    Raises Malformed: a path that leaves the tree, a protected one, one that is not there.
    """
    known = list(known)
    if name in known:
        return name
    plain = _relative(name)
    for path in (plain, _without_side(plain)):
        if path in known:
            return path
    plain = _without_side(plain)
    ends = [path for path in known if path.endswith("/" + plain)]
    if len(ends) == 1:
        return ends[0]
    if len(ends) > 1:
        raise Malformed("ambiguous", f"{name} could be {' or '.join(sorted(ends))}. Give the whole path.")
    if may_edit is not None and not may_edit(plain):
        shown = ", ".join(sorted(known)) or "none"
        raise Malformed("protected", f"{plain} may not be changed. Files that may: {shown}.")
    if not new:
        shown = ", ".join(sorted(known)) or "none"
        raise Malformed("missing", f"There is no file {plain}. Files that may be changed: {shown}.")
    return plain


def _relative(name: str) -> str:
    shown = ascii(name)[1:-1][:120]
    if not name or "\\" in name or any(ord(c) < 32 for c in name):
        raise Malformed("path", f"'{shown}' is no path of a file here.")
    for root in _ROOTS:
        if name.startswith(root) and (root != "/" or name.count("/") == 1):
            name = name.removeprefix(root)
            break
    if name.startswith(("/", "~")):
        raise Malformed("path", f"'{shown}' is outside the repository. Use paths relative to its root.")
    parts = name.split("/")
    if ".." in parts:
        raise Malformed("path", f"'{shown}' leaves the repository. Use paths relative to its root, without '..'.")
    path = posixpath.normpath(name)
    if any(part.lower() in (".git", ".gitmodules", ".gitattributes") for part in path.split("/")):
        raise Malformed("path", f"'{shown}' is git's own and may not be changed.")
    return path


def _without_side(path: str) -> str:
    """Without git's a/ and b/."""
    return path[2:] if path.startswith(("a/", "b/")) and len(path) > 2 else path
