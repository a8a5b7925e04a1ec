"""The git object store: the only place that reads or writes objects.

A new object gets its id at once and lives in memory; `flush` writes everything new as one pack, synced. Reading looks
in memory first, then in the repository through libgit2. So making a candidate and its events costs no system call, and
what many waiting writers made goes to disk together (population/flush.py).

Fresh packs are small, one a flush. They are joined by copying bytes once there are `FOLD_PACKS` of them; their objects
stay in memory until then, so libgit2 never has to open them.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pygit2

from evolve.population import disk, objects, pack
from evolve.population.objects import BLOB, COMMIT, EMPTY_TREE, MODE_EXECUTABLE, MODE_FILE, MODE_MODULE, MODE_TREE, TREE
from evolve.tasks.errors import ArchiveError, RepositoryError

FOLD_PACKS = 128
FOLD_BYTES = 8 << 20
"""Fresh packs are joined when there are this many, or when their objects take this much memory."""

KEEP = f"evolve fresh {socket.gethostname()} {os.getpid()}"
"""Text of a fresh pack's `.keep` file: it names the process that will join the pack (population/maintenance.py)."""

CACHED_ENTRIES = 20_000
CACHED_COMMITS = 1024
"""Entries of parsed trees (some 250 bytes each), and parsed commits, kept for the next edit of the same parent."""

LIBGIT2_CACHE = 8 << 20
LIBGIT2_WINDOW = 1 << 20
LIBGIT2_MAPPED = 32 << 20
"""libgit2's object cache and mapped pack windows, in bytes: its defaults grow a long run's memory by hundreds of MB."""

REOPEN_EVERY = 128
"""Reads after which libgit2's view is made anew: it never lets go of a pack, and another process's writer makes and
joins packs by the thousand."""

_FULL = re.compile(r"[0-9a-f]{40}")

_REGULAR = (MODE_FILE, MODE_EXECUTABLE, 0o100664)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry below a tree: POSIX path from the tree's root, git's mode, hex id. Folders are not listed."""

    path: str
    mode: int
    oid: str

    @property
    def regular(self) -> bool:
        return self.mode in _REGULAR


class _Held(pygit2.OdbBackend):
    """Lets libgit2 (merge, diff, history) see the objects that are in memory, and write new ones there."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def _find(self, oid: Any) -> tuple[int, bytes]:
        return self._store._held[str(oid)]

    def read_cb(self, oid: Any) -> tuple[int, bytes]:
        return self._find(oid)

    def read_prefix_cb(self, oid: Any) -> tuple[int, bytes, Any]:
        kind, data = self._find(oid)
        return kind, data, oid

    def read_header_cb(self, oid: Any) -> tuple[int, int]:
        kind, data = self._find(oid)
        return kind, len(data)

    def exists_cb(self, oid: Any) -> bool:
        return str(oid) in self._store._held

    def exists_prefix_cb(self, oid: Any) -> Any:
        self._find(oid)
        return oid

    def write_cb(self, oid: Any, data: bytes, kind: int) -> None:
        self._store._put(int(kind), bytes(data))

    def refresh_cb(self) -> None:
        pass

    def __iter__(self) -> Iterator[pygit2.Oid]:
        return iter([pygit2.Oid(hex=oid) for oid in list(self._store._held)])


