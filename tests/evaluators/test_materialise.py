from __future__ import annotations

import gc
import os
from pathlib import Path

import pygit2
import pytest

from evolve.evaluators.materialise import Workshop
from evolve.tasks.errors import InfrastructureError
from tests.evaluators.conftest import MakeTree, build


def test_modes_links_and_nesting(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    name = tree(**{
        "a/b/c.py": "x", "run.sh": (0o100755, b"#!/bin/sh\n"), "inside": (0o120000, b"a/b/c.py"),
        "out": (0o120000, b"../../etc/passwd"), "absolute": (0o120000, b"/etc/passwd"),
        "hop": (0o120000, b"."), "over": (0o120000, b"hop/../../etc"), ".gitattributes": "* filter=evil\n",
    })  # fmt: skip
    folder = Workshop(str(bare), tmp_path / "w").folder(name)
    assert (folder / "a/b/c.py").read_text() == "x" and (folder / "inside").read_text() == "x"
    assert (folder / "run.sh").stat().st_mode & 0o111
    assert not any((folder / n).is_symlink() for n in ("out", "absolute", "over"))


def test_submodules_are_left_out(bare: Path, tmp_path: Path) -> None:
    repository = pygit2.Repository(str(bare))
    builder = repository.TreeBuilder()
    builder.insert("module", pygit2.Oid(hex="1" * 40), pygit2.enums.FileMode.COMMIT)
    builder.insert("file", repository.create_blob(b"x"), pygit2.enums.FileMode.BLOB)
    folder = Workshop(str(bare), tmp_path / "w").folder(str(builder.write()))
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_protected_files_are_the_bases(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    base = tree(**{"program.py": "1", "lib/grade.py": "true", "data": "d"})
    other = tree(**{"program.py": "2", "lib/grade.py": "false", "lib/new.py": "x"})
    workshop = Workshop(str(bare), tmp_path / "w", base=base, may_edit=lambda path: path == "program.py")
    folder = workshop.folder(other)
    assert (folder / "program.py").read_text() == "2" and (folder / "lib/grade.py").read_text() == "true"
    assert (folder / "data").exists() and not (folder / "lib/new.py").exists()
    assert workshop.read(other, "lib/grade.py") == b"true" and workshop.read(other, "lib/new.py") is None


def test_a_tree_packed_later_is_found(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    workshop = Workshop(str(bare), tmp_path / "w")
    workshop.folder(tree(**{"a": "1"}))
    later = build(pygit2.Repository(str(bare)), {"a": "2"})
    assert (workshop.folder(later) / "a").read_text() == "2"


def test_an_unknown_tree_is_our_failure(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="does not hold"):
        Workshop(str(bare), tmp_path / "w").folder("f" * 40)


def test_few_folders_are_kept(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    workshop = Workshop(str(bare), tmp_path / "w", keep=2)
    for i in range(5):
        workshop.folder(tree(**{"a": str(i)}))
    assert len(list((tmp_path / "w").iterdir())) == 2


def held(place: Path) -> tuple[int, int]:
    """Descriptors that this process has open below a folder, and mappings of files there."""
    names = os.listdir("/proc/self/fd")
    links = [os.readlink(f"/proc/self/fd/{n}") for n in names if os.path.lexists(f"/proc/self/fd/{n}")]
    return sum(link.startswith(str(place)) for link in links), Path("/proc/self/maps").read_text().count(str(place))


def packed(bare: Path, number: int) -> str:
    """A new tree of three files, in a pack of its own."""
    repository = pygit2.Repository(str(bare))
    blobs = {f"f{i}": repository.create_blob(f"{number} {i}\n".encode() * 200) for i in range(3)}
    builder = repository.TreeBuilder()
    for name, oid in blobs.items():
        builder.insert(name, oid, pygit2.enums.FileMode.BLOB)
    made = builder.write()
    packer = pygit2.PackBuilder(repository)
    for oid in (*blobs.values(), made):
        packer.add(oid)
    packer.write(str(bare / "objects/pack"))
    for oid in (*blobs.values(), made):
        (bare / "objects" / str(oid)[:2] / str(oid)[2:]).unlink()
    repository.free()
    return str(made)


def test_a_long_lived_slot_lets_go_of_packs(bare: Path, tmp_path: Path) -> None:
    """Packs come all the time and are joined, which deletes them; a slot reads a little of each. The collector of cycles
    is off: how much is held must not hang on when it happens to run."""
    workshop = Workshop(str(bare), tmp_path / "w")
    most, first = (0, 0), held(bare)
    gc.collect()
    gc.disable()
    try:
        for number in range(200):
            assert len(list(workshop.folder(packed(bare, number)).iterdir())) == 3
            if number % 20 == 19:  # what a join leaves: the old packs are gone from the disk
                for path in (bare / "objects/pack").iterdir():
                    path.unlink()
            now = held(bare)
            most = (max(most[0], now[0]), max(most[1], now[1]))
    finally:
        gc.enable()
    assert first == (0, 0) and most[0] <= 40 and most[1] <= 120, most  # 200 and 400 when they are kept


def test_a_slot_that_finds_all_it_wants_still_lets_go(bare: Path, tmp_path: Path) -> None:
    trees = [packed(bare, number) for number in range(40)]
    workshop = Workshop(str(bare), tmp_path / "w", keep=1)
    gc.disable()
    try:
        seen = []
        for number in range(200):
            workshop.folder(trees[number % 40])
            seen.append(held(bare))
    finally:
        gc.enable()
    assert min(seen[100:])[0] < max(seen)[0]  # reopened now and then, so what is deleted is not kept for days
