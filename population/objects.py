"""Git's object formats, as bytes: identifiers, trees, commits. Format: gitformat-pack(5), git's `object-file.c`.

Written here rather than through a library because an object must exist, with its id, before it is on any disk
(population/git.py). SHA-1 repositories only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evolve.tasks.errors import RepositoryError

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
TYPE_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}

MODE_FILE, MODE_EXECUTABLE, MODE_LINK, MODE_TREE, MODE_MODULE = 0o100644, 0o100755, 0o120000, 0o40000, 0o160000

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

IDENTITY = "Evolve <evolve@evolve.invalid>"
"""Author and committer of everything the tool commits; who made a mutation is said in a trailer."""

TreeItems = dict[bytes, tuple[int, bytes]]
"""name -> (mode, 20-byte id) of one tree, in no particular order."""


def object_id(kind: int, data: bytes) -> str:
    """Hex SHA-1 of an object."""
    digest = hashlib.sha1(b"%s %d\0" % (TYPE_NAMES[kind], len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def parse_tree(data: bytes) -> TreeItems:
    items: TreeItems = {}
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        items[data[space + 1 : end]] = (int(data[at:space], 8), data[end + 1 : end + 21])
        at = end + 21
    return items


def build_tree(items: Mapping[bytes, tuple[int, bytes]]) -> bytes:
    """Canonical bytes of a tree: names sorted as git sorts them, folders as if they ended in a slash."""
    order = sorted(items.items(), key=lambda item: item[0] + b"/" if item[1][0] == MODE_TREE else item[0])
    return b"".join(b"%o %s\0%s" % (mode, name, oid) for name, (mode, oid) in order)


@dataclass(frozen=True, slots=True)
class CommitObject:
    """A parsed commit. `time` is the committer's date in seconds since the epoch."""

    tree: str
    parents: tuple[str, ...]
    time: int
    message: str


def build_commit(tree: str, parents: Sequence[str], message: str, time: int) -> bytes:
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {IDENTITY} {time} +0000", f"committer {IDENTITY} {time} +0000", "", message]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def parse_commit(data: bytes) -> CommitObject:
    head, _, body = data.partition(b"\n\n")
    tree, parents, time = "", [], 0
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"parent":
            parents.append(value.decode("ascii"))
        elif key == b"tree":
            tree = value.decode("ascii")
        elif key == b"committer":
            time = int(value.rsplit(b" ", 2)[1])
    return CommitObject(tree, tuple(parents), time, body.decode("utf-8", "surrogateescape"))


def first_parent(data: bytes) -> str:
    """Id of a commit's first parent, "" for a root; without parsing the rest, for long walks."""
    return data[53:93].decode("ascii") if data[46:53] == b"parent " else ""


def split_path(path: str) -> list[bytes]:
    """Components of a repository-relative POSIX path, as bytes.

    Raises RepositoryError for one git cannot hold or must not: absolute, empty, '.', '..', '.git' in any case, NUL.
    """
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or part.lower() == ".git" or "\0" in part:
            raise RepositoryError(f"{path!r} is no path inside a repository; use a relative one such as 'src/main.py'")
    return [part.encode("utf-8", "surrogateescape") for part in parts]


def nested(files: Mapping[str, bytes | None]) -> dict[bytes, object]:
    """`{"a/b": x}` as `{b"a": {b"b": x}}`. Raises RepositoryError where one path is a folder of another."""
    root: dict[bytes, object] = {}
    for path, content in files.items():
        *folders, name = split_path(path)
        level = root
        for folder in folders:
            below = level.setdefault(folder, {})
            if not isinstance(below, dict):
                raise RepositoryError(f"{path!r} lies under a file of the same edit")
            level = below
        if name in level:
            raise RepositoryError(f"{path!r} is both a file and a folder of the same edit")
        level[name] = content
    return root


def join(parts: Iterable[bytes]) -> str:
    return b"/".join(parts).decode("utf-8", "surrogateescape")
