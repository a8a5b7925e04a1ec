"""Unified diffs as models write them: counts are ignored, `@@` may be bare, git's headers may be there or not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from evolve.edits.change import FileEdit, Hunk, Malformed
from evolve.edits.fences import OPEN

_HUNK = re.compile(
    r"^@@(?:[ \t]*-(?P<line>\d+)(?:,\d+)?[ \t]+\+\d+(?:,\d+)?[ \t]*(?:@@)?(?P<heading>.*)|(?P<bare>.*))$"
)
_OLD = re.compile(r"^--- (?P<name>.*?)(?:\t.*)?$")
_NEW = re.compile(r"^\+\+\+ (?P<name>.*?)(?:\t.*)?$")
_GIT = re.compile(r"^diff --git (?P<old>\S+) (?P<new>\S+)$")
_META = re.compile(
    r"^(index [0-9a-f]+|old mode|new mode|new file mode|deleted file mode|similarity index|dissimilarity"
    r"|rename |copy |Binary files)"
)


def present(lines: Sequence[str]) -> bool:
    if any(_HUNK.match(line) or (line.startswith("Binary files ") and line.endswith(" differ")) for line in lines):
        return True
    return any(_OLD.match(a) and _NEW.match(b) for a, b in itertools.pairwise(lines))


def parse(lines: Sequence[str]) -> list[FileEdit]:
    """One FileEdit a file named, in order."""
    return _Reader(lines).read()


class _Reader:
    def __init__(self, lines: Sequence[str]) -> None:
        self.lines, self.i = lines, 0
        self.edits: list[FileEdit] = []
        self.current: FileEdit | None = None
        self.fence = ""

    def read(self) -> list[FileEdit]:
        while self.i < len(self.lines):
            line = self.lines[self.i]
            follow = self.lines[self.i + 1] if self.i + 1 < len(self.lines) else ""
            if fence := OPEN.match(line):
                self.fence = "" if self.fence else fence["fence"]
                self.i += 1
            elif git := _GIT.match(line):
                self._file(git["old"], git["new"])
                self.i += 1
            elif _OLD.match(line) and _NEW.match(follow):
                self._names(line, follow)
                self.i += 2
            elif line.startswith("Binary files"):
                raise Malformed("binary", "A diff cannot change a binary file.")
            elif line.startswith("deleted file mode") and self.current:
                self.current.action = "delete"
                self.i += 1
            elif line.startswith("rename from ") and self.current:
                self.current.path = line.removeprefix("rename from ").strip()
                self.i += 1
            elif line.startswith("rename to ") and self.current:
                self.current.move_to = line.removeprefix("rename to ").strip()
                self.i += 1
            elif hunk := _HUNK.match(line):
                self.i += 1
                self._hunk(hunk)
            else:
                self.i += 1
        edits = [edit for edit in self.edits if edit.hunks or edit.action == "delete" or edit.move_to]
        if not edits:
            raise Malformed(
                "malformed", "The diff holds no hunk. A hunk begins with '@@' and has ' ', '-' and '+' lines."
            )
        return edits

    def _file(self, old: str, new: str) -> None:
        self.current = FileEdit(new, "patch", ordered=True)
        self.edits.append(self.current)

    def _names(self, old_line: str, new_line: str) -> None:
        old, new = (pattern.match(text) for pattern, text in ((_OLD, old_line), (_NEW, new_line)))
        assert old and new
        before, after = old["name"].strip(), new["name"].strip()
        if not self._goes_on(before, after):
            self._file(before, after)
        assert self.current
        if after == "/dev/null":
            self.current.path, self.current.action = before, "delete"
        elif before == "/dev/null":
            self.current.path, self.current.create = after, True

    def _goes_on(self, before: str, after: str) -> bool:
        """Whether these names belong to the file that git's header opened."""
        if self.current is None or self.current.hunks or self.current.path is None:
            return False
        plain = {name[2:] if name.startswith(("a/", "b/")) else name for name in (before, after, self.current.path)}
        return self.current.move_to is not None or len(plain - {"/dev/null"}) == 1

    def _hunk(self, match: re.Match[str]) -> None:
        heading = match["bare"] if match["line"] is None else match["heading"]
        heading = heading.replace("@@", "").strip()
        if match["line"] is None and re.match(r"^(-?\d|\.\.\.|-\d)", heading):
            heading = ""
        if self.current is None:
            self.current = FileEdit(None, "patch", ordered=True)
            self.edits.append(self.current)
        marks: list[tuple[str, str]] = []
        while self.i < len(self.lines) and not self._ends():
            line = self.lines[self.i]
            self.i += 1
            if line.startswith("\\"):
                continue
            if line[:1] in ("+", "-", " "):
                marks.append((line[0], line[1:]))
            else:  # a context line whose leading space was lost
                marks.append((" ", line))
        while marks and marks[-1] == (" ", ""):
            marks.pop()
        if not any(mark in "+-" for mark, _ in marks):
            return
        self.current.hunks.append(hunk(marks, anchors=(heading,) if heading else (), line=_number(match["line"])))

    def _ends(self) -> bool:
        line = self.lines[self.i]
        follow = self.lines[self.i + 1] if self.i + 1 < len(self.lines) else ""
        if _HUNK.match(line) or _GIT.match(line) or (_OLD.match(line) and _NEW.match(follow)) or _META.match(line):
            return True
        if self.fence:
            return line.strip() == self.fence
        if OPEN.match(line):
            return True
        return bool(line) and line[0] not in " +-\\\t" and (self.i == 0 or not self.lines[self.i - 1].strip())


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def hunk(
    marks: Sequence[tuple[str, str]], *, anchors: tuple[str, ...] = (), line: int | None = None, at_end: bool = False
) -> Hunk:
    """A hunk from (mark, text) lines, mark one of ' ', '-', '+'."""
    lead = next((i for i, (mark, _) in enumerate(marks) if mark != " "), len(marks))
    tail = next((i for i, (mark, _) in enumerate(reversed(marks)) if mark != " "), len(marks))
    return Hunk(
        tuple(text for mark, text in marks if mark != "+"), tuple(text for mark, text in marks if mark != "-"),
        anchors, line, lead, tail, at_end=at_end,
    )  # fmt: skip
