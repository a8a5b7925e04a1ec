"""Calls of a text-editor tool: str_replace, insert, create. `view` changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolve.edits.change import FileEdit, Hunk, Malformed

COMMANDS = ("str_replace", "insert", "create", "view")


def parse(calls: Sequence[Mapping[str, Any]]) -> list[FileEdit]:
    """One FileEdit a call that edits, in order. Raises Malformed naming the call and the field."""
    edits = []
    for number, call in enumerate(calls, 1):
        command = call.get("command")
        if command == "view":
            continue
        if command not in COMMANDS:
            raise Malformed("malformed", f"Call {number}: command {command!r} is not known; use {', '.join(COMMANDS)}.")
        edits.append(_edit(number, str(command), call))
    return edits


def _edit(number: int, command: str, call: Mapping[str, Any]) -> FileEdit:
    def text(*names: str) -> str:
        for name in names:
            if name in call and call[name] is not None:
                if not isinstance(call[name], str):
                    raise Malformed("malformed", f"Call {number}: {name} must be a string.")
                return str(call[name])
        raise Malformed("malformed", f"Call {number}: {command} needs {names[0]}.")

    path = text("path")
    if command == "create":
        return FileEdit(path, "write", content=text("file_text", "content"))
    if command == "insert":
        line = call.get("insert_line")
        if isinstance(line, bool) or not isinstance(line, int) or line < 0:
            raise Malformed(
                "malformed", f"Call {number}: insert_line must be a whole number, 0 for the top of the file."
            )
        new = text("insert_text", "new_str")
        return FileEdit(path, "patch", [Hunk((), tuple(_lines(new)), after=line)])
    old = text("old_str")
    new = str(call.get("new_str") or "")
    if not old:
        raise Malformed(
            "malformed", f"Call {number}: old_str is empty; use create for a new file or insert to add lines."
        )
    return FileEdit(path, "patch", [Hunk(tuple(_lines(old)), tuple(_lines(new)), raw=(old, new))])


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines and not lines[-1] and len(lines) > 1 else lines
