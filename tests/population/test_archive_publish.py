"""The user's repository: what an archive takes from it, what a run publishes into it, and that nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evolve.population import events as ev
from evolve.population import publish
from evolve.population.archive import Archive
from evolve.tasks.errors import ArchiveError, RepositoryError, UsageError
from tests.population.scene import ENVIRONMENT, bear, fsck, git, opened, repository


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "user")


def everything(repo: Path) -> dict[str, str]:
    """Every file of the repository outside our folder and the published refs, with time and content."""
    out = {}
    for folder, below, files in os.walk(repo):
        if folder == str(repo / ".git"):
            below.remove("evolve") if "evolve" in below else None
        for name in files:
            path = Path(folder, name)
            if "refs/heads/evolve" not in str(path) and "/objects/" not in str(path):
                out[str(path)] = f"{path.stat().st_mtime_ns} {path.read_bytes()!r}"
    return out


def test_only_the_named_branches_are_added(repo: Path) -> None:
    """With hooks, gc, reflogs, pruning and commit graphs all set to strike."""
    tattle = repo / "tattled"
    for hook in ("reference-transaction", "post-merge", "pre-auto-gc", "post-checkout"):
        path = repo / ".git/hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {hook} >> {tattle}\n")
        path.chmod(0o755)
    for key, value in {
        "gc.auto": "1", "fetch.prune": "true", "fetch.writeCommitGraph": "true", "core.logAllRefUpdates": "always",
        "fetch.recurseSubmodules": "true", "protocol.file.allow": "never", "maintenance.strategy": "incremental",
    }.items():  # fmt: skip
        git(repo, "config", key, value)
    git(repo, "update-ref", "refs/heads/evolve-notes/x", "HEAD")
    tattle.unlink(missing_ok=True)
    (repo / "train.py").write_text("uncommitted\n")
    before = everything(repo)
    archive, writer, base = opened(repo)
    child = bear(archive, writer, base, 1, "rate = 0.2\n", 1.5)
    writer.append(ev.Promoted("t", child, base))
    state = archive.state("r")
    archive.check_room("r")
    done = archive.publish(state)
    again = archive.publish(state)
    writer.close()
    archive.close()
    assert everything(repo) == before and not tattle.exists()
    assert again.refs == done.refs and not done.skipped
    refs = git(repo, "for-each-ref", "--format=%(refname)").splitlines()
    ours = ("evolve/r/best", "evolve/r/main", "evolve/r/winner")
    assert refs == [f"refs/heads/{n}" for n in ("evolve-notes/x", *ours, "main")]
    assert git(repo, "log", "--format=%s", "evolve/r/best") == "change 1\nFirst version"
    fsck(repo)


def test_publish_under_a_hook_of_the_user(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook's environment names the user's index and repository; git must not be led by it."""
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    archive, writer, _ = opened(repo)
    archive.publish(archive.state("r"))
    writer.close()
    monkeypatch.undo()
    assert git(repo, "rev-parse", "evolve/r/best") == git(repo, "rev-parse", "main")


def test_winner_is_one_cherry_pick_also_across_merges(repo: Path, tmp_path: Path) -> None:
    archive, writer, base = opened(repo)
    store = archive.store
    left = bear(archive, writer, base, 1, "rate = 0.2\nprint(rate)\n", 1.0)
    tree = store.edit(base, {"lib/deep/util.py": b"x = 2\n", "lib/new.py": b"n = 1\n"})
    right = store.commit(tree, [base], "other\n", writer.now())
    merged = store.merge(base, left, right)
    assert merged
    both = store.commit(merged, [left, right], "both\n", writer.now())
    writer.append(ev.Born(2, "t", right, tree, (base,), 2))
    writer.append(ev.Born(3, "t", both, merged, (left, right), 3, idea="Take  the best\nof both"))
    writer.append(ev.Promoted("t", both, base))
    archive.publish(archive.state("r"))
    writer.close()
    subprocess.run(["git", "clone", "-q", repo, tmp_path / "clone"], check=True, env=ENVIRONMENT)
    clone = tmp_path / "clone"
    git(clone, "fetch", "-q", "origin", "evolve/r/winner")
    git(clone, "cherry-pick", "FETCH_HEAD")
    assert git(clone, "rev-parse", "HEAD^{tree}") == merged
    assert git(clone, "log", "-1", "--format=%s") == "Take the best of both"
    git(repo, "cherry-pick", "evolve/r/winner")
    assert git(repo, "rev-parse", "HEAD^{tree}") == merged
    assert git(repo, "rev-list", "--merges", "--count", "evolve/r/best") == "1"


