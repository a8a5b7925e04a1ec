"""The real agents, from their package indexes, each driving a loopback model to an accepted edit through the broker.

Run where they are installed: `npm install @anthropic-ai/claude-code @openai/codex opencode-ai @google/gemini-cli`,
`pip install aider-chat`, with their folders in EVOLVE_AGENTS (a PATH). Skipped, each with its reason, elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from evolve.models.broker import Upstream
from evolve.models.wire import Price
from evolve.mutators.agent import AgentMutator
from evolve.mutators.profiles import PROFILES
from tests.models.server import Bench, Said, Sent
from tests.mutators.scene import PROGRAM, brief, desk

EDITED = PROGRAM.replace("in sizes:", "in sorted(sizes):")
DONE = "I sorted the sizes before packing them."
PATCH = "*** Begin Patch\n*** Update File: program.py\n@@\n-    for size in sizes:\n+    for size in sorted(sizes):\n*** End Patch\n"


def _program(sent: Sent) -> str:
    """Where the agent says that it works."""
    match = re.search(r"(/[\w/.-]*evolve-agent-[^/\s\"]+/work)\b", sent.text)
    return f"{match[1]}/program.py" if match else "program.py"


def claude(sent: Sent) -> Said:
    turns = json.dumps(sent.body["messages"]).count('"tool_result"')
    if "Edit" not in sent.tools or turns > 1:
        return Said(DONE)
    if turns == 0:
        return Said("Reading.", [("Read", {"file_path": _program(sent)})])
    return Said(
        "", [("Edit", {"file_path": _program(sent), "old_string": "in sizes:", "new_string": "in sorted(sizes):"})]
    )


def codex(sent: Sent) -> Said:
    if "call_output" in json.dumps(sent.body["input"]):
        return Said(DONE)
    if "apply_patch" in sent.tools:
        return Said("", [("apply_patch", {"input": PATCH})])
    if "exec" in sent.tools:
        return Said("", [("exec", {"input": f"text(await tools.apply_patch({json.dumps(PATCH)}))"})])
    command = f"apply_patch <<'EOF'\n{PATCH}EOF\n"
    return Said(
        "",
        [("exec_command", {"cmd": command})]
        if "exec_command" in sent.tools
        else [("shell_command", {"command": command})],
    )


def opencode(sent: Sent) -> Said:
    turns = json.dumps(sent.body["messages"]).count('"role": "tool"')
    if not sent.tools or turns > 1:
        return Said(DONE)
    if turns == 0:
        return Said("Reading.", [("read", {"filePath": _program(sent)})])
    return Said(
        "", [("edit", {"filePath": _program(sent), "oldString": "in sizes:", "newString": "in sorted(sizes):"})]
    )


def gemini(sent: Sent) -> Said:
    turns = json.dumps(sent.body["contents"]).count("functionResponse")
    if not sent.body.get("tools") or turns > 1:
        return Said(DONE)
    if turns == 0:
        return Said("Reading.", [("read_file", {"file_path": _program(sent)})])
    change = {
        "old_string": "    for size in sizes:",
        "new_string": "    for size in sorted(sizes):",
        "instruction": "sort the sizes first",
    }
    return Said("", [("replace", {"file_path": _program(sent)} | change)])


def aider(sent: Sent) -> Said:
    return Said(f"{DONE}\n\nprogram.py\n```\n{EDITED}```\n")


BRAINS: dict[str, tuple[Callable[[Sent], Said], str]] = {
    "claude-code": (claude, "claude-sonnet-4-5"),
    "codex": (codex, "gpt-5"),
    "opencode": (opencode, "loop"),
    "gemini-cli": (gemini, "gemini-2.5-flash"),
    "aider": (aider, "loop"),
}


@pytest.mark.parametrize("name", sorted(BRAINS))
def test_the_real_agent_edits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = PROFILES[name]
    path = os.pathsep.join(filter(None, [os.environ.get("EVOLVE_AGENTS", ""), os.environ["PATH"]]))
    program = shutil.which(profile.program, path=path)
    if program is None:
        pytest.skip(f"{profile.program} ({profile.package}) is not on EVOLVE_AGENTS or the PATH")
    monkeypatch.setenv("PATH", path)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    brain, model = BRAINS[name]
    place = desk()
    with Bench(brain) as bench:
        upstream = Upstream(profile.api, bench.url, "real-key", Price(1.0, 1.0))
        made = asyncio.run(AgentMutator(profile, model, upstream, seconds=120, money=5.0).propose(brief(), place))
    assert made.files == {"program.py": EDITED.encode()}, (
        f"{version.stdout}{version.stderr}: {made.stillborn}\n{made.artifacts[0].data[-2000:]}"
    )
    reply = place.calls[0][3]
    assert reply.outcome == "ok" and reply.money is not None and reply.tokens_in > 0
    said = made.artifacts[0].data
    assert "real-key" not in said
    keys = {
        v
        for sent in bench.sent
        for k, v in sent.headers.items()
        if k.lower() in ("x-api-key", "authorization", "x-goog-api-key")
    }
    assert keys <= {"real-key", "Bearer real-key"} and keys
    assert "terminal" not in made.idea
