"""What a mutation may not do to a tree. What the base has of these kinds stays and is inert; an edit may not add it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from evolve.tasks.task import Task

LARGEST_FILE = 8 << 20
MOST_FILES = 2000
"""Files one edit may touch."""
DEEPEST = 32
LONGEST_PATH = 1024

_REGULAR = (0o100644, 0o100755, 0o100664)
_RESERVED = {".git", ".gitmodules", ".gitattributes", ".gitignore", ".mailmap", ".lfsconfig"}
_GIT_ALIASES = {"git~1", "gi7eba~1"}


def check_edit(task: Task, before: Mapping[str, int], files: Mapping[str, bytes | None]) -> str | None:
    """Why an edit is refused, as "rule: what", or None.

    before: path -> git mode of the parent's tree. files: path -> whole new content, None to delete. Rules: protected,
    path, git, kind, collision, missing, size, count.
    """
    if not files:
        return None
    if len(files) > MOST_FILES:
        return f"count: {len(files)} files in one edit, at most {MOST_FILES}"
    for path, content in files.items():
        if why := _check_path(path) or _check_file(task, before, path, content):
            return why
    return _collisions(before, files)


def _check_path(path: str) -> str | None:
    shown = ascii(path)[:120]
    parts = path.split("/")
    if not path or path.startswith("/") or path.endswith("/") or "\\" in path:
        return f"path: {shown} is no relative path of a file"
    if any(part in ("", ".", "..") for part in parts):
        return f"path: {shown} leaves or doubles back in the tree"
    if any(ord(c) < 32 or ord(c) == 127 for c in path) or not path.isprintable():
        return f"path: {shown} holds a control character"
    if any(unicodedata.category(c) in ("Cf", "Cs", "Co") for c in path):
        return f"path: {shown} holds an invisible character"
    if len(path.encode("utf-8", "surrogatepass")) > LONGEST_PATH or len(parts) > DEEPEST:
        return f"path: {shown} is too long or too deep"
    for part in parts:
        plain = _fold(part).rstrip(". ")
        if plain in _RESERVED or plain in _GIT_ALIASES or plain.startswith(".git:"):
            return f"git: {shown} is a file git itself reads"
    return None


def _check_file(task: Task, before: Mapping[str, int], path: str, content: bytes | None) -> str | None:
    mode = before.get(path)
    if mode is not None and mode not in _REGULAR:
        return f"kind: {path} is a symlink or submodule of the base, which an edit may not change"
    if not task.may_edit(path):
        return f"protected: {path} is not editable in task {task.name!r} (editable: {', '.join(task.editable)})"
    if content is None:
        return None if mode is not None else f"missing: {path} is to be deleted and does not exist"
    if len(content) > LARGEST_FILE:
        return f"size: {path} would have {len(content)} bytes, at most {LARGEST_FILE}"
    return None


def _collisions(before: Mapping[str, int], files: Mapping[str, bytes | None]) -> str | None:
    """Names that are one file on another file system, and a file where a folder is (or the other way round)."""
    added = [path for path, content in files.items() if content is not None and path not in before]
    if not added:
        return None
    gone = {path for path, content in files.items() if content is None}
    stay = [path for path in before if path not in gone]
    everything = {_fold(path): path for path in stay}
    folders = {_fold(prefix): prefix for path in stay for prefix in _prefixes(path)}
    for path in added:
        for prefix in _prefixes(path):
            if _fold(prefix) in everything:
                return f"collision: {prefix} is a file, so {path} cannot be"
            known = folders.setdefault(_fold(prefix), prefix)
            if known != prefix:
                return f"collision: {prefix}/ and {known}/ differ only in case or Unicode form"
    for path in added:
        folded = _fold(path)
        if everything.setdefault(folded, path) != path:
            return f"collision: {path} and {everything[folded]} differ only in case or Unicode form"
        if folded in folders:
            return f"collision: {path} is a folder of the tree"
    return _files_among(added)


def _files_among(added: list[str]) -> str | None:
    """An edit that adds both `a` and `a/b`."""
    names = {_fold(path): path for path in added}
    for path in added:
        for prefix in _prefixes(path):
            if _fold(prefix) in names:
                return f"collision: {prefix} is a file, so {path} cannot be"
    return None


def _fold(path: str) -> str:
    return unicodedata.normalize("NFKC", path).casefold()


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]
