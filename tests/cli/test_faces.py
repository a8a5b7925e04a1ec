"""What the commands show of a finished run: JSON everywhere, names as in git, no text of a candidate's that steers a
terminal, settings from four places. The run is made in this process, so that these tests are quick."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from evolve.cli import COMMANDS, group
from evolve.cli.common import plain
from evolve.cli.progress import View, block, clock, counts, line
from evolve.cli.run import command as run_command
from evolve.errors import UsageError
from evolve.mutators import Desk
from evolve.naming import candidate
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.settings import user_defaults
from tests.search.scene import Climb, cli, json_lines, make_repository, run_toy

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \x9b31m"


class Hostile(Climb):
    """Climbs, and writes what would steer a terminal into program and idea."""

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        proposal = await super().propose(brief, desk)
        text = next(iter(proposal.files.values()))
        assert text is not None
        if random.Random(brief.seed).random() < 0.2:
            text = text.replace(b"X = ", f"X = bad{HOSTILE}".encode())  # fails; the judge's message quotes it
        text += f"# {HOSTILE}\n".encode()
        return Proposal({"program.py": text}, f"move {HOSTILE}\nsecond line", "climb")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a finished run of 40 hostile candidates, published."""
    place = make_repository(tmp_path_factory.mktemp("faces") / "toy")
    run_toy(place, mutator=Hostile(), evaluations=40, publish=True)
    return place


def git(place: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, check=True).stdout.strip()


# ---- JSON ------------------------------------------------------------------------------------------------------------

WITHOUT_JSON = {"completion", "ui"}


def test_every_command_can_speak_json() -> None:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if name not in WITHOUT_JSON:
                assert "--json" in {flag for p in command.params for flag in p.opts}, name


@pytest.mark.parametrize(
    "words",
    [("status",), ("show",), ("show", "#1"), ("diff",), ("diff", "--parent"), ("best",), ("best", "--why"), ("budget",),
     ("tasks",), ("pick", "--no-check"), ("report", "--no-transcripts"), ("note", "be bold"), ("pause",), ("resume",), ("stop",), ("wait", "--for", "40")],
    ids=" ".join,
)  # fmt: skip
def test_json_is_one_document_on_stdout(place: Path, words: tuple[str, ...]) -> None:
    done = cli(*words, "--json", cwd=place)
    json.loads(done.stdout)


def test_log_json_is_a_row_for_each_verdict(place: Path) -> None:
    rows = json_lines(cli("log", "--json", cwd=place).stdout)
    assert len(rows) == 40 and len({row["commit"] for row in rows}) == 40
    assert {"number", "commit", "status", "fitness", "low", "high", "idea", "operator", "parents"} <= rows[0].keys()
    assert len(json_lines(cli("log", "--json", "-l", "3", cwd=place).stdout)) == 3


def test_a_closed_pipe_is_no_error(place: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m evolve log | head -1", shell=True, cwd=place, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1 and done.stderr == ""


# ---- a candidate's text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("log",), ("log", "--graph"), ("show",), ("best", "--why"), ("status",), ("log", "--json"), ("show", "--json")],
    ids=" ".join,
)  # fmt: skip
def test_no_text_of_a_candidate_steers_a_terminal(place: Path, words: tuple[str, ...]) -> None:
    shown = cli(*words, cwd=place).stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert "owned" in shown or words == ("status",)  # it is shown, as what it is


def test_a_failure_that_quotes_the_program_is_shown_as_text(place: Path) -> None:
    rows = json_lines(cli("log", "--json", cwd=place).stdout)
    failed = next(row for row in rows if row["status"] == "invalid")
    assert "\x1b" in str(failed["reason"])
    assert "\\x1b[2J" in cli("show", f"#{failed['number']}", cwd=place).stdout


def test_a_diff_is_a_patch_in_a_pipe_and_text_on_a_terminal(place: Path, tmp_path: Path) -> None:
    patch = cli("diff", cwd=place).stdout
    assert "\x1b]0;owned" in patch
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(place), str(clone)], check=True)
    subprocess.run(["git", "apply", "--index", "-"], cwd=clone, input=patch, text=True, check=True)
    assert git(clone, "write-tree") == git(place, "rev-parse", "evolve/toy/best^{tree}")
    shown = on_terminal(place, "diff", "--no-pager")
    assert "owned" in shown and "\x1b]0;" not in shown and "\x9b" not in shown
    assert "\x1b[32m" in shown  # our own colour
    assert "\x1b[" not in on_terminal(place, "diff", "--no-pager", NO_COLOR="1")
    on_terminal(place, "diff", PAGER=f"tee {tmp_path / 'paged'}")
    assert re.search(r"\x1b\[32m\+\w", (tmp_path / "paged").read_text()), "the pager gets the colours"


