"""V4A patches (`*** Begin Patch`): files by name, hunks by context and anchors instead of numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evolve.edits.change import FileEdit, Malformed
from evolve.edits.unified import hunk

_FILE = re.compile(r"^\*\*\* (?P<what>Update|Add|Delete|Create|Modify) File: *(?P<name>.*?)\s*$")


def present(lines: Sequence[str]) -> bool:
    return any(line.startswith("*** Begin Patch") or _FILE.match(line) for line in lines)


def parse(lines: Sequence[str]) -> list[FileEdit]:
    begins = [i for i, line in enumerate(lines) if line.startswith("*** Begin Patch")]
    ends = [i for i, line in enumerate(lines) if line.startswith("*** End Patch")]
    if begins and not ends:
        raise Malformed("truncated", "The patch has no '*** End Patch' line: its end is missing. Send the whole patch.")
    body = lines[begins[0] + 1 : ends[-1]] if begins else lines
    edits: list[FileEdit] = []
    marks: list[tuple[str, str]] = []
    anchors: list[str] = []

    def close(at_end: bool = False) -> None:
        nonlocal marks, anchors
        while marks and marks[-1] == (" ", ""):
            marks.pop()
        if any(mark != " " for mark, _ in marks) and edits:
            edits[-1].hunks.append(hunk(marks, anchors=tuple(anchors), at_end=at_end))
        if marks:
            anchors = []
        marks = []

    for line in body:
        if match := _FILE.match(line):
            close()
            action = (
                "delete" if match["what"] == "Delete" else "write" if match["what"] in ("Add", "Create") else "patch"
            )
            edits.append(FileEdit(match["name"].strip("`"), action, ordered=True, create=action == "write"))  # type: ignore[arg-type]
        elif line.startswith("*** Move to:") and edits:
            edits[-1].move_to = line.partition(":")[2].strip()
        elif line.startswith("*** End of File"):
            close(at_end=True)
        elif line.startswith(("*** ", "```")):
            continue
        elif line.startswith("@@"):
            if marks:
                close()
            if heading := re.sub(r"^@@|@@$", "", line.strip()).strip():
                anchors.append(heading)
        elif edits and edits[-1].action == "write":
            edits[-1].content += line.removeprefix("+") + "\n"
        elif edits and edits[-1].action == "patch":
            marks.append((line[0], line[1:]) if line[:1] in ("+", "-", " ") else (" ", line))
    close()
    if not edits:
        raise Malformed("malformed", "The patch names no file. Begin each with '*** Update File: path'.")
    for edit in edits:
        if edit.action == "patch" and not edit.hunks and not edit.move_to:
            raise Malformed("malformed", f"'*** Update File: {edit.path}' has no '-' or '+' line.")
    return edits
