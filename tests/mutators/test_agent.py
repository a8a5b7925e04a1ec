# ruff: noqa: E501
"""Agents on a leash: scripts in place of real ones, processes that will not die, and what comes back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve.errors import UsageError
from evolve.models.broker import Upstream
from evolve.models.wire import Price
from evolve.mutators import Mutator, leash
from evolve.mutators.agent import AgentMutator, named
from evolve.mutators.profiles import PROFILES, Launch, Profile, Start
from evolve.population.brief import Proposal
from tests.models.server import Bench
from tests.mutators.scene import PROGRAM, brief, desk


def agent(
    tmp_path: Path, script: str, upstream: Upstream | None = None, seconds: float = 20, money: float | None = None
) -> AgentMutator:
    """An agent that is a Python script; it sees what a real one sees."""
    path = tmp_path / "agent.py"
    path.write_text("import os, sys, json, time, subprocess\nprompt = sys.stdin.read()\n" + script)

    def launch(start: Start) -> Launch:
        return Launch(
            (sys.executable, str(path)), {"URL": start.url, "TOKEN": start.token}, {"note.txt": "hi"}, start.prompt
        )

    profile = Profile("scripted", sys.executable, "anthropic", launch, "K", "U", "http://x", "none")
    return AgentMutator(profile, upstream=upstream, seconds=seconds, money=money)


def run(mutator: AgentMutator, **options: object) -> Proposal:
    return asyncio.run(mutator.propose(brief(**options), desk()))  # type: ignore[arg-type]


EDIT = (
    "text = open('program.py').read()\nopen('program.py', 'w').write(text.replace('in sizes:', 'in sorted(sizes):'))\n"
)


def test_an_edit_in_the_folder_is_the_answer(tmp_path: Path) -> None:
    script = (
        EDIT
        + "open('IDEA.txt', 'w').write('sort first\\n')\nopen('scratch.log', 'w').write('x')\nprint('done', os.listdir('.'))\n"
    )
    mutator = agent(tmp_path, script)
    made = run(mutator)
    assert made.files == {"program.py": PROGRAM.replace("in sizes:", "in sorted(sizes):").encode()}
    assert made.idea == "sort first" and made.operator == "improve/scripted" and isinstance(mutator, Mutator)
    assert made.model == "scripted (holds your key)"
    assert "'rules.md'" in made.artifacts[0].data and made.artifacts[0].name == "transcript"


def test_the_agent_sees_the_brief_and_one_commit(tmp_path: Path) -> None:
    script = "print(prompt)\nprint(subprocess.run(['git', 'log', '--oneline'], capture_output=True, text=True).stdout.count('\\n'), 'commits')\n"
    made = run(agent(tmp_path, script))
    said = made.artifacts[0].data
    assert "# Task: packing" in said and "Only these may change: *.py" in said and "1 commits" in said
    assert made.stillborn == "the agent changed nothing (exit code 0)"


def test_a_protected_file_is_refused_by_name(tmp_path: Path) -> None:
    made = run(agent(tmp_path, EDIT + "open('rules.md', 'w').write('a bin holds 200')\n"))
    assert made.stillborn.startswith("protected: rules.md is not editable") and not made.files
    made = run(agent(tmp_path, "os.remove('program.py'); os.symlink('/etc/passwd', 'program.py')\n"))
    assert "only plain files come back" in made.stillborn


def test_an_agent_with_a_broker_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "real-key")
    monkeypatch.setenv("SOME_SECRET", "s3cret")
    script = (
        "import urllib.request\n"
        "request = urllib.request.Request(os.environ['URL'] + '/v1/messages', json.dumps({'model': 'm', 'messages': [{'role': 'user', 'content': 'q'}]}).encode(),"
        " {'x-api-key': os.environ['TOKEN'], 'content-type': 'application/json'})\n"
        "print(urllib.request.urlopen(request).read().decode())\nprint(sorted(os.environ.items()))\nprint(open(os.environ['HOME'] + '/note.txt').read())\n"
    ) + EDIT
    place = desk()
    with Bench(lambda sent: "the answer") as bench:
        mutator = agent(tmp_path, script, Upstream("anthropic", bench.url, "real-key", Price(1000, 1000)), money=5.0)
        made = asyncio.run(mutator.propose(brief(), place))
    said = made.artifacts[0].data
    assert made.files and "the answer" in said and made.model == "scripted"
    assert (
        "real-key" not in said
        and "s3cret" not in said
        and "evolve-" not in said.replace("evolve-agent", "")
        and "[token]" in said
    )
    headers = {name.lower(): value for name, value in bench.sent[0].headers.items()}
    assert headers["x-api-key"] == "real-key"
    reply = place.calls[0][3]
    assert reply.money is not None and reply.money == pytest.approx((reply.tokens_in + reply.tokens_out) / 1000)
    assert place.calls[0][1] == 5.0


def test_what_an_agent_says_it_cost_is_taken_where_nothing_better_is_known(tmp_path: Path) -> None:
    place = desk()
    asyncio.run(
        agent(tmp_path, EDIT + "print(json.dumps({'result': 'ok', 'total_cost_usd': 0.25}))\n").propose(brief(), place)
    )
    assert place.calls[0][3].money == 0.25
    place = desk()
    asyncio.run(agent(tmp_path, EDIT).propose(brief(), place))
    assert place.calls[0][3].money is None


def test_time_is_kept_and_the_whole_tree_ends(tmp_path: Path) -> None:
    """A daemon in a session of its own, whose parent is gone, ends with the agent; edits made before still count."""
    pid = tmp_path / "pid"
    daemon = f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        open({str(pid)!r}, 'w').write(str(os.getpid()))\n        time.sleep(600)\n    os._exit(0)\n"
    mutator = agent(tmp_path, EDIT + daemon + "sys.stdout.flush()\ntime.sleep(600)\n", seconds=1.5)
    place = desk()
    began = time.monotonic()
    made = asyncio.run(mutator.propose(brief(), place))
    assert time.monotonic() - began < 6
    assert made.files and place.calls[0][3].outcome == "timeout"
    assert not _lives(int(pid.read_text()))


def test_cancelling_kills_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    mutator = agent(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")

    async def cancelled() -> None:
        task = asyncio.create_task(mutator.propose(brief(), desk()))
        while not pid.exists() or not pid.read_text():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until = time.monotonic() + 3
    while _lives(int(pid.read_text())) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _lives(int(pid.read_text()))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_flood_of_words_is_bounded(tmp_path: Path) -> None:
    made = run(agent(tmp_path, EDIT + "for _ in range(200000):\n    print('x' * 100)\nprint('the end')\n"))
    assert made.files and len(made.artifacts[0].data) < 250_000 and "the end" in made.artifacts[0].data


def test_a_replay_starts_no_agent(tmp_path: Path) -> None:
    marker, place = tmp_path / "ran", desk()
    mutator = agent(tmp_path, EDIT + f"open({str(marker)!r}, 'a').write('x')\n")
    first = asyncio.run(mutator.propose(brief(), place))
    assert asyncio.run(mutator.propose(brief(), place)) == first and marker.read_text() == "x"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command"], 125),
        (["sleep", "9"], 124),
    ],
)
def test_the_leash_tells_how_it_ended(command: list[str], code: int) -> None:
    assert (
        subprocess.run(
            [sys.executable, "-I", leash.__file__, "0.5", *command], capture_output=True, check=False
        ).returncode
        == code
    )


def test_profiles_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert named("claude-code=some-model").label == "claude-code/some-model (holds your key)"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    made = named("claude-code")
    assert made.upstream is not None and made.upstream.key == "k" and made.label == "claude-code"
    with pytest.raises(UsageError, match=r"there are: claude-code.*codex"):
        named("nobody")
    for profile in PROFILES.values():
        launch = profile.launch(
            Start("do it", Path("/w"), Path("/h"), ("a.py",), "m", "http://127.0.0.1:1", "evolve-token", 1.0)
        )
        assert "real" not in str(launch) and launch.argv[0] == profile.program
        everything = str(launch.environment) + str(launch.files)
        assert "evolve-token" in everything and "evolve-token" not in str(launch.argv), profile.name
