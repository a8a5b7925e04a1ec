"""Hostile trees and edits. Each does its harm where files are written or git is run plainly; ours refuse or defuse it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from evolve.evaluators.materialise import Workshop
from evolve.tasks.policy import check_edit
from evolve.tasks.task import Task
from tests.evaluators.conftest import MakeTree

TASK = Task.parse(
    '[task]\nname = "t"\neditable = ["**"]\n[evaluate]\ncommand = "true"\nmetrics = [{name = "m", pattern = "(1)"}]\n'
)
NARROW = Task.parse(TASK.source.replace('"**"', '"src/*.py"'))


def plain_write(root: Path, path: str, text: bytes = b"planted") -> None:
    """What a tool does that trusts the paths of an edit."""
    target = os.path.join(root, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(text)


ESCAPES = {
    "dot dot": "../outside/planted",
    "dot dot inside": "a/../../outside/planted",
    "absolute": "{outside}/planted",
    "through a symlink of the base": "link/planted",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_escaping_paths(name: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "a").mkdir()
    (root / "link").symlink_to(outside)
    path = ESCAPES[name].format(outside=outside)
    plain_write(root, path)
    assert (outside / "planted").exists()  # the control
    assert check_edit(TASK, {"link": 0o120000, "a/x": 0o100644}, {path: b"x"}) is not None


GIT_RUNS = {
    ".git/config": "[core]\n\tfsmonitor = \"touch {mark}; false\"\n",
    ".git/hooks/post-checkout": "#!/bin/sh\ntouch {mark}\n",
}


@pytest.mark.parametrize("path", GIT_RUNS)
def test_files_that_make_git_run_something(path: str, tmp_path: Path) -> None:
    root, mark = tmp_path / "root", tmp_path / "mark"
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / "file").write_text("x")
    subprocess.run(["git", "-C", str(root), "add", "."], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
    subprocess.run(["git", "-C", str(root), *who, "commit", "--quiet", "-m", "x"], check=True)
    before = (root / path).read_text() if (root / path).exists() else ""
    plain_write(root, path, (before + GIT_RUNS[path].format(mark=mark)).encode())
    (root / path).chmod(0o755)
    subprocess.run(["git", "-C", str(root), "checkout", "--quiet", "-b", "other"], check=False, capture_output=True)
    subprocess.run(["git", "-C", str(root), "status"], check=False, capture_output=True)
    assert mark.exists()  # the control
    assert (check_edit(TASK, {"file": 0o100644}, {path: b"x"}) or "").startswith("git:")


def test_a_filter_in_attributes_runs_on_checkout_and_not_in_ours(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    """The user's own configuration may define a filter; a tree's attributes decide what it is fed."""
    mark = tmp_path / "mark"
    name = tree(**{".gitattributes": "* filter=evil\n", "file": "x"})
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "GIT_DIR": str(bare), "GIT_WORK_TREE": str(work), "GIT_INDEX_FILE": str(tmp_path / "index")}
    config = ["-c", f"filter.evil.smudge=touch {mark}; cat", "-c", "core.bare=false"]
    subprocess.run(["git", *config, "read-tree", name], env=env, check=True)
    subprocess.run(["git", *config, "checkout-index", "-a"], env=env, check=True, capture_output=True)
    assert mark.exists()  # the control
    mark.unlink()
    Workshop(str(bare), tmp_path / "ours").folder(name)
    assert not mark.exists()
    assert (check_edit(TASK, {}, {".gitattributes": b"x"}) or "").startswith("git:")
    assert (check_edit(TASK, {}, {"sub/.GITATTRIBUTES": b"x"}) or "").startswith("git:")


def test_a_symlink_that_is_followed(bare: Path, tree: MakeTree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    target = os.path.relpath(tmp_path / "secret", tmp_path / "plain")
    name = tree(**{"link": (0o120000, target.encode())})
    plain = tmp_path / "plain"
    plain.mkdir()
    os.symlink(target, plain / "link")
    assert (plain / "link").read_text() == "hidden"  # the control
    folder = Workshop(str(bare), tmp_path / "ours").folder(name)
    assert not (folder / "link").exists() and not (folder / "link").is_symlink()


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("a\nb.py", "path"), ("a\x00b", "path"), ("a\x7f.py", "path"), ("a\u202eb.py", "path"), ("a\u200b.py", "path"),
        ("", "path"), ("/etc/passwd", "path"), ("a//b", "path"), ("./a", "path"), ("a/", "path"), ("a\\b", "path"),
        ("a/.git/config", "git"), (".Git/config", "git"), (".git /x", "git"), ("git~1/config", "git"), (".gitmodules", "git"),
        ("/".join("d" * 40), "path"), ("x" * 2000, "path"),
    ],
)  # fmt: skip
def test_names_that_are_refused(path: str, rule: str) -> None:
    why = check_edit(TASK, {}, {path: b"x"})
    assert why is not None and why.startswith(rule + ":"), why


@pytest.mark.parametrize(
    ("before", "path", "rule"),
    [
        ({"Readme.md": 0o100644}, "README.md", "collision"),
        ({"src/a.py": 0o100644}, "SRC/b.py", "collision"),
        ({"caf\u00e9.py": 0o100644}, "cafe\u0301.py", "collision"),
        ({"a": 0o100644}, "a/b", "collision"),
        ({"a/b": 0o100644}, "a", "collision"),
        ({"link": 0o120000}, "link", "kind"),
        ({"module": 0o160000}, "module", "kind"),
    ],
)
def test_what_collides_or_is_no_file(before: dict[str, int], path: str, rule: str) -> None:
    why = check_edit(TASK, before, {path: b"x"})
    assert why is not None and why.startswith(rule + ":"), why


def test_protected_paths_size_and_count() -> None:
    assert (check_edit(NARROW, {"src/a.py": 0o100644, "test.py": 0o100644}, {"test.py": b"x"}) or "").startswith("protected:")
    assert (check_edit(NARROW, {"src/a.py": 0o100644}, {"src/a.py": bytes(9 << 20)}) or "").startswith("size:")
    assert (check_edit(TASK, {}, {f"f{i}": b"" for i in range(3000)}) or "").startswith("count:")
    assert (check_edit(TASK, {}, {"gone": None}) or "").startswith("missing:")
    for both in ({"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}, {"x/A": b"", "x/a": b""}, {"X/a": b"", "x/b": b""}):
        assert (check_edit(TASK, {}, both) or "").startswith("collision:"), both
    assert check_edit(TASK, {"a": 0o100644}, {"a": None, "a/b": b""}) is None
    assert check_edit(NARROW, {"src/a.py": 0o100644}, {"src/a.py": b"x", "src/b.py": b"y"}) is None