class Store:
    """Objects of one bare repository. Objects may be made and read from several threads, and `flush` run in another.

    durable: fsync what `flush` writes; False only where nothing need survive a power cut. fold_packs: join fresh packs
    when there are this many (0: FOLD_PACKS).
    """

    def __init__(self, path: str | Path, *, durable: bool = True, fold_packs: int = 0) -> None:
        self.path = Path(path)
        self.durable = durable
        self.lock = threading.RLock()
        self._packs = str(self.path / "objects" / "pack")
        self._held: dict[str, tuple[int, bytes]] = {}
        self._new: list[str] = []
        self._flushed: list[str] = []
        self._fresh: list[str] = []
        self._retired: list[str] = []
        self._fold_packs = self._fold_at = fold_packs or FOLD_PACKS
        self._bytes = self._reads = self._entries_cached = 0
        self._flushing = threading.Lock()
        self._trees: OrderedDict[str, objects.TreeItems] = OrderedDict()
        self._commits: OrderedDict[str, objects.CommitObject] = OrderedDict()
        self._repository: pygit2.Repository | None = None
        self.repository()  # fails here rather than at the first read

    def repository(self) -> pygit2.Repository:
        """libgit2's view of the store, pending objects included. Not to be kept: a join of packs replaces it."""
        found = self._repository
        if found is None:
            found = self._repository = self._open()
        return found

    def reopen(self) -> None:
        """Look at the disk afresh: another process added or repacked objects."""
        self._repository = None

    def _open(self) -> pygit2.Repository:
        pygit2.settings.cache_max_size(LIBGIT2_CACHE)
        pygit2.settings.mwindow_size = LIBGIT2_WINDOW
        pygit2.settings.mwindow_mapped_limit = LIBGIT2_MAPPED
        try:
            repository = pygit2.Repository(str(self.path))
        except pygit2.GitError as error:
            raise ArchiveError(f"{self.path} cannot be opened as a git repository: {error}") from error
        for helper in ("branches", "references", "remotes", "submodules"):
            vars(repository).pop(helper, None)  # they point back at it: packs would stay open until the next gc
        folder = str(self.path / "objects")
        database = pygit2.Odb()
        database.add_backend(pygit2.OdbBackendPack(folder), 3)
        database.add_backend(_Held(self), 2)
        database.add_backend(pygit2.OdbBackendLoose(folder, -1, False, 0, 0), 1)
        repository.set_odb(database)
        return repository

    # ---- making objects ------------------------------------------------------------------------------------------

    def _put(self, kind: int, data: bytes) -> str:
        oid = objects.object_id(kind, data)
        with self.lock:
            if oid not in self._held:
                self._held[oid] = (kind, data)
                self._new.append(oid)
        return oid

    def blob(self, data: bytes) -> str:
        return self._put(BLOB, bytes(data))

    def tree(self, items: Mapping[bytes, tuple[int, bytes]]) -> str:
        """A tree of name -> (mode, 20-byte id)."""
        return self._put(TREE, objects.build_tree(items))

    def edit(self, tree: str, files: Mapping[str, bytes | None]) -> str:
        """`tree` (or a commit's) with those paths changed: content, or None to delete; folders left empty go.

        Modes stay; a new file is a plain one. Deleting what is not there does nothing. Raises RepositoryError for a
        path git cannot hold, one that names or crosses a symlink or submodule, or one that is a folder.
        """
        return self._edit(self.tree_of(tree), objects.nested(files), ()) or self._put(TREE, b"")

    def _edit(self, tree: str | None, changes: Mapping[bytes, object], at: tuple[bytes, ...]) -> str | None:
        items = dict(self._items(tree)) if tree else {}
        for name, change in changes.items():
            mode, oid = items.get(name, (0, b""))
            where = objects.join((*at, name))
            if isinstance(change, dict):
                if mode not in (0, MODE_TREE):
                    raise RepositoryError(f"cannot write below {where!r}: it is {_what(mode)}")
                below = self._edit(oid.hex() if mode else None, change, (*at, name))
                if below is None:
                    items.pop(name, None)
                else:
                    items[name] = (MODE_TREE, bytes.fromhex(below))
                continue
            if mode and mode not in _REGULAR:
                raise RepositoryError(f"cannot change {where!r}: it is {_what(mode)}")
            if change is None:
                items.pop(name, None)
            else:
                assert isinstance(change, bytes | bytearray | memoryview)
                items[name] = (mode or MODE_FILE, bytes.fromhex(self.blob(bytes(change))))
        return self.tree(items) if items else None

    def commit(self, tree: str, parents: Sequence[str], message: str, when: float) -> str:
        """A commit by the tool's fixed identity, dated `when` (seconds since the epoch) or its youngest parent's date.

        Never dating a child before its parent keeps git's history walks short (docs/design.md, dates interleave).
        """
        time = max([int(when), *(self.commit_of(parent).time for parent in parents)])
        data = objects.build_commit(tree, parents, message, time)
        oid = self._put(COMMIT, data)
        self._remember(oid, objects.CommitObject(tree, tuple(parents), time, message))
        return oid

    # ---- reading -------------------------------------------------------------------------------------------------

    def raw(self, oid: str) -> tuple[int, bytes]:
        """(type, content). Raises ArchiveError where there is no such object."""
        held = self._held.get(oid)
        if held is not None:
            return held
        self._reads += 1
        if self._reads % REOPEN_EVERY == 0:
            self._repository = None
        database = self.repository().odb
        try:
            kind, data = database.read(oid)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ArchiveError(f"{self.path} holds no object {oid}") from error
        return int(kind), data

    def read(self, oid: str) -> bytes:
        return self.raw(oid)[1]

    def exists(self, oid: str) -> bool:
        """Whether `oid` is the full id of an object here."""
        return oid in self._held or (_FULL.fullmatch(oid) is not None and oid in self.repository().odb)

    def holds_commit(self, oid: str) -> bool:
        """Whether `oid` is the full id of a commit here, pending ones included."""
        return self.exists(oid) and self.raw(oid)[0] == COMMIT

    def commit_of(self, oid: str) -> objects.CommitObject:
        """A commit, parsed. Raises ArchiveError where `oid` is none."""
        found = self._commits.get(oid)
        if found is None:
            kind, data = self.raw(oid)
            if kind != COMMIT:
                raise ArchiveError(f"{oid} in {self.path} is no commit")
            found = objects.parse_commit(data)
            self._remember(oid, found)
        return found

    def tree_of(self, commit: str) -> str:
        """Tree id of a commit; a tree's own id for a tree."""
        known = self._commits.get(commit)
        if known is not None:
            return known.tree
        if commit in self._trees or commit == EMPTY_TREE:
            return commit
        kind, data = self.raw(commit)
        if kind == TREE:
            return commit
        if kind == COMMIT:
            return objects.parse_commit(data).tree
        raise ArchiveError(f"{commit} in {self.path} is neither a commit nor a tree")

    def parents_of(self, commit: str) -> tuple[str, ...]:
        return self.commit_of(commit).parents

    def message_of(self, commit: str) -> str:
        return self.commit_of(commit).message

    def _items(self, tree: str) -> objects.TreeItems:
        found = self._trees.get(tree)
        if found is not None:
            return found
        if tree == EMPTY_TREE:
            return {}
        kind, data = self.raw(tree)
        if kind != TREE:
            raise ArchiveError(f"{tree} in {self.path} is no tree")
        found = objects.parse_tree(data)
        self._trees[tree] = found
        self._entries_cached += len(found)
        while self._entries_cached > CACHED_ENTRIES and len(self._trees) > 1:
            self._entries_cached -= len(self._trees.popitem(last=False)[1])
        return found

    def _remember(self, oid: str, commit: objects.CommitObject) -> None:
        self._commits[oid] = commit
        if len(self._commits) > CACHED_COMMITS:
            self._commits.popitem(last=False)

    def entries(self, tree: str) -> Iterator[Entry]:
        """Every file, symlink and submodule below a tree (or a commit's), folders expanded, in git's order."""
        yield from self._entries(self.tree_of(tree), ())

    def _entries(self, tree: str, at: tuple[bytes, ...]) -> Iterator[Entry]:
        for name, (mode, oid) in self._items(tree).items():
            if mode == MODE_TREE:
                yield from self._entries(oid.hex(), (*at, name))
            else:
                yield Entry(objects.join((*at, name)), mode, oid.hex())

    def modes(self, tree: str) -> dict[str, int]:
        """Path -> git's mode of every entry of `entries`."""
        return {entry.path: entry.mode for entry in self.entries(tree)}

    def file(self, tree: str, path: str) -> bytes | None:
        """Content of a regular file; None where there is none, or a folder, symlink or submodule."""
        *folders, name = objects.split_path(path)
        level = self.tree_of(tree)
        for folder in folders:
            mode, oid = self._items(level).get(folder, (0, b""))
            if mode != MODE_TREE:
                return None
            level = oid.hex()
        mode, oid = self._items(level).get(name, (0, b""))
        return self.read(oid.hex()) if mode in _REGULAR else None

    def files(self, tree: str, match: Callable[[str], bool] | None = None) -> dict[str, bytes]:
        """Path -> content of the regular files whose path `match` accepts (all where it is None)."""
        found = {}
        for entry in self.entries(tree):
            if entry.regular and (match is None or match(entry.path)):
                found[entry.path] = self.read(entry.oid)
        return found

    # ---- comparing -----------------------------------------------------------------------------------------------

    def _tree_object(self, oid: str) -> pygit2.Tree:
        found = self.repository()[self.tree_of(oid)]
        assert isinstance(found, pygit2.Tree)
        return found

    def merge(self, base: str, ours: str, theirs: str) -> str | None:
        """Tree of the three-way merge of commits or trees; None on a conflict."""
        index = self.repository().merge_trees(
            self._tree_object(base), self._tree_object(ours), self._tree_object(theirs)
        )
        return None if index.conflicts else str(index.write_tree(self.repository()))

    def merge_base(self, a: str, b: str) -> str | None:
        """Best common ancestor of two commits, as git finds it."""
        found = self.repository().merge_base(a, b)
        return str(found) if found else None

    def diff(self, a: str, b: str) -> str:
        """Unified patch from one tree (or commit) to another; binary files are named, their bytes left out."""
        delta = self._tree_object(a).diff_to_tree(self._tree_object(b))
        return b"".join(patch.data for patch in delta if patch is not None).decode("utf-8", "replace")

    # ---- to disk -------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Objects that are in memory only."""
        return len(self._new)

    def take(self) -> list[str]:
        """The ids made since the last take, to be written by `write`. Call under `lock` together with reading tips."""
        taken, self._new = self._new, []
        return taken

    def write(self, ids: list[str]) -> None:
        """Those objects in one pack on disk. On DiskError they are pending again, in their old order."""
        if not ids:
            return
        with self._flushing:
            try:
                batch = pack.build((oid, *self._held[oid]) for oid in ids)
                stem = pack.store(batch, self._packs, durable=self.durable, keep=KEEP)
            except BaseException:
                with self.lock:
                    self._new = ids + self._new
                raise
            self._flushed += ids
            self._bytes += sum(len(self._held[oid][1]) for oid in ids)
            self._fresh.append(stem)

    def flush(self) -> None:
        """Everything pending to disk, without moving any ref. Raises DiskError."""
        with self.lock:
            ids = self.take()
        self.write(ids)

    def fold_if_due(self) -> bool:
        """Join the fresh packs when there are many of them or their objects take much memory; whether it did."""
        if len(self._fresh) < self._fold_at and self._bytes < FOLD_BYTES:
            return False
        try:
            self.fold()
        except disk.DiskError:
            self._fold_at = len(self._fresh) + self._fold_packs
            raise
        self._fold_at = self._fold_packs
        return True

    def fold(self) -> None:
        """Join the fresh packs and let go of their objects in memory. Raises DiskError; they then stay as they are."""
        with self._flushing:
            self._fold()

    def _fold(self) -> None:
        if not self._fresh:
            return
        try:
            joined = self._fresh[0]
            if len(self._fresh) > 1:
                joined = pack.store(pack.concatenate(self._fresh), self._packs, durable=self.durable)
        except OSError as error:
            raise disk.DiskError(error, self._packs) from error
        disk.unlink([joined + ".keep"])  # it may be one of the fresh ones, when that holds all there is in the others
        self._discard(self._retired)
        self._retired = [stem for stem in self._fresh if stem != joined]  # go at the next join: readers may want them
        self._fresh = []
        with self.lock:
            self._repository = None
            for oid in self._flushed:
                del self._held[oid]
            self._flushed, self._bytes = [], 0

    @staticmethod
    def _discard(stems: Sequence[str]) -> None:
        """The index goes first: git finds a pack by it."""
        for stem in stems:
            disk.unlink((stem + ".idx", stem + ".pack", stem + ".keep"))

    def close(self) -> None:
        """Join what is fresh and free libgit2's handles. What is pending is flushed before. Raises DiskError."""
        self.flush()
        self.fold()
        self._discard(self._retired)
        self._retired = []
        self._repository = None


def _what(mode: int) -> str:
    return {MODE_TREE: "a folder", MODE_MODULE: "a submodule", objects.MODE_LINK: "a symlink"}.get(mode, "a file")
