"""The object store against git itself: ids, trees, merges, packs."""

from __future__ import annotations

import random
import subprocess
import threading
from pathlib import Path

import pytest

from evolve.population import objects, pack
from evolve.population.git import Store
from evolve.population.objects import EMPTY_TREE
from evolve.tasks.errors import ArchiveError, RepositoryError
from tests.population.scene import ENVIRONMENT, fsck, git, repository


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare repository with the user's commit in it."""
    repository(tmp_path / "user")
    subprocess.run(
        ["git", "clone", "-q", "--bare", tmp_path / "user", tmp_path / "bare.git"], check=True, env=ENVIRONMENT
    )
    return tmp_path / "bare.git"


@pytest.fixture
def store(bare: Path) -> Store:
    return Store(bare)


def test_ids_are_gits_before_anything_is_on_disk(store: Store, bare: Path) -> None:
    data = b"some\0bytes\xff"
    oid = store.blob(data)
    assert oid == git_hash(data)
    assert store.read(oid) == data
    assert store.pending == 1
    assert git(bare, "cat-file", "-t", oid, ok=False) == ""
    store.flush()
    assert store.pending == 0
    assert git(bare, "cat-file", "-t", oid) == "blob"


def git_hash(data: bytes) -> str:
    return (
        subprocess.run(["git", "hash-object", "--stdin"], input=data, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def test_edit_makes_the_tree_git_makes(store: Store, bare: Path, tmp_path: Path) -> None:
    """Against `git add -A` of the same changes in a work tree, modes and sort order included."""
    work = tmp_path / "user"
    (work / "tool.sh").write_text("#!/bin/sh\n")
    (work / "tool.sh").chmod(0o755)
    (work / "lib.txt").write_text("sorts between lib and lib/\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "Second version")
    git(bare, "fetch", "-q", str(work), "main:main")
    store.reopen()
    head = git(bare, "rev-parse", "main")
    edited = store.edit(
        head, {"tool.sh": b"echo\n", "lib/deep/new.py": b"n\n", "lib/deep/util.py": None, "a/b/c": b"c"}
    )
    (work / "tool.sh").write_text("echo\n")
    (work / "lib/deep/new.py").write_text("n\n")
    (work / "lib/deep/util.py").unlink()
    (work / "a/b").mkdir(parents=True)
    (work / "a/b/c").write_text("c")
    git(work, "add", "-A")
    assert edited == git(work, "write-tree")
    store.flush()
    assert "100755 blob" in git(bare, "ls-tree", edited, "tool.sh")


def test_deleting_the_last_file_of_a_folder_removes_the_folder(store: Store, bare: Path) -> None:
    head = git(bare, "rev-parse", "main")
    edited = store.edit(head, {"lib/deep/util.py": None})
    assert sorted(entry.path for entry in store.entries(edited)) == ["README.md", "train.py"]
    assert store.edit(head, {name: None for name in store.files(head)}) == EMPTY_TREE
    assert store.edit(head, {"not/there.py": None}) == store.tree_of(head)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a//b", "a/../b", ".git/config", "a/.GIT/hooks/x", "", "a\0b", "."]
)
def test_edit_refuses_a_path_no_repository_should_hold(store: Store, bare: Path, path: str) -> None:
    with pytest.raises(RepositoryError, match="no path inside a repository"):
        store.edit(git(bare, "rev-parse", "main"), {path: b"x"})


def test_edit_refuses_links_modules_and_folders(store: Store, bare: Path) -> None:
    target = bytes.fromhex(store.blob(b"train.py"))
    module = bytes.fromhex("ab" * 20)
    items = dict(objects.parse_tree(store.read(store.tree_of(git(bare, "rev-parse", "main")))))
    tree = store.tree(items | {b"link": (objects.MODE_LINK, target), b"sub": (objects.MODE_MODULE, module)})
    for path, what in {
        "link": "symlink",
        "link/x": "symlink",
        "sub": "submodule",
        "lib": "folder",
        "train.py/x": "file",
    }.items():
        with pytest.raises(RepositoryError, match=what):
            store.edit(tree, {path: b"x"})
    with pytest.raises(RepositoryError, match="same edit"):
        store.edit(tree, {"n": b"x", "n/m": b"y"})
    assert store.file(tree, "link") is None and store.file(tree, "sub") is None and store.file(tree, "lib") is None
    assert store.modes(tree)["link"] == objects.MODE_LINK
    assert "link" not in store.files(tree) and "lib/deep/util.py" in store.files(
        tree, lambda path: path.endswith(".py")
    )


def test_commits_are_gits_and_never_younger_than_their_parents(store: Store, bare: Path) -> None:
    head = git(bare, "rev-parse", "main")
    late = store.commit(store.tree_of(head), [head], "from the future\n", 9e9)
    child = store.commit(store.tree_of(head), [late, head], "subject – ünïcode\n\nBody\n", 1e9)
    store.flush()
    assert git(bare, "log", "-1", "--format=%P|%an <%ae>|%ct|%s|%b", child) == (
        f"{late} {head}|{objects.IDENTITY}|9000000000|subject – ünïcode|Body"
    )
    assert store.parents_of(child) == (late, head) and store.message_of(child).startswith("subject – ünïcode")
    assert objects.first_parent(store.read(child)) == late and objects.first_parent(store.read(head)) == ""
    fsck(bare)


def test_merge_and_diff_see_what_is_not_on_disk(store: Store, bare: Path) -> None:
    base = git(bare, "rev-parse", "main")
    lines = "".join(f"line {n}\n" for n in range(30))
    base = store.commit(store.edit(base, {"train.py": lines.encode()}), [base], "b\n", 0)
    ours = store.commit(store.edit(base, {"train.py": lines.replace("line 2\n", "ours\n").encode()}), [base], "o\n", 0)
    theirs = store.commit(
        store.edit(base, {"train.py": lines.replace("line 27\n", "theirs\n").encode()}), [base], "t\n", 0
    )
    clash = store.commit(
        store.edit(base, {"train.py": lines.replace("line 2\n", "clash\n").encode()}), [base], "c\n", 0
    )
    assert store.merge_base(ours, theirs) == base
    merged = store.merge(base, ours, theirs)
    assert merged is not None
    text = (store.file(merged, "train.py") or b"").decode()
    assert "ours\n" in text and "theirs\n" in text
    assert store.merge(base, ours, clash) is None
    assert "-line 2\n+ours\n" in store.diff(base, ours)
    store.flush()
    fsck(bare)
    assert git(bare, "merge-base", ours, theirs) == base


def test_unrelated_commits_have_no_merge_base(store: Store) -> None:
    tree = store.tree({})
    assert store.merge_base(store.commit(tree, [], "a\n", 0), store.commit(tree, [], "b\n", 0)) is None


def test_missing_or_wrong_objects_say_so(store: Store, bare: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no object"):
        store.read("12" * 20)
    with pytest.raises(ArchiveError, match="is no commit"):
        store.commit_of(store.blob(b"x"))
    with pytest.raises(ArchiveError, match="neither"):
        store.tree_of(store.blob(b"x"))
    assert not store.exists("12" * 20) and not store.exists("zz")
    with pytest.raises(ArchiveError, match="cannot be opened"):
        Store(bare.parent / "nothing")


def test_random_objects_survive_packing_and_joining(store: Store, bare: Path) -> None:
    """Sizes around the length encoding's borders; read back by git, by this store and by a new one."""
    rng = random.Random(5)
    sizes = [0, 1, 14, 15, 16, 17, 127, 128, 2047, 2048, 2049, 70_000, 3_000_000]
    blobs = {}
    for k, size in enumerate(sizes):
        data = rng.randbytes(size // 2) + bytes(size - size // 2)
        blobs[store.blob(data)] = data
        if k % 2:
            store.flush()
    store.flush()
    small = sorted((bare / "objects/pack").glob("*.keep"))
    assert len(small) == len(sizes) // 2 + 1
    store.fold()
    for oid, data in blobs.items():
        assert store.read(oid) == data and Store(bare).read(oid) == data
    store.close()
    assert not list((bare / "objects/pack").glob("*.keep"))
    listed = git(bare, "cat-file", "--batch-check", "--batch-all-objects")
    assert all(f"{oid} blob {len(data)}" in listed for oid, data in blobs.items())
    fsck(bare)


def test_joining_one_pack_or_repeated_objects_loses_nothing(store: Store, bare: Path) -> None:
    """The joined pack may be, byte for byte, one of those it was joined from."""
    one, two = store.blob(b"one"), store.blob(b"two")
    store.flush()
    store.fold()
    assert Store(bare).read(one) == b"one"
    again = Store(bare)
    again.blob(b"three"), again.blob(b"four")
    again.flush()
    three = again.blob(b"five")
    again.flush()
    again._fresh.append(again._fresh[0])
    again.fold()
    again.blob(b"six")
    again.close()
    fresh = Store(bare)
    assert (fresh.read(one), fresh.read(two), fresh.read(three)) == (b"one", b"two", b"five")
    fsck(bare)


def test_index_offsets_beyond_two_gigabytes_use_the_large_table() -> None:
    made = pack.Pack(bytearray(12), [b"\1" * 20, b"\2" * 20], [7, 8], [12, (1 << 31) + 5])
    index = pack._index(made, b"t" * 20)
    assert index[8 + 1024 + 40 + 8 :][:8] == (12).to_bytes(4) + (1 << 31).to_bytes(4)
    assert index[8 + 1024 + 40 + 8 + 8 :][:8] == ((1 << 31) + 5).to_bytes(8)


def test_threads_may_write_while_another_flushes(bare: Path) -> None:
    store = Store(bare, fold_packs=3)
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            store.flush()
            store.fold_if_due()

    thread = threading.Thread(target=flush)
    thread.start()
    made: dict[str, bytes] = {}

    def write(worker: int) -> None:
        for k in range(300):
            data = b"%d/%d" % (worker, k)
            oid = store.blob(data)
            assert store.read(oid) == data
            made[oid] = data

    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    thread.join()
    store.close()
    assert len(made) == 900
    fresh = Store(bare)
    assert all(fresh.read(oid) == data for oid, data in made.items())
    fsck(bare)


def test_a_long_reader_of_a_busy_archive_leaks_nothing(bare: Path) -> None:
    """The writer makes packs and joins them; libgit2 alone would keep every one it ever saw."""
    writer, reader = Store(bare, fold_packs=8, durable=False), Store(bare)
    descriptors, maps = [], []
    for k in range(600):
        oid = writer.blob(b"%d" % k)
        writer.flush()
        assert reader.read(oid) == b"%d" % k
        writer.fold_if_due()
        if k % 10 == 0:
            descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
            maps.append(len(Path("/proc/self/maps").read_text().splitlines()))
    assert max(descriptors) < descriptors[0] + 200, descriptors  # other tests of this process may hold some
    assert max(maps[30:]) <= max(maps[:30]) + 50, maps


def test_a_long_life_leaks_no_file_descriptor(bare: Path) -> None:
    store = Store(bare, fold_packs=2)
    first = store.blob(b"first")
    counts = []
    for k in range(60):
        store.blob(b"%d" % k)
        store.flush()
        assert store.fold_if_due() == bool(k % 2)
        assert store.read(first) == b"first"
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts[30:]) <= max(counts[:30]) + 2, counts
