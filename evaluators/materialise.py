"""A candidate's tree from the archive's objects into a plain folder. Git is never run in it.

Symlinks are made only where they resolve inside; submodules and anything else that is no regular file are left out;
attributes, filters and hooks have no effect, since these are bytes written to files.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from pathlib import Path

import pygit2

from evolve.tasks.errors import InfrastructureError

LINK, EXECUTABLE, MODULE = 0o120000, 0o100755, 0o160000


class Workshop:
    """Folders of trees below `root`, a few kept. `lower`: what the environment's setup left, under every tree."""

    def __init__(self, archive: str, root: str | Path, *, keep: int = 4) -> None:
        self._archive, self.root, self._keep = archive, Path(root), keep
        self._repository: pygit2.Repository | None = None
        self._have: dict[str, Path] = {}
        self.lower: Path | None = None

    def folder(self, tree: str) -> Path:
        """A folder holding exactly the tree's files (and what setup left). Not to be written to.

        Raises InfrastructureError where the archive does not hold the tree.
        """
        if tree in self._have:
            return self._have[tree]
        while len(self._have) >= self._keep:
            shutil.rmtree(self._have.pop(next(iter(self._have))), ignore_errors=True)
        place = self.root / tree
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if self.lower is not None:
            shutil.copytree(self.lower, place, symlinks=True, dirs_exist_ok=True)
        self._write(self._tree(tree), place, "")
        self._have[tree] = place
        return place

    def read(self, tree: str, path: str) -> bytes | None:
        """A regular file of a tree, from the archive; None where there is none."""
        try:
            entry = self._tree(tree)[path]
        except KeyError:
            return None
        return bytes(entry.data) if isinstance(entry, pygit2.Blob) else None

    def _tree(self, oid: str) -> pygit2.Tree:
        for attempt in range(2):
            if self._repository is None:
                self._repository = pygit2.Repository(self._archive)
            found = self._repository.get(oid)
            if isinstance(found, pygit2.Tree):
                return found
            self._repository = None  # packs may have come since it was opened
            if attempt:
                break
        raise InfrastructureError(f"the archive {self._archive} does not hold tree {oid}")

    def _write(self, tree: pygit2.Tree, place: Path, at: str) -> None:
        for entry in tree:
            name = str(entry.name)
            path = place / name
            if isinstance(entry, pygit2.Tree):
                path.mkdir(exist_ok=True)
                self._write(entry, path, f"{at}{name}/")
            elif isinstance(entry, pygit2.Blob):
                if path.is_symlink() or path.exists():
                    path.unlink()
                if entry.filemode == LINK:
                    _link(path, entry.data.decode("utf-8", "surrogateescape"), at)
                else:
                    path.write_bytes(entry.data)
                    if entry.filemode == EXECUTABLE:
                        path.chmod(0o755)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _link(path: Path, target: str, at: str) -> None:
    """A symlink, if it stays inside the tree; else nothing (an inert file would be no truer)."""
    inside = posixpath.normpath(posixpath.join(at, target))
    if not target.startswith("/") and not inside.startswith(".."):
        os.symlink(target, path)
