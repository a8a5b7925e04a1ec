"""The command as a person uses it: real processes, a real repository, candidates in the sandbox."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve import session as session_module
from evolve.cli import COMMANDS
from evolve.mutators import Desk
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.population.events import Event
from evolve.tasks.errors import ArchiveError, EvolveError
from evolve.tasks.verdict import CONFIRM
from tests.search.scene import Climb, cli, json_lines, make_repository, run_toy


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "toy")


def git(place: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, check=True).stdout


def test_the_whole_way_from_run_to_cherry_pick(toy: Path) -> None:
    before = {
        "config": (toy / ".git/config").read_bytes(),
        "index": git(toy, "ls-files", "-s"),
        "head": git(toy, "rev-parse", "HEAD"),
        "status": git(toy, "status", "--porcelain"),
    }
    done = cli("run", "--evals", "25", "--seed", "3", "--workers", "2", "--no-control", "--json", cwd=toy)
    result = json.loads(done.stdout)
    row = result["tasks"][0]
    assert result["evaluations"] == 25 and row["improved"] and row["best"] > row["seed"] == 3.0
    assert row["self_reported"] is True
    branches = git(toy, "branch", "--list", "--format=%(refname:short)", "evolve/*").split()
    assert "evolve/toy/best" in branches and "evolve/toy/winner" in branches
    assert row["take"] == ["git cherry-pick evolve/toy/winner"]
    after = {
        "config": (toy / ".git/config").read_bytes(),
        "index": git(toy, "ls-files", "-s"),
        "head": git(toy, "rev-parse", "HEAD"),
        "status": git(toy, "status", "--porcelain"),
    }
    assert before == after
    clone = toy.parent / "clone"
    subprocess.run(["git", "clone", "--quiet", str(toy), str(clone)], check=True)
    git(clone, "fetch", "--quiet", "origin", "refs/heads/evolve/toy/winner:refs/heads/evolve/toy/winner")
    git(clone, "-c", "user.name=U", "-c", "user.email=u@u.invalid", *shlex.split(row["take"][0])[1:])
    champion_tree = git(toy, "rev-parse", "evolve/toy/best^{tree}").strip()
    assert git(clone, "rev-parse", "HEAD^{tree}").strip() == champion_tree
    rows = json_lines(cli("log", "--json", cwd=toy).stdout)
    assert len(rows) == 25 and all(len(str(r["commit"])) == 40 for r in rows)
    assert rows[0]["number"] == 0


def test_bundled_task_in_any_folder_and_its_printed_command(tmp_path: Path) -> None:
    done = cli("run", "circle_packing", "--evals", "30", "--seed", "1", "--workers", "2", cwd=tmp_path)
    assert (tmp_path / "evolve-circle_packing" / "archive.git").is_dir()
    plot = re.search(r"^plot\s+(\S+)$", done.stdout, re.MULTILINE)
    assert plot and (tmp_path / plot[1]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "random search reached" in done.stdout
    take = re.search(r"^take it\s+(.+)$", done.stdout, re.MULTILINE)
    assert take, done.stdout
    subprocess.run(take[1], shell=True, cwd=tmp_path, check=True)
    taken = (tmp_path / "program.py").read_text()
    archive = Archive.open(tmp_path)
    champion = archive.state("circle_packing").champion("circle_packing")
    assert champion is not None and archive.store.file(champion.tree, "program.py") == taken.encode()


def test_the_same_command_resumes_and_evals_count_the_seed(toy: Path) -> None:
    cli("run", "--evals", "8", "--seed", "1", "--no-control", cwd=toy)
    done = cli("run", "--evals", "12", "--no-control", "--json", cwd=toy)
    assert json.loads(done.stdout)["evaluations"] == 12
    assert "resuming" in done.stderr
    done = cli("run", "--evals", "12", "--no-control", "--json", cwd=toy)
    assert json.loads(done.stdout)["evaluations"] == 12


def test_reading_commands(toy: Path) -> None:
    cli("run", "--evals", "15", "--seed", "3", "--no-control", cwd=toy)
    status = json.loads(cli("status", "--json", cwd=toy).stdout)[0]
    assert status["candidates"] == 15 and status["live"] is False
    best = json.loads(cli("best", "--json", cwd=toy).stdout)
    assert best["champion"] and best["path"][0]["number"] == 0
    assert "X" in cli("diff", cwd=toy).stdout or "Y" in cli("diff", cwd=toy).stdout
    shown = cli("show", best["commit"][:10], cwd=toy).stdout
    assert best["commit"] in shown and "in git" in shown and ("jailed" in shown or "separate-uid" in shown)
    line = next(line for line in shown.splitlines() if line.startswith("in git"))
    out = subprocess.run(shlex.split(line.removeprefix("in git")), cwd=toy, capture_output=True, text=True, check=True)
    assert "Evolve-Run: toy" in out.stdout
    assert cli("log", "--graph", cwd=toy).stdout.count("#") >= 2
    assert cli("best", "--why", cwd=toy).stdout.count("#") >= 2
    assert json.loads(cli("budget", "--json", cwd=toy).stdout)["evaluations"]["used"] == 15
    for name in ("HEAD", "evolve/toy/best", "#0", "best"):
        cli("show", name, cwd=toy)


def test_eval_for_git_bisect(toy: Path) -> None:
    cli("run", "--evals", "10", "--seed", "3", "--no-control", cwd=toy)
    assert cli("eval", "HEAD", cwd=toy, ok=False).returncode == 0
    (toy / "program.py").write_text((toy / "program.py").read_text().replace("X = 1.0", "X = -9.0"))
    git(toy, "-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qam", "worse")
    assert cli("eval", "HEAD", cwd=toy, ok=False).returncode == 1
    assert cli("eval", "HEAD", "--good", "score >= -100", cwd=toy, ok=False).returncode == 0
    (toy / "program.py").write_text("syntax error(\n")
    git(toy, "-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qam", "broken")
    assert cli("eval", "HEAD", cwd=toy, ok=False).returncode == 125
    assert cli("eval", "HEAD", "--good", "scoer >= 1", cwd=toy, ok=False).returncode == 128


def test_bisect_finds_the_commit_that_made_it_worse(toy: Path) -> None:
    cli("run", "--evals", "2", "--seed", "3", "--no-control", cwd=toy)
    identity = ("-c", "user.name=U", "-c", "user.email=u@u.invalid")
    for x in ("1.1", "1.2", "-9.0", "-9.1"):
        (toy / "program.py").write_text(re.sub(r"X = .*", f"X = {x}", (toy / "program.py").read_text()))
        git(toy, *identity, "commit", "-qam", f"X is {x}")
    git(toy, "bisect", "start", "HEAD", "HEAD~4")
    found = git(toy, "bisect", "run", sys.executable, "-m", "evolve", "eval", "HEAD")
    assert "X is -9.0" in found
    assert cli("eval", "--godo", "x", cwd=toy, ok=False).returncode == 128
    assert cli("eval", "nosuch", cwd=toy, ok=False).returncode == 128


def test_check_and_init(toy: Path, tmp_path: Path) -> None:
    report = json.loads(cli("check", "--json", cwd=toy).stdout)[0]
    assert report["seed"] == 3.0 and report["sigma"]["score"] == 0.0
    names = {finding["name"]: finding["level"] for finding in report["findings"]}
    assert names["broken"] == "ok" and names["self-reported"] == "warning"
    fresh = make_repository(tmp_path / "fresh")
    (fresh / "evolve.toml").unlink()
    (fresh / "bench.py").write_text("import program\nprint(f'seconds: {program.X}')\n")
    git(fresh, "add", "-A")
    git(fresh, "-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qm", "bench")
    cli("init", cwd=fresh)
    text = (fresh / "evolve.toml").read_text()
    assert 'editable = ["program.py"]' in text and "python3 bench.py" in text and 'goal = "min"' in text
    assert json.loads(cli("check", "--json", cwd=fresh).stdout)[0]["metric"] == "seconds"
    assert cli("init", cwd=fresh, ok=False).returncode == 2


def test_add_a_persons_work(toy: Path) -> None:
    cli("run", "--evals", "5", "--seed", "1", "--no-control", cwd=toy)
    git(toy, "checkout", "-q", "-b", "mine")
    (toy / "program.py").write_text((toy / "program.py").read_text().replace("X = 1.0", "X = 50.0"))
    git(toy, "-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qam", "Think big")
    cli("add", "mine", cwd=toy)
    assert cli("add", "mine", cwd=toy, ok=False).returncode == 2
    git(toy, "checkout", "-q", "main")
    done = cli("run", "--evals", "9", "--no-control", "--json", cwd=toy)
    assert json.loads(done.stdout)["tasks"][0]["best"] >= 52.0


def test_add_takes_only_what_may_change(toy: Path) -> None:
    cli("run", "--evals", "2", "--seed", "1", "--no-control", cwd=toy)
    identity = ("-c", "user.name=U", "-c", "user.email=u@u.invalid")
    (toy / "other.txt").write_text("changed too\n")
    git(toy, *identity, "commit", "-qam", "Other")
    assert "changes no editable file" in cli("add", "HEAD", cwd=toy, ok=False).stderr
    (toy / "program.py").write_text((toy / "program.py").read_text().replace("X = 1.0", "X = 50.0"))
    git(toy, *identity, "commit", "-qam", "Think big")
    done = cli("add", "HEAD", cwd=toy)
    assert "other.txt differ" in done.stderr
    assert "same program as candidate #2" in cli("add", "HEAD", cwd=toy, ok=False).stderr
    archive = Archive.open(toy)
    added = next(c for c in archive.state("toy").candidates.values() if c.number == 2)
    assert archive.store.file(added.tree, "other.txt") == b"protected\n" and added.idea == "Think big"
    assert [archive.state("toy").candidates[p].number for p in added.parents] == [0]
    assert f"Taken-from: {git(toy, 'rev-parse', 'HEAD').strip()}" in archive.store.message_of(added.commit)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("run", "circel_packing"), 2, "did you mean 'circle_packing'"),
        (("run", "--set", "evaluate.timout=1s"), 2, "did you mean 'timeout'"),
        (("rum",), 2, "did you mean 'run'"),
        (("status", "--name", "nope"), 5, ""),
        (("run", "--selector", "best"), 2, "unknown selector 'best'"),
        (("run", "--mutator", "llm"), 2, "unknown mutator 'llm'"),
        (("run", "--time", "soon"), 2, "is no duration"),
        (("run", "--name", "a/b"), 2, "a/b"),
        (("run", "--from", "v9"), 5, "v9"),
    ],
)
def test_errors_say_what_and_what_next(toy: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = cli(*words, cwd=toy, ok=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_branch_called_evolve_is_in_the_way(toy: Path) -> None:
    git(toy, "branch", "evolve")
    done = cli("run", "--evals", "3", "--no-control", cwd=toy, ok=False)
    assert done.returncode == 5 and "evolve" in done.stderr
    cli("run", "--evals", "3", "--no-control", "--no-publish", cwd=toy)
    assert git(toy, "branch", "--list", "evolve/*") == ""


# ---- ends and beginnings ---------------------------------------------------------------------------------------------


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evolve", "run", "--no-control", *words], cwd=place, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip


def wait_for(place: Path, count: int, run: str = "toy") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            archive = Archive.open(place)
            done = archive.state(run).ledger.evaluations
            archive.close()
            if done >= count:
                return
        except EvolveError:
            pass  # not there yet
        time.sleep(0.1)
    pytest.fail(f"no {count} candidates within a minute")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_signals_stop_cleanly_and_the_same_command_resumes(toy: Path, number: int, code: int) -> None:
    process = start(toy, "--seed", "2", "--workers", "1")
    wait_for(toy, 6)
    process.send_signal(number)
    assert process.wait(20) == code
    before = [row["commit"] for row in json_lines(cli("log", "--json", cwd=toy).stdout)]
    cli("run", "--evals", str(len(before) + 3), "--no-control", cwd=toy)
    after = [row["commit"] for row in json_lines(cli("log", "--json", cwd=toy).stdout)]
    assert after[: len(before)] == before and len(after) == len(before) + 3


def test_kill_nine_loses_no_verdict_and_measures_nothing_twice(toy: Path) -> None:
    """The short form of benchmarks/resume: uniform kills over wall time, every time the same command again."""
    from evolve.population import events as ev

    known: list[str] = []
    for round_number in range(5):
        process = start(toy, "--seed", "2", "--workers", "2")
        wait_for(toy, len(known) + 1 + round_number)
        time.sleep(0.07 * round_number)
        process.kill()
        process.wait()
        archive = Archive.open(toy)
        state = archive.state("toy")
        assert state.lineage.verdict_order[: len(known)] == known
        known = list(state.lineage.verdict_order)
        archive.close()
    cli("run", "--evals", str(len(known) + 4), "--no-control", cwd=toy)
    archive = Archive.open(toy)
    jobs = [r.event.job for r in archive.events("toy") if isinstance(r.event, ev.Measured)]
    assert len(jobs) == len(set(jobs))
    state = archive.state("toy")
    assert [c.number for c in state.candidates.values()] == list(range(len(state.candidates)))
    briefs = [r.event.brief.number for r in archive.events("toy") if isinstance(r.event, ev.Asked)]
    assert sorted(briefs) == list(range(1, len(briefs) + 1))
    assert subprocess.run(["git", "-C", str(archive.path), "fsck", "--full"], capture_output=True, check=False).returncode == 0


SLOW = """import time

