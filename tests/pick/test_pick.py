"""`evolve pick` on real repositories: moved upstreams, renames, conflicts, merges in the lineage, hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.cli import invoke as cli
from evolve.errors import RepositoryError, UsageError
from evolve.pick import Conflict, Picked, Picker, Wanted
from evolve.upstream import pull_request, text_plot
from tests.pick.scene import PROGRAM, RUN, Scene, run_git, scene


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    made = scene(tmp_path)
    yield made
    made.writer.close()
    made.archive.close()


def picker(place: Scene) -> Picker:
    place.writer.flush()
    return Picker(place.archive, place.archive.state(RUN), place.task, place.repo)


def pick(place: Scene, commit: str, **options: object) -> Picked:
    return asyncio.run(picker(place).pick(Wanted(commit, **options)))  # type: ignore[arg-type]


def winner(place: Scene) -> str:
    commit = place.bear([place.base], {"SPEED = 1": "SPEED = 4"}, 4.0, "turn it up")
    place.promote(commit, 3.0)
    return commit


def untouched(place: Scene) -> tuple[str, str, str, str]:
    return (
        place.git("rev-parse", "HEAD"),
        place.git("status", "--porcelain"),
        place.git("for-each-ref"),
        place.git("worktree", "list"),
    )


def test_a_squash_is_the_users_own_commit_with_the_champions_tree(place: Scene) -> None:
    champion = winner(place)
    before = untouched(place)
    picked = pick(place, champion)
    assert place.git("rev-parse", f"{picked.commit}^{{tree}}") == place.archive.store.tree_of(champion)
    assert place.git("rev-parse", f"{picked.commit}^") == place.base
    assert place.git("log", "-1", "--format=%an <%ae> %cn", picked.commit) == "Ada User <ada@example.invalid> Ada User"
    message = place.git("log", "-1", "--format=%B", picked.commit)
    assert message.startswith("Improve score by 300.0% (1 -> 4 points)")
    assert "turn it up (score +3)" in message and "Evolve-" not in message
    assert picked.same and picked.there is None
    assert untouched(place) == before


def test_trailers_only_where_asked_and_sign_off_by_option_or_configuration(place: Scene) -> None:
    champion = winner(place)
    picked = pick(place, champion, provenance=True, signoff=True)
    trailers = place.git("log", "-1", "--format=%(trailers)", picked.commit)
    assert f"Evolve-Candidate: {champion}" in trailers
    assert "Signed-off-by: Ada User <ada@example.invalid>" in trailers
    place.git("config", "format.signOff", "true")
    assert "Signed-off-by" in place.git("log", "-1", "--format=%(trailers)", pick(place, champion).commit)


@pytest.mark.jail
def test_onto_a_branch_that_moved_it_merges_and_is_measured_there(place: Scene) -> None:
    champion = winner(place)
    head = place.upstream({"program.py": PROGRAM.replace("IDLE = 0", "IDLE = 7"), "limit.py": "MOST = 50\n"})
    picked = pick(place, champion)
    assert place.git("rev-parse", f"{picked.commit}^") == head
    text = place.git("show", f"{picked.commit}:program.py")
    assert "SPEED = 4" in text and "IDLE = 7" in text
    assert picked.there is not None and picked.there.gain == 3.0 and picked.there.shown_better


@pytest.mark.jail
def test_a_gain_that_does_not_survive_is_told_with_exit_code_1(
    place: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    winner(place)
    place.upstream({"limit.py": "MOST = 1\n"})
    monkeypatch.chdir(place.repo)
    assert cli(["pick", "--name", RUN]) == 1
    said = capsys.readouterr()
    assert "the gain does not survive: score +0 points (n = 1)" in said.err
    commit, name = said.out.split()
    assert place.git("rev-parse", name) == commit


def test_a_renamed_file_is_followed(place: Scene) -> None:
    champion = winner(place)
    place.git("mv", "program.py", "engine.py")
    place.git("commit", "-qm", "Rename")
    picked = pick(place, champion, checked=False)
    assert "SPEED = 4" in place.git("show", f"{picked.commit}:engine.py")
    assert place.git("diff", "--name-only", f"{picked.commit}^", picked.commit) == "engine.py"


def test_a_conflict_is_reported_as_git_does_and_changes_nothing(place: Scene) -> None:
    champion = winner(place)
    place.upstream({"program.py": PROGRAM.replace("SPEED = 1", "SPEED = 2")})
    before = untouched(place)
    with pytest.raises(Conflict) as caught:
        pick(place, champion)
    assert caught.value.paths == ("program.py",)
    assert "CONFLICT (content): Merge conflict in program.py" in caught.value.said
    assert untouched(place) == before


def test_steps_are_a_series_with_gains_merges_included(place: Scene) -> None:
    one = place.bear([place.base], {"SPEED = 1": "SPEED = 2"}, 2.0, "a little faster")
    other = place.bear([place.base], {"LEFT = 0": "LEFT = 1"}, 1.0, "left on")
    crossed = place.bear([one, other], {"LEFT = 0": "LEFT = 1"}, 2.0, "both")
    last = place.bear([crossed], {"RIGHT = 0": "RIGHT = 1"}, 5.0, "right on")
    place.promote(last, 4.0)
    picked = pick(place, last, mode="steps")
    subjects = place.git("log", "--reverse", "--format=%s", f"{place.base}..{picked.commit}").splitlines()
    assert subjects == ["a little faster", "both", "right on"]
    assert place.git("log", "--merges", "--format=%h", f"{place.base}..{picked.commit}") == ""
    assert "score: 2 -> 5 (score +3)" in place.git("log", "-1", "--format=%b", picked.commit)
    assert place.git("rev-parse", f"{picked.commit}^{{tree}}") == place.archive.store.tree_of(last)


def test_a_step_that_upstream_has_already_is_skipped(place: Scene) -> None:
    one = place.bear([place.base], {"SPEED = 1": "SPEED = 2"}, 2.0, "a little faster")
    last = place.bear([one], {"IDLE = 0": "IDLE = 1"}, 2.5, "more")
    place.promote(last, 1.5)
    place.upstream({"program.py": PROGRAM.replace("SPEED = 1", "SPEED = 2")})
    picked = pick(place, last, mode="steps", checked=False)
    assert picked.skipped == ["a little faster"] and len(picked.commits) == 1


@pytest.mark.jail
def test_minimal_leaves_only_hunks_that_pay(place: Scene) -> None:
    champion = place.bear(
        [place.base],
        {"SPEED = 1": "SPEED = 3", "LEFT = 0": "LEFT = 1", "RIGHT = 0": "RIGHT = 1", "IDLE = 0": "IDLE = 9",
         "# some": "# other", "# stays as it is": "# is not as it was"},
        6.0,
    )  # fmt: skip
    place.promote(champion, 5.0)
    picked = pick(place, champion, mode="minimal")
    text = place.git("show", f"{picked.commit}:program.py")
    paying = PROGRAM.replace("SPEED = 1", "SPEED = 3").replace("LEFT = 0", "LEFT = 1").replace("RIGHT = 0", "RIGHT = 1")
    assert text + "\n" == paying
    assert picked.reduction is not None and picked.reduction.complete
    worth = [pair.gain if pair else None for _, pair in picked.reduction.kept]
    assert worth == [-2.0, -3.0, -3.0]
    assert "3 of 6 hunks" in place.git("log", "-1", "--format=%B", picked.commit)
    assert "worth score +3" in place.git("log", "-1", "--format=%B", picked.commit)


def test_hooks_run_as_the_users_git_would(place: Scene) -> None:
    champion = winner(place)
    hooks = place.repo / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name, text in {"commit-msg": 'echo "Ticket: 7" >> "$1"', "pre-commit": "echo 1 > made; git add made"}.items():
        (hooks / name).write_text(f"#!/bin/sh\n{text}\n")
        (hooks / name).chmod(0o755)
    picked = pick(place, champion, checked=False)
    assert "Ticket: 7" in place.git("log", "-1", "--format=%B", picked.commit)
    assert picked.hooked and place.git("show", f"{picked.commit}:made") == "1"
    (hooks / "pre-commit").write_text("#!/bin/sh\necho no secrets here >&2\nexit 1\n")
    before = untouched(place)
    with pytest.raises(RepositoryError, match="no secrets here"):
        pick(place, champion)
    assert untouched(place) == before


def test_a_patch_is_taken_by_git_am_elsewhere(
    place: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = winner(place)
    run_git(tmp_path, "clone", "-q", str(place.repo), "elsewhere")
    monkeypatch.chdir(place.repo)
    assert cli(["pick", "--name", RUN, "--patch", str(tmp_path / "p"), "--pr-body", str(tmp_path / "b.md")]) == 0
    elsewhere = tmp_path / "elsewhere"
    run_git(elsewhere, "-c", "user.name=B", "-c", "user.email=b@example.invalid", "am", "-q", str(tmp_path / "p"))
    assert run_git(elsewhere, "rev-parse", "HEAD^{tree}") == place.archive.store.tree_of(champion)
    assert not place.git("for-each-ref", "refs/heads/evolve-pick")
    body = (tmp_path / "b.md").read_text()
    assert "| score (points) | 1 | **4** | exact | 1 |" in body and "┤" in body and "turn it up" in body


def test_apply_moves_the_branch_here_and_nothing_else_does(place: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    winner(place)
    monkeypatch.chdir(place.repo)
    assert cli(["pick", "--name", RUN, "--branch", "faster"]) == 0
    assert place.git("rev-parse", "HEAD") == place.base and place.git("rev-parse", "faster^") == place.base
    assert cli(["pick", "--name", RUN, "--branch", "faster"]) == 2  # taken
    assert cli(["pick", "--name", RUN, "--apply"]) == 0
    assert place.git("rev-parse", "main^") == place.base
    assert "SPEED = 4" in (place.repo / "program.py").read_text() and place.git("status", "--porcelain") == ""


def test_what_cannot_be_taken_says_why(place: Scene) -> None:
    broken = place.bear([place.base], {"SPEED = 1": "SPEED = 0"}, None)
    place.writer.flush()
    with pytest.raises(UsageError, match="the base itself"):
        pick(place, place.base)
    with pytest.raises(UsageError, match="it broke"):
        pick(place, broken)
    with pytest.raises(UsageError, match="names no commit"):
        pick(place, winner(place), onto="nowhere")


def test_a_models_words_stay_words_in_a_pull_request(place: Scene) -> None:
    commit = place.bear([place.base], {"SPEED = 1": "SPEED = 4"}, 4.0, "<script>alert(1)</script> @everyone [x](http://a)")
    place.promote(commit, 3.0)
    picked = pick(place, commit)
    state = place.archive.state(RUN)
    body = pull_request(state, place.task, state.candidates[commit], picked, "HEAD")
    assert "<script>" not in body and "@everyone" not in body and "[x](" not in body


def test_the_plot_steps_up_from_left_to_right() -> None:
    rows = text_plot([(1, 0.0), (50, 1.0), (100, 4.0)], width=20, height=5)
    assert rows[0].startswith("4 ┤") and rows[0].endswith("─")
    assert rows[4].startswith("0 ┤─────")
    assert rows[-1].split() == ["1", "100"]
