"""SEARCH/REPLACE blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evolve.edits.change import FileEdit, Hunk, Malformed
from evolve.edits.fences import OPEN, _info, blocks
from evolve.edits.paths import clean, looks_like_path

HEAD = re.compile(
    r"^(?P<indent>[ \t]*)<{5,9}[ \t]*(?:SEARCH|ORIGINAL|OLD|FIND|HEAD|BEFORE|search)\b[>:]?[ \t]*(?P<name>.*)$"
)
_DIVIDER = re.compile(r"^[ \t]*={5,9}[ \t]*(?:REPLACE)?[ \t]*$")
_TAIL = re.compile(r"^[ \t]*>{5,9}[ \t]*(?:REPLACE|UPDATED|NEW|AFTER|END|replace|\w*)?\b.*$")

HOW = (
    "Send it as\npath/of/file\n<<<<<<< SEARCH\n(lines copied from the file)\n=======\n(the new lines)\n>>>>>>> REPLACE"
)


def present(lines: Sequence[str]) -> bool:
    return any(HEAD.match(line) for line in lines)


def parse(lines: Sequence[str]) -> list[FileEdit]:
    """One FileEdit a block, in order. A block without a name has the name of the one before it."""
    edits: list[FileEdit] = []
    covered: list[range] = []
    name: str | None = None
    i = 0
    while i < len(lines):
        match = HEAD.match(lines[i])
        if not match:
            i += 1
            continue
        name = _name(lines, i, match["name"]) or name
        hunk, end = _block(lines, i, match["indent"])
        edits.append(FileEdit(name, "patch", [hunk]))
        covered.append(range(i, end + 1))
        i = end + 1
    for block in blocks(lines):  # new files given whole beside the edits
        inside = any(r.start <= block.at + len(block.lines) and block.at <= r.stop for r in covered)
        if not inside and block.name and block.closed:
            content = "\n".join(block.lines) + "\n"
            edits.append(FileEdit(block.name, "write", content=content, create=True))
    return edits


def _block(lines: Sequence[str], at: int, indent: str) -> tuple[Hunk, int]:
    fenced = at > 0 and any(OPEN.match(line) for line in lines[max(at - 2, 0) : at])
    dividers: list[int] = []
    end, closing = None, False
    for i in range(at + 1, len(lines)):
        if HEAD.match(lines[i]):
            break
        if _DIVIDER.match(lines[i]):
            dividers.append(i)
        elif dividers and _TAIL.match(lines[i]) and lines[i].strip().startswith(">>>>>"):
            end = i
            break
        elif dividers and fenced and (fence := OPEN.match(lines[i])) and not fence["info"].strip():
            end, closing = i, True
            break
    number = sum(bool(HEAD.match(line)) for line in lines[: at + 1])
    if not dividers:
        raise Malformed(
            "malformed", f"Block {number} has no '=======' line between what to find and what to put. {HOW}"
        )
    if end is None:
        last = not any(HEAD.match(line) for line in lines[at + 1 :])
        reason = "truncated" if last else "malformed"
        raise Malformed(reason, f"Block {number} has no '>>>>>>> REPLACE' line: its end is missing. {HOW}")
    body = [line.removeprefix(indent) for line in lines[at + 1 : end]]
    splits = [(tuple(body[: d - at - 1]), tuple(body[d - at :])) for d in dividers]
    if len(splits) % 2:  # as many such lines in the old text as in the new
        splits = [splits[len(splits) // 2]]
    first, *rest = splits
    return Hunk(first[0], first[1], alternatives=tuple(rest)), end if not closing else end - 1


def _name(lines: Sequence[str], at: int, after: str) -> str | None:
    """The file's name: after the marker, in the opening fence, or in a line above."""
    if after and looks_like_path(clean(after)):
        return clean(after)
    for i in range(at - 1, max(at - 5, -1), -1):
        line = lines[i].strip()
        if not line:
            continue
        if fence := OPEN.match(lines[i]):
            if name := _info(fence["info"].strip())[1]:
                return name
            continue
        if _TAIL.match(lines[i]):
            return None
        name = clean(line)
        if looks_like_path(name):
            return name
        if match := re.search(r"`([^`]+)`", line):
            return clean(match[1]) if looks_like_path(clean(match[1])) else None
        return None
    return None
