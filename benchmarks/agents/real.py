"""Real coding agents in a real run: each command line, from its package index, drives a loopback model to one accepted edit.

    python benchmarks/agents/real.py [--only NAME] [--out benchmarks/agents/results.jsonl]

Install them first, `npm install @anthropic-ai/claude-code @openai/codex opencode-ai @google/gemini-cli` and (in a virtual
environment of its own) `pip install aider-chat`, with their folders in EVOLVE_AGENTS or on the PATH. No service is
reached: tests/models/server.py speaks the wire formats, tests/mutators/agents.py says what each agent is told to do.

For each agent that is there: a repository of three files, one run with that agent as its only mutator (key and base URL
in the environment, as a user has them), two evaluations, which are the seed and the agent's edit, measured in the
sandbox. On record is what became of the edit, and:

- requests: what the loopback model saw; keyed: those of them that brought the key, which only the broker holds;
- processes: the leash and what it started, whose environment and arguments were read while it ran; a short-lived one may be missed;
- leaks: where the key was found (agent, transcript, record), which must be nowhere;
- transcript: bytes of it that the record keeps.

An agent's row takes the place of its former one. An agent that does not pass loses its row, is told with the reason, and
must be untested in evolve/mutators/profiles.py: tests/mutators/test_agents_record.py holds record, profiles and docs
together.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evolve import api
from evolve.models.wire import Price
from evolve.mutators import leash
from evolve.mutators.agent import named
from evolve.mutators.profiles import PROFILES, Profile
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.settings import RunSettings
from tests.models.server import Bench
from tests.mutators.agents import BRAINS, keys_of, search_path, version_of
from tests.mutators.scene import PROGRAM
from tests.population.scene import repository

RESULTS = Path(__file__).resolve().parent / "results.jsonl"
KEY = "key-of-the-user-that-no-agent-may-see"
SECONDS, MONEY = 180.0, 5.0
"""Limits of an agent's one run."""

TASK = """
[task]
name = "packing"
editable = ["program.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "bins", goal = "min" }]
timeout = "20s"
repeats = { screen = 1, confirm = 1 }
[limits]
memory = "256M"
"""
EVALUATE = '''"""Bins that the program needs where three are used as the items come, and two once they are sorted."""


def evaluate(trial):
    bins = trial.call("program.py:pack", [50, 30, 40, 40, 30])
    if not isinstance(bins, list) or sum(bins) != 100 * len(bins) - 190:
        raise trial.Incorrect("pack() must return the space that is left in each bin")
    return {"bins": len(bins)}
'''