def test_plain() -> None:
    assert plain("a\nb\tc\x1b[0m") == "a b c\\x1b[0m"
    assert plain("a\n\tb\u202e\r", lines=True) == "a\n        b\\u202e\\r"
    assert plain("größer, 数") == "größer, 数"


# ---- names -----------------------------------------------------------------------------------------------------------


def test_names_as_in_git(place: Path) -> None:
    best = json.loads(cli("best", "--json", cwd=place).stdout)

    archive = Archive.open(place)
    state = archive.state("toy")

    def commit(name: str) -> str:
        return candidate(name, archive, state, place).commit

    assert commit("best") == commit("evolve/toy/best") == commit(best["commit"][:8]) == best["commit"]
    assert commit("evolve/toy/winner") == best["commit"]  # the squash has the champion's tree
    assert commit("best~1") == best["parents"][0] == commit(f"{best['commit'][:9]}^")
    assert commit("#0") == commit("HEAD") == commit("main") == git(place, "rev-parse", "HEAD")
    for name, says in (("#99", "no candidate number 99; it has"), ("nosuch", "evolve log --name toy"), ("HEAD~7", "no candidate")):
        with pytest.raises(UsageError, match=says):
            commit(name)
    assert json.loads(cli("show", "#0", "--json", cwd=place).stdout)["number"] == 0


def test_a_branch_of_the_users_is_looked_for_in_their_repository(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    run_toy(place, evaluations=4)
    (place / "other.txt").write_text("moved on\n")
    git(place, "commit", "-qam", "Move on")
    done = cli("show", "main", cwd=place, ok=False)  # not the base, which the archive also holds
    assert done.returncode == 2 and "is no candidate of run 'toy'" in done.stderr and "evolve add main" in done.stderr
    assert json.loads(cli("show", "main~1", "--json", cwd=place).stdout)["number"] == 0


def test_unknown_runs_and_places(place: Path, tmp_path: Path) -> None:
    done = cli("log", "--name", "toi", cwd=place, ok=False)
    assert done.returncode == 2 and "did you mean 'toy'?" in done.stderr
    assert cli("log", cwd=tmp_path, ok=False).returncode == 5
    assert cli("-C", str(place), "log", "-l", "1", cwd=tmp_path).stdout
    assert cli("-C", "nosuch", "log", cwd=tmp_path, ok=False).returncode == 2


# ---- the graph and the path ------------------------------------------------------------------------------------------


def test_the_graph_marks_champion_path_and_rest(place: Path) -> None:
    lines = cli("log", "--graph", cwd=place).stdout.splitlines()
    best = json.loads(cli("best", "--json", cwd=place).stdout)
    champion = [text for text in lines if text.startswith("@")]
    assert len(champion) == 1 and best["commit"][:10] in champion[0]
    path = {step["commit"][:10] for step in best["path"]}
    marked = {m[1] for text in lines if (m := re.match(r"[@o][ |]*#\d+\s+(\w{10})", text))}
    assert marked == path
    folded = sum(int(text.split()[-2]) for text in lines if text.endswith(" more"))
    assert folded + sum("#" in text for text in lines) == 40


def test_the_path_tells_each_gain(place: Path) -> None:
    path = json.loads(cli("best", "--json", cwd=place).stdout)["path"]
    assert path[0]["gain"] is None and path[0]["number"] == 0
    assert all(step["gain"] is not None for step in path[1:])
    promoted = [step for step in path[1:] if step["was_champion"]]
    assert promoted and all(step["gain_low"] is not None and step["gain"] > 0 for step in promoted)


# ---- taking ----------------------------------------------------------------------------------------------------------


def test_what_is_not_published_is_taken_as_a_patch(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "to y")  # with a space
    _, result = run_toy(place, evaluations=25)
    best = json.loads(cli("best", "--json", cwd=place).stdout)
    assert git(place, "branch", "--list", "evolve/*") == ""
    subprocess.run(best["take"][0], shell=True, cwd=place, check=True)
    assert git(place, "write-tree") == result.best["toy"].tree


def test_branches_of_another_prefix_are_found(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    _, result = run_toy(place, evaluations=25, publish=True, prefix="refs/searches")
    take = json.loads(cli("best", "--json", cwd=place).stdout)["take"]
    assert take == ["git cherry-pick refs/searches/toy/winner"]
    subprocess.run(take[0], shell=True, cwd=place, check=True)
    assert git(place, "rev-parse", "HEAD^{tree}") == result.best["toy"].tree


def test_nothing_better_gives_nothing_to_take(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    run_toy(place, evaluations=1)
    best = cli("best", cwd=place).stdout
    assert "nothing was better than the seed" in best and "take it" not in best


# ---- settings --------------------------------------------------------------------------------------------------------


def parsed(*words: str) -> dict[str, Any]:
    with click.Context(group, **group.context_settings) as parent:  # click keeps the first help option it makes
        return run_command.make_context("run", list(words), parent).params


def test_flags_before_environment_before_user_file_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed()["evals"] is None and parsed()["control"] is True and parsed()["proposals"] == 4
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "evolve" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[run]\nevals = 7\ncontrol = false\nmutator = "tune"\ntime = "3m"\n')
    found = parsed()
    assert (found["evals"], found["control"], found["mutators"], found["time_limit"]) == (7, False, ("tune",), "3m")
    monkeypatch.setenv("EVOLVE_EVALS", "8")
    monkeypatch.setenv("EVOLVE_CONTROL", "1")
    assert (parsed()["evals"], parsed()["control"]) == (8, True)
    found = parsed("--evals", "9", "--no-control", "-m", "syntactic", "-m", "tune")
    assert (found["evals"], found["control"], found["mutators"]) == (9, False, ("syntactic", "tune"))
    monkeypatch.setenv("EVOLVE_EVALS", "none")
    with pytest.raises(click.UsageError, match="'none'"):
        parsed()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[run]\neval = 7\n", "did you mean 'evals'"),
        ("[run]\nevals = true\n", "must be int"),
        ('[run]\nworkers = "many"\n', "must be int"),
        ("[models]\n", r"unknown table \[models\]"),
        ("run = 3\n", "must be a table"),
        ("[run\n", "cannot read"),
    ],
)
def test_a_wrong_user_file_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        user_defaults(tmp_path / "config.toml")


def test_help_needs_no_good_user_file(tmp_path: Path) -> None:
    path = tmp_path / "evolve" / "config.toml"
    path.parent.mkdir()
    path.write_text("[run]\neval = 7\n")
    assert cli("run", "--help", cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path)).returncode == 0
    done = cli("run", "circle_packing", cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path), ok=False)
    assert done.returncode == 2 and "did you mean 'evals'" in done.stderr