X = 1.0
Y = 2.0
time.sleep(0.4)
print(f"score: {X + Y}")
"""


def told(place: Path) -> list[Event]:
    """What the record says by now."""
    try:
        archive = Archive.open(place)
    except ArchiveError:
        return []  # not there yet
    try:
        return [recorded.event for recorded in archive.events("toy")] if "toy" in archive.runs() else []
    finally:
        archive.close()


def killed_in_a_job(place: Path, job: str = "") -> str:
    """Start the run, kill it while a job of a candidate runs (`job` where one is named), and return that job."""
    from evolve.population import events as ev

    before = len(told(place))
    process = start(place, "--seed", "2", "--workers", "1")
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            happened = told(place)
            ended = {event.job for event in happened if isinstance(event, ev.Measured)}
            begun = [e for e in happened[before:] if isinstance(e, ev.Started) and e.stage != CONFIRM and e.job not in ended]
            for event in begun:
                if event.job == job or (not job and event.attempt == 1 and not event.job.startswith("0/")):
                    return event.job
            time.sleep(0.02)
        pytest.fail("no job was seen running within a minute")
    finally:
        process.kill()
        process.communicate()


def test_a_kill_in_a_running_job_costs_one_start(tmp_path: Path) -> None:
    """Killed in a running job: charged, started again, measured once; three times the same one ends its candidate."""
    from evolve.population import events as ev

    place = make_repository(tmp_path / "toy", program=SLOW)
    cut = [killed_in_a_job(place) for _ in range(3)]
    assert len(set(cut)) == 3
    stubborn = killed_in_a_job(place)
    assert [killed_in_a_job(place, stubborn) for _ in range(2)] == [stubborn] * 2
    count = sum(isinstance(event, ev.Born) for event in told(place))
    cli("run", "--evals", str(count + 2), "--no-control", cwd=place)
    happened = told(place)
    archive = Archive.open(place)
    state = archive.state("toy")
    archive.close()
    starts = {job: [e.attempt for e in happened if isinstance(e, ev.Started) and e.job == job] for job in [*cut, stubborn]}
    ends = {job: [e for e in happened if isinstance(e, ev.Measured) and e.job == job] for job in [*cut, stubborn]}
    assert [starts[job] for job in cut] == [[1, 2]] * 3 and starts[stubborn] == [1, 2, 3]
    assert all(len(found) == 1 for found in ends.values())
    given_up = state.candidates[ends[stubborn][0].candidates[0]].verdict
    assert given_up is not None and "takes the machine down" in given_up.reason
    assert all(state.candidates[ends[job][0].candidates[0]].verdict is not None for job in cut)
    assert not any("program.py" in line for line in subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines() if str(place) in line
    )  # fmt: skip


def test_another_base_is_another_run(toy: Path) -> None:
    cli("run", "--evals", "12", "--seed", "3", "--no-control", cwd=toy)
    first = git(toy, "rev-parse", "HEAD").strip()
    (toy / "program.py").write_text((toy / "program.py").read_text().replace("X = 1.0", "X = 5.0"))
    git(toy, "commit", "-qam", "Go on by hand")
    second = git(toy, "rev-parse", "HEAD").strip()
    kept = cli("run", "--evals", "14", "--no-control", "--json", cwd=toy)
    assert "the run keeps its base" in kept.stderr and json.loads(kept.stdout)["run"] == "toy"
    moved = cli("run", "--from", "HEAD", "--evals", "3", "--no-control", "--json", cwd=toy)
    assert "starts run 'toy-2'" in moved.stderr and json.loads(moved.stdout)["run"] == "toy-2"
    again = cli("run", "--from", "HEAD", "--evals", "5", "--no-control", "--json", cwd=toy)
    assert json.loads(again.stdout)["run"] == "toy-2" and json.loads(again.stdout)["evaluations"] == 5
    refused = cli("run", "--from", "HEAD", "--name", "toy", "--evals", "5", cwd=toy, ok=False)
    assert refused.returncode == 5 and f"keeps its base {first[:12]}" in refused.stderr
    champion = json.loads(cli("best", "--name", "toy", "--json", cwd=toy).stdout)["commit"]
    fork = json.loads(cli("run", "--from", champion, "--evals", "3", "--no-control", "--json", cwd=toy).stdout)
    assert fork["run"] == "toy-3"
    with Archive.open(toy) as archive:
        bases = {run: archive.state(run).lineage.opened.tasks["toy"].base for run in archive.runs()}  # type: ignore[union-attr]
    assert bases == {"toy": first, "toy-2": second, "toy-3": champion}


def test_detach_wait_note_and_stop(toy: Path) -> None:
    cli("run", "--detach", "--seed", "2", "--no-control", cwd=toy)
    wait_for(toy, 2)
    cli("wait", "--for", "5", "--timeout", "60s", cwd=toy)
    cli("note", "be bold", cwd=toy)
    cli("pause", cwd=toy)
    cli("resume", cwd=toy)
    cli("stop", cwd=toy)
    cli("wait", "--for", "idle", "--timeout", "30s", cwd=toy)
    assert json.loads(cli("status", "--json", cwd=toy).stdout)[0]["live"] is False


def test_a_stopped_run_starts_again_and_a_failed_start_is_told(toy: Path) -> None:
    cli("run", "--detach", "--seed", "2", "--no-control", cwd=toy)
    wait_for(toy, 2)
    cli("stop", cwd=toy)
    cli("wait", "--for", "finished", "--timeout", "30s", cwd=toy)
    log, deadline = toy / ".git/evolve/logs/toy.log", time.monotonic() + 20
    while "commit " not in log.read_text() and time.monotonic() < deadline:  # the outcome is told after the lock is let go
        time.sleep(0.1)
    assert "stopped on request" in log.read_text() and "best " in log.read_text()
    assert "nothing to stop" in cli("stop", cwd=toy).stderr
    done = json.loads(cli("run", "--evals", "200", "--time", "1s", "--no-control", "--json", cwd=toy).stdout)
    assert done["reason"] == "seconds"
    again = cli("resume", cwd=toy)
    assert again.stdout.strip() == "evolve run"
    failed = cli("run", "--detach", "nosuch", cwd=toy, ok=False)
    assert failed.returncode == 2 and "no task 'nosuch'" in failed.stderr


def test_a_stalled_run_is_told_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Worse(Climb):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            return Proposal({"program.py": f"X = {-brief.number}.0\nY = 2.0\n".encode()}, "worse", "climb")

    monkeypatch.setattr(session_module, "STALLED_AFTER", 5)
    file = toy / "stalled.txt"
    run_toy(toy, mutator=Worse(), evaluations=14, hooks=(("stalled", f"echo $EVOLVE_EVENT >> {shlex.quote(str(file))}"),))
    time.sleep(0.3)
    assert file.read_text() == "stalled\n"


def test_hooks_run_on_champion_and_finish(toy: Path) -> None:
    cli("run", "--evals", "20", "--seed", "3", "--no-control",
        "--on", "champion", "echo $EVOLVE_COMMIT >> champions.txt", "--on", "finished", "echo done > finished.txt", cwd=toy)  # fmt: skip
    time.sleep(0.3)
    assert (toy / "finished.txt").exists() and len((toy / "champions.txt").read_text().split()[0]) == 40


# ---- the command itself ----------------------------------------------------------------------------------------------


def test_help_is_quick(tmp_path: Path) -> None:
    best = 9.0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = cli("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best < 0.25
    assert "run" in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, tmp_path: Path) -> None:
    listed = cli("--help", cwd=tmp_path).stdout
    if re.search(rf"^  {name}\s", listed, re.MULTILINE):
        assert "Usage" in cli(name, "--help", cwd=tmp_path).stdout


def test_completion_scripts(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_EVOLVE_COMPLETE" in cli("completion", shell, cwd=tmp_path).stdout
