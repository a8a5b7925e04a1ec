"""A coding agent as mutator: any command-line agent, in a plain folder, on a leash, its key in the broker.

One run of an agent is one request on the record: what it was asked, what it left in the folder, what it said and what
it cost. So a replay needs no agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evolve.errors import UsageError
from evolve.models.broker import Broker, Pass, Upstream
from evolve.models.wire import Price, canonical, price_of
from evolve.mutators import Desk, Reply
from evolve.mutators import leash as leash_module
from evolve.mutators import untrusted as un
from evolve.mutators.folder import collect, lay, regular
from evolve.mutators.model import idea_of
from evolve.mutators.profiles import PROFILES, Launch, Profile, Start
from evolve.mutators.prompting import described
from evolve.population.brief import Brief, Proposal
from evolve.prompts import render
from evolve.tasks.evidence import bounded

SECONDS = 1800.0
"""Wall time of one run of an agent, unless told otherwise."""

TRANSCRIPT = 200_000
OUTPUT = 4 << 20
"""Bytes of what an agent says that are kept, and that are read at all."""

IDEA_FILE = "IDEA.txt"

HOLDS_KEY = " (holds your key)"
"""Label of an agent that uses its own login: nothing stands between it and the account."""

_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
)


class AgentDesk(Desk, Protocol):
    """What a desk shows of a candidate's whole tree."""

    def everything(self, commit: str) -> tuple[dict[str, bytes], dict[str, int]]: ...


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended: its exit code (124: out of time), what it said, and what it used as the broker counted."""

    code: int
    said: str
    granted: Pass | None = None


@dataclass(slots=True)
class AgentMutator:
    """profile: which agent. model: what the agent calls its model, "" for its own choice. upstream: the service whose key
    the broker holds; None: the agent has a login of its own. seconds, money: limits of one run."""

    profile: Profile
    model: str = ""
    upstream: Upstream | None = None
    seconds: float = SECONDS
    money: float | None = None
    operators: tuple[str, ...] = ("improve", "explore", "simplify", "fix", "combine")
    latency: bool = True
    name: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.name = f"agent:{self.profile.name}"

    @property
    def label(self) -> str:
        """Who is credited, and whether it holds a key."""
        return (f"{self.profile.name}/{self.model}" if self.model else self.profile.name) + (
            "" if self.upstream else HOLDS_KEY
        )

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        place: AgentDesk = desk  # type: ignore[assignment]
        prompt = render(
            "agent", order="Change the program so that it scores better, as the brief below says.",
            editable=", ".join(desk.task.editable), idea_file=IDEA_FILE, brief=described(brief, desk),
        )  # fmt: skip
        request = canonical(
            {
                "agent": self.profile.name,
                "model": self.model,
                "prompt": prompt,
                "seconds": self.seconds,
                "money": self.money,
            }
        )

        async def send(_: bytes) -> Reply:
            return await self._send(brief, place, prompt)

        reply = await desk.call(request, send, model=self.label, money=self.money)
        return self._proposal(brief, reply)

    async def _send(self, brief: Brief, desk: AgentDesk, prompt: str) -> Reply:
        files, modes = desk.everything(brief.parents[0])
        with tempfile.TemporaryDirectory(prefix="evolve-agent-") as scratch:
            work, home = Path(scratch) / "work", Path(scratch) / "home"
            for folder in (home, Path(scratch) / "tmp"):
                folder.mkdir()
            await asyncio.to_thread(lay, work, files, modes)
            editable = tuple(sorted(path for path in files if desk.task.may_edit(path)))
            ran = await self._run(prompt, work, home, editable)
            idea = (regular(work / IDEA_FILE, 4096) or b"").decode("utf-8", "replace").strip()
            outcome: dict[str, Any] = {
                "code": ran.code,
                "idea": idea.split("\n")[0][:200],
                "said": un.capped(ran.said, TRANSCRIPT),
            }
            try:
                changed, ignored = await asyncio.to_thread(collect, work, files, modes, desk.task, (IDEA_FILE,))
                outcome |= {
                    "files": {p: None if c is None else c.decode("utf-8") for p, c in changed.items()},
                    "ignored": ignored[:50],
                }
            except UsageError as error:
                outcome["refused"] = str(error).replace(str(work), ".")
            except UnicodeDecodeError:
                outcome["refused"] = "binary: a changed file is no UTF-8 text"
        return self._reply(outcome, ran)

    def _reply(self, outcome: Mapping[str, Any], ran: Ran) -> Reply:
        """Costs as the broker counted them; else as the agent says; else unknown."""
        granted = ran.granted
        money = granted.spent(self.upstream.price) if granted and self.upstream else None
        if money is None:
            money = _claimed(ran.said)
        used = granted.used if granted else None
        return Reply(
            canonical(outcome), "ok" if ran.code == 0 else "timeout" if ran.code == 124 else "failed", money,
            used.into if used else 0, used.cached if used else 0, used.out if used else 0,
        )  # fmt: skip

    def _proposal(self, brief: Brief, reply: Reply) -> Proposal:
        operator = f"{brief.operator}/{self.profile.name}"
        try:
            outcome = json.loads(reply.body)
        except json.JSONDecodeError:
            return Proposal(stillborn="overflow: the answer was too large to keep", operator=operator, model=self.label)
        transcript = bounded("transcript", outcome["said"], TRANSCRIPT)
        files = {p: None if c is None else c.encode() for p, c in outcome.get("files", {}).items()}
        why = outcome.get("refused") or ("" if files else f"the agent changed nothing (exit code {outcome['code']})")
        if why:
            return Proposal(stillborn=why[:400], operator=operator, model=self.label, artifacts=(transcript,))
        words = _last_words(outcome["said"])
        idea = un.line(outcome["idea"], 160) or (
            un.line(idea_of(words), 160) if words else f"edit by {self.profile.name}"
        )
        parents = brief.parents[:2] if brief.operator == "combine" else ()
        return Proposal(files, idea, operator, self.label, tuple(parents), artifacts=(transcript,))

    # ---- one run -------------------------------------------------------------------------------------------------

    async def _run(self, prompt: str, work: Path, home: Path, editable: tuple[str, ...]) -> Ran:
        if self.upstream is None:
            launch = self.profile.launch(Start(prompt, work, home, editable, self.model, money=self.money))
            return await self._leashed(launch, work, home)
        async with Broker(self.upstream) as broker:
            granted = broker.grant(self.seconds + 60, money=self.money)
            start = Start(prompt, work, home, editable, self.model, broker.url, granted.token, self.money)
            ran = await self._leashed(self.profile.launch(start), work, home)
            broker.revoke(granted)
            return Ran(ran.code, ran.said.replace(granted.token, "[token]"), granted)

    async def _leashed(self, launch: Launch, work: Path, home: Path) -> Ran:
        for path, text in launch.files.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text, encoding="utf-8")
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        if self.upstream is None:  # its login lives in the user's home
            environment = dict(os.environ)
        else:
            environment |= {
                "HOME": str(home),
                "XDG_CONFIG_HOME": str(home / ".config"),
                "TMPDIR": str(home.parent / "tmp"),
                "NO_COLOR": "1",
            }
            environment["NO_PROXY"] = ",".join(
                filter(None, [environment.get("NO_PROXY", ""), "127.0.0.1", "localhost"])
            )
        program = shutil.which(launch.argv[0], path=environment.get("PATH"))
        if program is None:
            return Ran(125, f"{launch.argv[0]} is not on the PATH")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", leash_module.__file__, str(self.seconds), program, *launch.argv[1:],
            cwd=work, env=environment | dict(launch.environment), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = await asyncio.gather(_read(process), _feed(process, launch.stdin))
            code = await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.shield(process.wait())
            raise
        return Ran(code, said)


async def _read(process: asyncio.subprocess.Process) -> str:
    """Head and tail of what is said, whatever its length."""
    assert process.stdout is not None
    head, tail = bytearray(), bytearray()
    while chunk := await process.stdout.read(1 << 16):
        if len(head) < OUTPUT // 2:
            head += chunk
        else:
            tail = (tail + chunk)[-OUTPUT // 2 :]
    return (head + tail).decode("utf-8", "replace")


async def _feed(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
        process.stdin.close()


def _claimed(said: str) -> float | None:
    """The cost that an agent reports of itself; None where it does not."""
    costs = [
        found["total_cost_usd"] for found in _reports(said) if isinstance(found.get("total_cost_usd"), int | float)
    ]
    return float(costs[-1]) if costs else None


def _last_words(said: str) -> str:
    """The agent's last message, out of the JSON that agents report in; empty for one that reports in prose."""
    words = ""
    for found in _reports(said):
        item = found.get("item") or found.get("part") or found
        text = found.get("result") or found.get("response") or (item.get("text") if isinstance(item, dict) else None)
        words = text if isinstance(text, str) and text.strip() else words
    return words


def _reports(said: str) -> list[dict[str, Any]]:
    """JSON objects in what was said: one a line, or one over many lines."""
    found = []
    for line in said.split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    if not any(isinstance(item, dict) for item in found) and (start := said.find("\n{")) >= 0:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.JSONDecoder().raw_decode(said[start + 1 :])[0])
    return [item for item in found if isinstance(item, dict)]


def named(word: str) -> AgentMutator:
    """The agent of `PROFILE[=MODEL]`. Its key, where the environment has one, goes to the broker and nowhere else.

    Raises UsageError for an unknown profile.
    """
    name, _, model = word.partition("=")
    profile = PROFILES.get(name)
    if profile is None:
        known = ", ".join(f"{p.name}{'' if p.tested else ' (untested)'}" for p in PROFILES.values())
        raise UsageError(f"no agent profile {name!r}; there are: {known}")
    key = os.environ.get(profile.key_env)
    if not key:
        return AgentMutator(profile, model)
    url = os.environ.get(profile.url_env, profile.default_url).rstrip("/").removesuffix("/v1")
    price: Price | None = price_of(model, "google" if profile.api == "gemini" else profile.api) if model else None
    return AgentMutator(profile, model, Upstream(profile.api, url, key, price))
