"""What a loopback model says to each real agent, in the agent's own tools, so that it makes one edit; where they are.

Used by tests/mutators/test_agents_real.py and benchmarks/agents/real.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable

from tests.models.server import Said, Sent
from tests.mutators.scene import PROGRAM

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


def search_path() -> str:
    """The PATH with the folders of EVOLVE_AGENTS before it."""
    return os.pathsep.join(filter(None, [os.environ.get("EVOLVE_AGENTS", ""), os.environ["PATH"]]))


def version_of(program: str) -> str:
    """What an agent's command line says of its version, as numbers; all that it says where there are none."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    said = f"{done.stdout}{done.stderr}".strip()
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else said


def keys_of(sent: Sent) -> set[str]:
    """The keys that one request brought to the service."""
    names = ("x-api-key", "authorization", "x-goog-api-key")
    return {value.removeprefix("Bearer ") for name, value in sent.headers.items() if name.lower() in names}