class Watch:
    """`with Watch() as watch:` reads environment and arguments of everything below a leash; watch.seen, watch.leaked."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.leaked = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        mark = str(leash.__file__).encode()
        while not self._over.wait(0.02):
            below: dict[int, bool] = {}
            for pid in leash.descendants():  # parents before their children
                with contextlib.suppress(OSError, IndexError, ValueError):
                    place = Path("/proc") / str(pid)
                    words = (place / "cmdline").read_bytes()
                    parent = int((place / "stat").read_bytes().rpartition(b")")[2].split()[1])
                    below[pid] = below.get(parent, False) or mark in words.split(b"\0")
                    if below[pid]:
                        self.leaked |= KEY.encode() in words + (place / "environ").read_bytes()
                        self.seen.add(pid)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def holds_key(archive: Path) -> bool:
    """Whether any object or file of the record holds the key."""
    everything = subprocess.run(
        ["git", "-C", str(archive), "cat-file", "--batch-all-objects", "--batch"], capture_output=True, check=True
    )
    files = (path.read_bytes() for path in archive.parent.rglob("*") if path.is_file())
    return KEY.encode() in everything.stdout or any(KEY.encode() in data for data in files)


def attempt(profile: Profile, program: str) -> tuple[dict[str, Any] | None, str]:
    """One run; its row, or None and why the agent does not count."""
    brain, model = BRAINS[profile.name]
    with tempfile.TemporaryDirectory(prefix="evolve-bench-") as scratch, Bench(brain) as bench, Watch() as watch:
        where = repository(
            Path(scratch) / "repository", {"evolve.toml": TASK, "evaluate.py": EVALUATE, "program.py": PROGRAM}
        )
        with environment({"PATH": search_path(), profile.key_env: KEY, profile.url_env: bench.url}):
            mutator = named(f"{profile.name}={model}")
            assert mutator.upstream is not None
            mutator.upstream = dataclasses.replace(mutator.upstream, price=Price(1.0, 1.0))
            mutator.seconds, mutator.money = SECONDS, MONEY
            settings = RunSettings(
                where=where, evaluations=2, seconds=2 * SECONDS, money=MONEY, seed=1, workers=1, proposals=1, control=False,
                publish=False, mutators=(f"{mutator.name}={model}",),
            )  # fmt: skip
            began = time.monotonic()
            result = api.run(api.open_session(settings, mutators={mutator.name: mutator}))
            seconds = time.monotonic() - began
        with Archive.open(where) as archive:
            happened = list(archive.events("packing"))
            state = archive.state("packing")
            born = [r for r in happened if isinstance(r.event, ev.Born) and r.event.brief]
            refused = [r for r in happened if isinstance(r.event, ev.Refused)]
            kept = [archive.artifact(r.oid, "transcript") or b"" for r in (*born, *refused)]
            if not born:
                why = refused[0].event.why if refused else result.reason  # type: ignore[union-attr]
                return None, f"no candidate: {why}\n{b''.join(kept)[-2000:].decode('utf-8', 'replace')}"
            leaked = {"agent": watch.leaked, "transcript": KEY.encode() in kept[0], "record": holds_key(archive.path)}
        commit = born[0].event.candidate  # type: ignore[union-attr]
        candidate, origin = state.candidates[commit], state.candidates[state.lineage.seeds["packing"]]
        if candidate.verdict is None or origin.verdict is None:
            return None, f"never judged: {result.reason}"
        measured = [
            r.event.evidence for r in happened if isinstance(r.event, ev.Measured) and commit in r.event.candidates
        ]
        answered = [r.event for r in happened if isinstance(r.event, ev.Answered) and r.event.brief == candidate.brief]
        champion = state.champion("packing")
        row = {
            "agent": profile.name, "package": profile.package, "version": version_of(program),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "model": model,
            "status": candidate.verdict.status.value, "commit": commit, "idea": candidate.idea,
            "bins": candidate.verdict.metrics["bins"].mean, "origin": origin.verdict.metrics["bins"].mean,
            "champion": champion is not None and champion.commit == commit,
            "sandbox": sorted({evidence.sandbox for evidence in measured}), "stages": [e.stage for e in measured],
            "answers": [answer.outcome for answer in answered], "agent_seconds": round(sum(a.seconds for a in answered), 2),
            "seconds": round(seconds, 2), "money": answered[0].money, "tokens_in": answered[0].tokens_in,
            "tokens_out": answered[0].tokens_out, "requests": len(bench.sent),
            "keyed": sum(keys_of(sent) == {KEY} for sent in bench.sent), "processes": len(watch.seen),
            "leaks": sorted(name for name, found in leaked.items() if found), "transcript": len(kept[0]),
            "machine": f"{os.cpu_count()} x {platform.machine()}, Python {platform.python_version()}",
        }  # fmt: skip
        return (row, "") if accepted(row) else (None, json.dumps(row))


def accepted(row: Mapping[str, Any]) -> bool:
    """Whether the edit was born, measured in a jail, judged and taken as the best, with the key kept out of the agent."""
    return bool(
        row["status"] == "scored" and row["champion"] and row["stages"] and row["answers"] == ["ok"]
        and row["sandbox"] and all(label.startswith("jailed") for label in row["sandbox"])
        and 0 < row["requests"] == row["keyed"] and row["processes"] > 1 and not row["leaks"] and row["transcript"]
    )  # fmt: skip


def read(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Agent -> its row."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["agent"]: row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PROFILES), help="this agent alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    failed = False
    for profile in PROFILES.values():
        if options.only not in (None, profile.name):
            continue
        program = shutil.which(profile.program, path=search_path())
        if program is None:
            print(f"{profile.name}: {profile.program} ({profile.package}) is not on EVOLVE_AGENTS or the PATH")
            continue
        row, why = attempt(profile, program)
        rows = read(options.out)
        rows.pop(profile.name, None)
        if row is not None:
            rows[profile.name] = row
        failed |= row is None
        print(json.dumps(row) if row is not None else f"{profile.name}: {why}", flush=True)
        options.out.write_text("".join(json.dumps(rows[name]) + "\n" for name in PROFILES if name in rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
