"""A candidate's tree from the archive's objects into a plain folder. Git is never run in it.

Protected files are taken from the base whatever the tree says. Symlinks are made only where they resolve inside;
submodules and anything else that is no regular file are left out; attributes, filters and hooks have no effect, since
these are bytes written to files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2

from evolve.tasks.errors import InfrastructureError

LINK, EXECUTABLE, MODULE, FOLDER = 0o120000, 0o100755, 0o160000, 0o040000

REOPEN_EVERY = 128
"""Objects read before libgit2's view of the archive is opened anew: it keeps every pack it ever read from open and
mapped, also those long deleted, and a slot lives for days."""

Entries = dict[str, tuple[int, str]]
"""Path -> (git mode, object id)."""


class Workshop:
    """Folders of trees below `root`, a few kept.

    base:     hex id of the tree that protected files come from; empty: trees are taken as they are.
    may_edit: whether a path is a candidate's to change.
    """

    def __init__(
        self, archive: str, root: str | Path, *, base: str = "", may_edit: Callable[[str], bool] | None = None, keep: int = 4
    ) -> None:
        self._archive, self.root, self._keep = archive, Path(root), keep
        self._base, self._may_edit = base, may_edit
        self._protected: Entries | None = None
        self._repository: pygit2.Repository | None = None
        self._reads = 0
        self._have: dict[str, Path] = {}

    def folder(self, tree: str) -> Path:
        """A folder holding exactly the tree's files. Not to be written to.

        Raises InfrastructureError where the archive does not hold the tree.
        """
        if tree in self._have:
            return self._have[tree]
        while len(self._have) >= self._keep:
            shutil.rmtree(self._have.pop(next(iter(self._have))), ignore_errors=True)
        place = self.root / tree
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self._write(self.entries(tree), place)
        self._have[tree] = place
        return place

    def entries(self, tree: str) -> Entries:
        """What is judged: the tree's editable files, and the base's protected ones."""
        found = dict(_walk(self._tree(tree), ""))
        if not self._base or self._may_edit is None or tree == self._base:
            return found
        if self._protected is None:
            base = dict(_walk(self._tree(self._base), ""))
            self._protected = {path: entry for path, entry in base.items() if not self._may_edit(path)}
        return self._protected | {path: entry for path, entry in found.items() if self._may_edit(path)}

    def read(self, tree: str, path: str) -> bytes | None:
        """A regular file of what is judged, from the archive; None where there is none."""
        mode, oid = self.entries(tree).get(path, (0, ""))
        return self._blob(oid) if mode not in (0, LINK) else None

    def _tree(self, oid: str) -> pygit2.Tree:
        found = self._object(oid)
        if not isinstance(found, pygit2.Tree):
            raise InfrastructureError(f"the archive {self._archive} does not hold tree {oid}")
        return found

    def _object(self, oid: str) -> pygit2.Object | None:
        self._reads += 1
        if self._reads % REOPEN_EVERY == 0:
            self._repository = None
        for _ in range(2):
            if self._repository is None:
                self._repository = _open(self._archive)
            if (found := self._repository.get(oid)) is not None:
                return found
            self._repository = None  # packs may have come since it was opened
        return None

    def _blob(self, oid: str) -> bytes:
        found = self._object(oid)
        if not isinstance(found, pygit2.Blob):
            raise InfrastructureError(f"the archive {self._archive} does not hold file {oid}")
        return bytes(found.data)

    def _write(self, entries: Entries, place: Path) -> None:
        """Regular files first, then symlinks, so that nothing is ever written through one. All may be written to by
        everyone: a large tree becomes the lower layer of an overlay, where these modes decide what a candidate may change
        in its own layer. The folder above is ours alone."""
        root, made = str(place), {str(place)}
        os.chmod(place, 0o777)
        links = []
        for path, (mode, oid) in entries.items():
            target = f"{root}/{path}"
            folder = os.path.dirname(target)
            if folder not in made:
                _make_folders(folder, made)
            if mode == LINK:
                links.append((target, oid))
                continue
            with open(target, "xb") as file:
                file.write(self._blob(oid))
            os.chmod(target, 0o777 if mode == EXECUTABLE else 0o666)
        for target, oid in links:
            os.symlink(os.fsdecode(self._blob(oid)), target)
        for target, _ in links:  # looked at when all are there, since one may lead through another
            real = os.path.realpath(target)
            if os.path.isabs(os.readlink(target)) or not real.startswith(os.path.realpath(root) + "/"):
                os.unlink(target)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _open(archive: str) -> pygit2.Repository:
    repository = pygit2.Repository(archive)
    for helper in ("branches", "references", "remotes", "submodules"):
        vars(repository).pop(helper, None)  # they point back at it: packs would stay open until the next gc
    return repository


def _make_folders(folder: str, made: set[str]) -> None:
    """A folder and those above it down from one in `made`."""
    above = os.path.dirname(folder)
    if above not in made:
        _make_folders(above, made)
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    made.add(folder)


def _walk(tree: pygit2.Tree, at: str) -> Iterator[tuple[str, tuple[int, str]]]:
    for entry in tree:
        name = str(entry.name)
        if name in ("", ".", "..", ".git") or "/" in name or "\0" in name:
            continue  # git refuses to make such a tree, so someone else did
        if isinstance(entry, pygit2.Tree):
            yield from _walk(entry, f"{at}{name}/")
        elif isinstance(entry, pygit2.Blob):
            yield f"{at}{name}", (int(entry.filemode), str(entry.id))