# ---- completion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("evolve", "sta"), "status"),
        (("evolve", "run", "circ"), "circle_packing"),
        (("evolve", "log", "--name", "t"), "toy"),
        (("evolve", "show", "evolve/toy/w"), "evolve/toy/winner"),
        (("evolve", "run", "--no-c"), "--no-control"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_completion(place: Path, words: tuple[str, ...], offered: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evolve"], cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "_EVOLVE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    assert offered in {row.partition(",")[2] for row in done.stdout.splitlines()}, done.stdout + done.stderr


# ---- progress --------------------------------------------------------------------------------------------------------

SHOWN = View(
    "packing", 83.2, 120.0, 512, None, 9.4, 36.8, 0.69, {"packing": "sum_radii 2.13 [2.1, 2.2] side lengths"},
    {"packing": "random search 1.4, greedy 1.7"}, {"crash": 3, "timeout": 11}, 4,
)  # fmt: skip


def test_a_progress_line_says_what_matters() -> None:
    text = line(SHOWN)
    for part in ("1:23/2:00", "512 candidates, 9.4/s", "best sum_radii 2.13", "random search 1.4, greedy 1.7", "timeout 11, crash 3", "0:36 left"):
        assert part in text


@pytest.mark.parametrize("width", [24, 50, 120])
def test_the_progress_block_fits_any_terminal(width: int) -> None:
    from rich.console import Console

    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(block(SHOWN))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert "packing" in lines[0]
    assert len(lines) <= 8


def test_clock_and_counts() -> None:
    assert [clock(s) for s in (7, 754, 3723, 273906)] == ["0:07", "12:34", "1:02:03", "3d 04:05:06"]
    assert counts({"a": 1, "b": 5, "c": 1}) == "b 5, a 1, c 1"


# ---- a real terminal -------------------------------------------------------------------------------------------------


def spawn(place: Path, *words: str, rows: int = 30, columns: int = 100, **env: str) -> tuple[int, int]:
    """(process id, terminal) of the command on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(place)
        resize(0, rows, columns)
        environment = {**os.environ, "TERM": "xterm-256color", **env}
        os.execvpe(sys.executable, [sys.executable, "-m", "evolve", *words], environment)
    return pid, fd


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def chunks(fd: int) -> Iterator[str]:
    """What the terminal shows until its last process ends."""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            return
        if not data:
            return
        yield data.decode("utf-8", "replace")


def on_terminal(place: Path, *words: str, **env: str) -> str:
    pid, fd = spawn(place, *words, **env)
    shown = "".join(chunks(fd))
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return shown


def last_frame(seen: str) -> list[str]:
    """Rows of the last whole picture of `status --watch`, without escape sequences; empty before there is one."""
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "")
    end = bare.rfind("Ctrl-C leaves")
    start = bare.rfind("run toy", 0, max(end, 0))
    return bare[start:end].splitlines() if 0 <= start < end else []


def test_watching_survives_a_resize_and_ends_with_the_run(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    cli("run", "--detach", "--no-control", "--seed", "1", cwd=place)
    pid, fd = spawn(place, "status", "--watch")
    seen = ""
    stage = 0
    deadline = time.monotonic() + 120
    for text in chunks(fd):
        seen += text
        frame = last_frame(seen)
        if stage == 0 and any(len(row) > 38 for row in frame):
            stage, seen = 1, ""
            resize(fd, 12, 38)
            os.kill(pid, signal.SIGWINCH)
        elif stage == 1 and frame and all(len(row) <= 38 for row in frame):  # frames of the old width may come first
            stage = 2
            cli("stop", cwd=place)
        assert time.monotonic() < deadline, seen
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert stage == 2 and "not running" in seen


def test_watching_goes_on_where_a_client_of_tmux_went_away(tmp_path: Path) -> None:
    """As over ssh: the terminal hangs up, the session stays, the next client has another size."""
    if not shutil.which("tmux"):
        pytest.skip("no tmux on the PATH")
    place = make_repository(tmp_path / "toy")
    cli("run", "--detach", "--no-control", "--seed", "1", cwd=place)
    socket = str(tmp_path / "tmux")

    def tmux(*words: str) -> str:
        return subprocess.run(["tmux", "-S", socket, "-f", os.devnull, *words], cwd=place, capture_output=True, text=True, check=True).stdout

    def attach(rows: int, columns: int) -> tuple[int, int]:
        pid, fd = pty.fork()
        if pid == 0:
            resize(0, rows, columns)
            os.execvpe("tmux", ["tmux", "-S", socket, "attach"], {**os.environ, "TERM": "xterm-256color"})
        return pid, fd

    def shows(columns: int) -> bool:
        """A whole picture as wide as the client: its last row is not cut, or cut by the ellipsis at the edge."""
        rows = tmux("capture-pane", "-p").splitlines()
        wide = max(map(len, rows), default=0)
        return any("judged" in row for row in rows) and any("Ctrl-C leaves" in row for row in rows) and columns - 2 <= wide <= columns

    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, tmux("capture-pane", "-p")
            time.sleep(0.05)

    shell = shlex.join([sys.executable, "-m", "evolve", "status", "--watch"])
    tmux("new-session", "-d", "-x", "100", "-y", "24", f"{shell}; sleep 1000")
    try:
        pid, fd = attach(14, 44)
        until(lambda: shows(44))
        os.close(fd)  # the terminal is gone: the client hangs up, the session does not
        os.waitpid(pid, 0)
        pid, fd = attach(14, 36)
        until(lambda: shows(36))
        cli("stop", cwd=place)
        until(lambda: "not running" in tmux("capture-pane", "-p", "-S", "-50"))
        os.close(fd)
        os.waitpid(pid, 0)
    finally:
        tmux("kill-server")


def test_a_run_on_a_terminal_redraws_and_leaves_the_outcome(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    shown = on_terminal(place, "run", "--evals", "8", "--no-control", "--seed", "1")
    assert "Ctrl-C stops cleanly" in shown and "best" in shown and "the evaluations are used up" in shown
    assert "Traceback" not in shown


def test_the_commands_list_is_the_modules(tmp_path: Path) -> None:
    """A verb without a module is not offered, a module without a verb is an oversight."""
    import evolve.cli

    folder = Path(evolve.cli.__file__).parent
    shared = {"common", "progress", "ending", "steer", "picking"}
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"} - shared
    assert {("eval" if name == "evaluate" else name) for name in modules} <= set(COMMANDS)