def test_a_branch_that_is_checked_out_is_left_and_named(repo: Path) -> None:
    archive, writer, base = opened(repo)
    archive.publish(archive.state("r"))
    git(repo, "checkout", "-q", "evolve/r/best")
    child = bear(archive, writer, base, 1, "rate = 0.2\n", 1.5)
    writer.append(ev.Promoted("t", child, base))
    done = archive.publish(archive.state("r"))
    assert list(done.skipped) == ["refs/heads/evolve/r/best"] and str(repo) in done.skipped["refs/heads/evolve/r/best"]
    assert git(repo, "rev-parse", "evolve/r/best") == base and git(repo, "rev-parse", "evolve/r/winner^") == base
    gone = publish.withdraw(archive, "r")
    assert list(gone.skipped) == ["refs/heads/evolve/r/best"]
    git(repo, "checkout", "-q", "main")
    assert not publish.withdraw(archive, "r").skipped
    assert git(repo, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert len(list(archive.events("r"))) > 3
    writer.close()


@pytest.mark.parametrize(
    ("branch", "says"),
    [
        ("evolve", "a branch called 'evolve' is in the way of evolve/r/best; rename it"),
        ("evolve/r", "a branch called 'evolve/r' is in the way"),
        ("evolve/R/best", "differs from those of run 'r' only in case"),
    ],
)
def test_a_branch_in_the_way_is_named(repo: Path, branch: str, says: str) -> None:
    git(repo, "branch", branch)
    archive, writer, _ = opened(repo)
    with pytest.raises(RepositoryError, match=says):
        archive.check_room("r")
    if branch != "evolve/R/best":
        with pytest.raises(RepositoryError, match=r"cannot lock ref|cannot create"):
            archive.publish(archive.state("r"))
    archive.check_room("r", prefix="refs/evolve-runs")
    archive.publish(archive.state("r"), prefix="refs/evolve-runs")
    assert git(repo, "rev-parse", "refs/evolve-runs/r/best") == git(repo, "rev-parse", "main")
    assert git(repo, "branch", "--format=%(refname:short)").split() == sorted([branch, "main"])
    writer.close()


@pytest.mark.parametrize("name", ["best", "winner"])
def test_an_island_cannot_be_called_as_a_branch_of_every_run(repo: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be called '{name}'"):
        publish.check_island(name)
    with pytest.raises(UsageError, match="holds a '/'"):
        publish.check_island("a/b")


@pytest.mark.parametrize("prefix", ["heads/evolve", "refs", "refs/heads/../x", "refs/heads/evolve/", "refs/a.lock/b"])
def test_a_prefix_that_is_no_namespace_is_refused(repo: Path, prefix: str) -> None:
    archive, writer, _ = opened(repo)
    with pytest.raises(UsageError, match="must be a ref namespace"):
        archive.publish(archive.state("r"), prefix=prefix)
    writer.close()


def test_several_tasks_have_a_folder_each(repo: Path) -> None:
    archive = Archive.open(repo, create=True)
    base = archive.import_commit(repo, "HEAD")
    writer = archive.writer("suite")
    writer.append(ev.RunOpened("suite", {n: ev.TaskOpened(base, "", "") for n in ("one", "two")}, 7, "0"))
    for number, task in enumerate(("one", "two")):
        writer.append(ev.Imported(task, base, archive.store.tree_of(base), (), number, source="seed"))
    done = archive.publish(archive.state("suite"))
    branches = {ref.removeprefix("refs/heads/evolve/suite/") for ref in done.refs}
    assert branches == {"one/best", "one/winner", "two/best", "two/winner"}
    writer.close()


# ---- making and finding archives -------------------------------------------------------------------------------------


def test_the_archive_is_a_clone_by_hard_links_without_refs_or_alternates(repo: Path) -> None:
    git(repo, "tag", "v1")
    git(repo, "repack", "-adq")
    archive = Archive.open(repo / "lib/deep", create=True)
    assert archive.path == repo / ".git/evolve/archive.git" and archive.home == repo / ".git/evolve"
    assert git(archive.path, "for-each-ref") == "" and git(archive.path, "remote") == ""
    (pack,) = (repo / ".git/objects/pack").glob("*.pack")
    assert (archive.path / "objects/pack" / pack.name).stat().st_ino == pack.stat().st_ino
    assert not (archive.path / "objects/info/alternates").exists()
    archive.import_commit(repo, "v1")
    git(repo, "gc", "-q", "--prune=now")
    fsck(archive.path)
    assert Archive.open(repo, create=True).path == archive.path


def test_a_repository_without_a_commit_gets_an_archive_and_takes_commits_later(tmp_path: Path) -> None:
    repo = repository(tmp_path / "user", {})
    archive = Archive.open(repo, create=True)
    with pytest.raises(UsageError, match="knows no commit 'HEAD'"):
        archive.import_commit(repo, "HEAD")
    (repo / "a.py").write_text("1\n")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "Now")
    head = archive.import_commit(repo, "HEAD")
    assert archive.store.file(head, "a.py") == b"1\n"


def test_later_commits_of_the_user_can_be_brought_in(repo: Path) -> None:
    archive, writer, base = opened(repo)
    (repo / "train.py").write_text("by hand\n")
    git(repo, "commit", "-qam", "By hand")
    loose = git(repo, "rev-parse", "HEAD")
    git(repo, "reset", "-q", "--hard", "HEAD~1")
    assert archive.import_commit(repo, loose[:12]) == loose  # no branch of the user's holds it any more
    assert archive.store.parents_of(loose) == (base,)
    writer.append(ev.Imported("t", loose, archive.store.tree_of(loose), (base,), 1, source="person"))
    writer.close()
    fsck(archive.path)
    for bad in ("nothing", "--upload-pack=x", "HEAD^{tree}", "main:train.py"):
        with pytest.raises(UsageError, match="knows no commit"):
            archive.import_commit(repo, bad)


def test_a_worktree_and_a_clone_with_alternates(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "side")
    archive = Archive.open(tmp_path / "tree", create=True)
    assert archive.path == repo / ".git/evolve/archive.git"
    subprocess.run(["git", "clone", "-q", "--shared", repo, tmp_path / "shared"], check=True, env=ENVIRONMENT)
    shared, writer, _ = opened(tmp_path / "shared")
    assert not (shared.path / "objects/info/alternates").exists()
    writer.close()
    fsck(shared.path)


def test_a_repository_whose_objects_lie_elsewhere(repo: Path, tmp_path: Path) -> None:
    (repo / ".git/objects").rename(tmp_path / "objects")
    (repo / ".git/objects").symlink_to(tmp_path / "objects")
    archive, writer, base = opened(repo)
    assert archive.store.file(base, "README.md") == b"hello\n"
    writer.close()
    fsck(archive.path)


def test_a_shallow_clone_and_a_partial_one(repo: Path, tmp_path: Path) -> None:
    (repo / "train.py").write_text("second\n")
    git(repo, "commit", "-qam", "Second")
    git(repo, "config", "uploadpack.allowFilter", "true")
    for name, options in {"shallow": ["--depth=1"], "partial": ["--filter=blob:none"]}.items():
        clone = tmp_path / name
        subprocess.run(["git", "clone", "-q", *options, f"file://{repo}", clone], check=True, env=ENVIRONMENT)
        archive, writer, base = opened(clone)
        child = bear(archive, writer, base, 1, "rate = 3\n", 2.0)
        writer.append(ev.Promoted("t", child, base))
        archive.publish(archive.state("r"))
        assert git(clone, "log", "--format=%s", "evolve/r/winner").splitlines()[:2] == ["change 1", "Second"]
        git(clone, "cherry-pick", "evolve/r/winner")
        assert git(clone, "rev-parse", "HEAD^{tree}") == archive.store.tree_of(child)
        writer.close()
        archive.close()
        fsck(archive.path)


def test_a_partial_clone_that_lacks_the_base_says_what_to_do(repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "partial"
    options = ["--no-checkout", "--filter=blob:none"]
    subprocess.run(["git", "clone", "-q", *options, f"file://{repo}", clone], check=True, env=ENVIRONMENT)
    (tmp_path / "user").rename(tmp_path / "gone")
    archive = Archive.open(clone, create=True)
    with pytest.raises(RepositoryError, match=r"cannot be taken from .*partial clone that lacks.*--refetch"):
        archive.import_commit(clone, "HEAD")


def test_a_sha256_repository_is_refused_by_name(tmp_path: Path) -> None:
    repo = tmp_path / "user"
    repo.mkdir()
    git(repo, "init", "-q", "--object-format=sha256")
    git(repo, "commit", "-q", "--allow-empty", "-m", "x")
    with pytest.raises(RepositoryError, match="SHA-256"):
        Archive.open(repo, create=True)
    assert not (repo / ".git/evolve/archive.git").exists()


def test_outside_any_repository(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no archive at"):
        Archive.open(tmp_path)
    with pytest.raises(RepositoryError, match="in no git repository"):
        Archive.open(tmp_path, create=True)
    archive = Archive.open(tmp_path, create=True, task="circle")
    assert archive.path == tmp_path / "evolve-circle/archive.git"
    tree = archive.store.edit(archive.store.tree({}), {"program.py": b"p\n"})
    base = archive.store.commit(tree, (), "Seed\n", 1.0)
    writer = archive.writer("circle")
    writer.append(ev.RunOpened("circle", {"circle": ev.TaskOpened(base, "", "")}, 7, "0"))
    writer.append(ev.Imported("circle", base, tree, (), 0, source="seed"))
    done = archive.publish(archive.state("circle"))
    assert done.where == archive.path
    writer.close()
    assert git(archive.path, "show", "evolve/circle/winner:program.py") == "p"
    for where in (tmp_path, tmp_path / "evolve-circle", archive.path):
        assert Archive.open(where).runs() == ["circle"]
    Archive.open(tmp_path / "evolve-other", create=True).close()
    with pytest.raises(UsageError, match="several archives"):
        Archive.open(tmp_path)
    assert Archive.open(tmp_path, create=True, task="third").path.parent.name == "evolve-third"


def test_two_processes_make_one_archive(repo: Path) -> None:
    code = (
        "import sys; from evolve.population.archive import Archive; print(Archive.open(sys.argv[1], create=True).path)"
    )
    made = [subprocess.Popen([sys.executable, "-c", code, repo], stdout=subprocess.PIPE) for _ in range(3)]
    paths = {process.communicate()[0] for process in made}
    assert len(paths) == 1 and all(process.returncode == 0 for process in made)
    assert sorted(p.name for p in (repo / ".git/evolve").iterdir()) == ["archive.git", "locks"]


def test_pushing_and_fetching_an_archive_between_bare_repositories(repo: Path, tmp_path: Path) -> None:
    """Logs meet without conflict: each writer has its own."""
    archive, writer, base = opened(repo)
    for n in range(50):
        bear(archive, writer, base, n + 1, f"rate = {n}\n")
    writer.flush()
    other = tmp_path / "copy.git"
    subprocess.run(["git", "init", "-q", "--bare", other], check=True, env=ENVIRONMENT)
    git(archive.path, "push", "-q", str(other), "refs/evolve/*:refs/evolve/*")
    git(other, "config", "evolve.archive", "1")
    copy = Archive.open(other)
    assert list(copy.events("r")) == list(archive.events("r"))
    theirs = copy.writer("r", name="elsewhere")
    theirs.append(ev.Directive("from elsewhere"))
    theirs.close()
    copy.close()
    writer.append(ev.Directive("from here"))
    writer.close()
    git(archive.path, "push", "-q", str(other), "refs/evolve/*:refs/evolve/*")
    git(archive.path, "fetch", "-q", str(other), "refs/evolve/*:refs/evolve/*")
    assert list(Archive.open(other).events("r")) == list(Archive.open(repo).events("r"))
    assert len(Archive.open(repo).tips("r")) == 2
