"""An answer in, new files out: all of its edits or none."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evolve.edits import blocks, tool, unified, v4a, whole
from evolve.edits import locate as where
from evolve.edits.change import Applied, FileEdit, Format, Hunk, Malformed, Rejected, Tier
from evolve.edits.paths import resolve
from evolve.edits.text import Text

MOST_SHOWN = 30
"""Lines of a file quoted in an error message."""


def apply(
    answer: str,
    files: Mapping[str, bytes],
    *,
    calls: Sequence[Mapping[str, Any]] = (),
    may_edit: Callable[[str], bool] | None = None,
) -> Applied | Rejected:
    """Apply what a model answered.

    files: path -> content of the files that may be edited. calls: inputs of the text-editor tool's calls, where the
    answer came as such. may_edit: which other paths may be created; None: any that stays in the tree.
    The format is recognised, not declared: a model asked for one often sends another.
    """
    form: Format | None = None
    try:
        form, edits = parse(answer, files, calls)
        return _apply(form, edits, files, may_edit)
    except Malformed as error:
        return Rejected(error.reason, error.for_model, form)


def parse(
    answer: str, files: Mapping[str, bytes], calls: Sequence[Mapping[str, Any]] = ()
) -> tuple[Format, list[FileEdit]]:
    """The answer's format and edits. Raises Malformed."""
    if calls:
        edits = tool.parse(calls)
        if edits:
            return Format.TOOL, edits
        if not answer.strip():
            raise Malformed(
                "empty", "The tool was only used to look. Make the edit with str_replace, insert or create."
            )
    lines = answer.replace("\r\n", "\n").split("\n")
    if v4a.present(lines):
        return Format.V4A, v4a.parse(lines)
    if blocks.present(lines):
        return Format.SEARCH_REPLACE, blocks.parse(lines)
    if unified.present(lines):
        return Format.UNIFIED, unified.parse(lines)
    return Format.WHOLE, whole.parse(lines, files)


def _apply(
    form: Format, edits: Sequence[FileEdit], files: Mapping[str, bytes], may_edit: Callable[[str], bool] | None
) -> Applied | Rejected:
    work = _Work(files, may_edit)
    for number, edit in enumerate(edits, 1):
        work.edit(edit, f"Edit {number} of {len(edits)}" if len(edits) > 1 else "The edit")
    changed = work.changed()
    if not changed:
        return Rejected("no-op", "The edit changes nothing: old and new text are the same. Make a real change.", form)
    return Applied(changed, work.tier, form)


class _Work:
    """Files as they stand after the edits so far."""

    def __init__(self, files: Mapping[str, bytes], may_edit: Callable[[str], bool] | None) -> None:
        self.before, self.now = files, dict[str, bytes](files)
        self.may_edit, self.tier = may_edit, Tier.EXACT

    def changed(self) -> dict[str, bytes | None]:
        out: dict[str, bytes | None] = {p: c for p, c in self.now.items() if self.before.get(p) != c}
        out.update({path: None for path in self.before if path not in self.now})
        return out

    def edit(self, edit: FileEdit, label: str) -> None:
        path = self._path(edit, label)
        if edit.action == "delete":
            del self.now[path]
        elif edit.action == "write":
            self._write(path, edit, label)
        elif path not in self.now:
            self._create(path, edit, label)
        else:
            self._patch(path, edit, label)
        if edit.move_to and edit.move_to != edit.path:
            target = resolve(edit.move_to, (), self.may_edit, new=True)
            if target in self.now:
                raise Malformed("malformed", f"{label}: {target} is there already, so {path} cannot be moved to it.")
            self.now[target] = self.now.pop(path)

    def _path(self, edit: FileEdit, label: str) -> str:
        if edit.path is None:
            return self._guess(edit, label)
        makes = edit.action == "write" or edit.create or all(not _wanted(hunk.old) for hunk in edit.hunks)
        return resolve(edit.path, self.now, self.may_edit, new=makes and edit.action != "delete")

    def _guess(self, edit: FileEdit, label: str) -> str:
        """The file meant by an edit that names none: the only one, or the only one that holds its text."""
        if len(self.now) == 1:
            return next(iter(self.now))
        holding = [path for path in sorted(self.now) if all(self._places(path, hunk) for hunk in edit.hunks)]
        if len(holding) == 1:
            return holding[0]
        names = ", ".join(sorted(self.now))
        raise Malformed("ambiguous", f"{label} does not say which file it is for. Put its path above it: {names}.")

    def _places(self, path: str, hunk: Hunk) -> list[where.Place]:
        return where.find(Text.of(self.now[path], path).bare(), hunk.old, lead=hunk.lead, tail=hunk.tail)

    def _write(self, path: str, edit: FileEdit, label: str) -> None:
        old = Text.of(self.now.get(path, b""), path)
        new = Text.of(edit.content.encode("utf-8", "surrogateescape"), path)
        if edit.create and path in self.now and path in self.before and old.lines:
            if edit.content.encode("utf-8", "surrogateescape") == self.now[path]:
                return
            raise Malformed("malformed", f"{label}: {path} is there already; edit it instead of adding it.")
        if left_out := whole.elision(new.bare(), old.bare()):
            raise Malformed(
                "elided",
                f"{label}: {path} has the line '{left_out}' in place of code. Send the whole file, nothing left out.",
            )
        old.lines = old.ended(new.bare())
        self.now[path] = old.bytes()

    def _create(self, path: str, edit: FileEdit, label: str) -> None:
        lines = [line for hunk in edit.hunks for line in hunk.new]
        if left_out := whole.elision(lines, ()):
            raise Malformed(
                "elided", f"{label}: {path} has the line '{left_out}' in place of code. Send the whole file."
            )
        self.now[path] = Text(Text([]).ended(lines)).bytes()

    def _patch(self, path: str, edit: FileEdit, label: str) -> None:
        text = Text.of(self.now[path], path)
        cursor = 0
        for number, hunk in enumerate(edit.hunks, 1):
            part = f"{label}, hunk {number} of {len(edit.hunks)}" if len(edit.hunks) > 1 else label
            if left_out := whole.elision(hunk.new, [*text.bare(), *hunk.old]):
                raise Malformed(
                    "elided", f"{part}: the line '{left_out}' stands for code that is left out. Write that code."
                )
            cursor = self._hunk(path, text, hunk, part, cursor if edit.ordered else 0)
        self.now[path] = text.bytes()

    def _hunk(self, path: str, text: Text, hunk: Hunk, label: str, cursor: int) -> int:
        """Apply one hunk; returns the line after it."""
        if hunk.after is not None:
            if hunk.after > len(text.lines):
                raise Malformed(
                    "not-found",
                    f"{label}: {path} has {len(text.lines)} lines, so nothing can follow line {hunk.after}.",
                )
            text.replace(hunk.after, hunk.after, text.ended(hunk.new))
            return hunk.after + len(hunk.new)
        if hunk.raw and self._raw(path, text, hunk.raw, label):
            return 0
        if not _wanted(hunk.old):
            return self._append(path, text, hunk, label)
        bare = text.bare()
        place, old, new = _only(bare, hunk, path, label, cursor)
        self.tier = max(self.tier, place.tier)
        lines = where.rewrite(bare, place, old, new)
        kept = _kept(text, place, bare, lines)
        text.replace(place.start, place.end, kept)
        return place.start + len(kept)

    def _append(self, path: str, text: Text, hunk: Hunk, label: str) -> int:
        """A hunk without old text: only where there is but one place for it."""
        if not any(line.strip() for line in text.bare()):
            text.replace(0, len(text.lines), text.ended(hunk.new))
        elif hunk.at_end:
            text.replace(len(text.lines), len(text.lines), text.ended(hunk.new))
        elif len(hunk.anchors) and (at := _anchor(text.bare(), hunk.anchors)) is not None:
            text.replace(at + 1, at + 1, text.ended(hunk.new))
            return at + 1 + len(hunk.new)
        else:
            raise Malformed(
                "ambiguous",
                f"{label}: nothing says where in {path} the new lines go. Give a line or two of the file before them.",
            )
        return len(text.lines)

    def _raw(self, path: str, text: Text, raw: tuple[str, str], label: str) -> bool:
        """Replace any part of the text where it occurs exactly once."""
        whole_text = "".join(text.lines)
        old, new = (part.replace("\r\n", "\n").replace("\n", text.eol) for part in raw)
        count = whole_text.count(old)
        if count > 1:
            raise Malformed(
                "ambiguous", f"{label}: old_str occurs {count} times in {path}. Add lines around it until it is unique."
            )
        if count == 1:
            renewed = Text.of(whole_text.replace(old, new).encode("utf-8", "surrogateescape"), path)
            text.lines = renewed.lines
        return count == 1


def _wanted(old: Sequence[str]) -> bool:
    return any(line.strip() for line in old)


def _kept(text: Text, place: where.Place, bare: Sequence[str], new: Sequence[str]) -> list[str]:
    """New lines with ends; a line that stays keeps its own."""
    if len(new) == place.end - place.start:
        return [
            text.lines[place.start + i] if bare[place.start + i] == line else line + text.eol
            for i, line in enumerate(new)
        ]
    return text.ended(new)


def _only(
    bare: Sequence[str], hunk: Hunk, path: str, label: str, cursor: int
) -> tuple[where.Place, Sequence[str], Sequence[str]]:
    """The one place of a hunk. Raises Malformed where there is none or more than one."""
    splits = [(hunk.old, hunk.new), *hunk.alternatives]
    fitting = []
    for old, new in splits:
        places = where.find(bare, old, lead=hunk.lead, tail=hunk.tail)
        plain = _unnumbered(old)
        if plain is not None and not (places and places[0].tier < Tier.FUZZY):
            places = [_loosened(p) for p in where.find(bare, plain)]
            old, new = plain, _unnumbered(new) or new
        if places:
            fitting.append((_narrowed(bare, places, hunk, cursor), old, new))
    if len(fitting) > 1:
        raise Malformed(
            "ambiguous",
            f"{label} has more than one '=======' line and can be read in {len(fitting)} ways. Send two blocks.",
        )
    if not fitting:
        raise Malformed("not-found", f"{label}: {_not_found(bare, hunk, path)}")
    places, old, new = fitting[0]
    if len(places) > 1:
        raise Malformed("ambiguous", f"{label}: {_ambiguous(bare, places, path)}")
    return places[0], old, new


def _loosened(place: where.Place) -> where.Place:
    return where.Place(place.start, place.end, max(place.tier, Tier.WHITESPACE), place.ratio, place.pairs)


def _narrowed(bare: Sequence[str], places: list[where.Place], hunk: Hunk, cursor: int) -> list[where.Place]:
    """Places left after what else the hunk says: its order, the lines above it, its line number."""
    if len(places) > 1 and cursor:
        places = [p for p in places if p.start >= cursor] or places
    if len(places) > 1 and hunk.anchors:
        places = [p for p in places if _under(bare, p.start, hunk.anchors)] or places
    if len(places) > 1 and hunk.at_end:
        places = [p for p in places if not any(line.strip() for line in bare[p.end :])] or places
    if len(places) > 1 and hunk.line is not None:
        places = [p for p in places if p.start == hunk.line - 1] or places
    return places


def _under(bare: Sequence[str], start: int, anchors: Sequence[str]) -> bool:
    """Whether line `start` stands in the block that the last anchor opens, and that in the block of the one before."""
    for anchor in reversed(anchors):
        at = start
        found = None
        while at >= 0:
            if _is_anchor(bare[at], anchor) and (at == start or _encloses(bare, at, start)):
                found = at
                break
            at -= 1
        if found is None:
            return False
        start = found
    return True


def _is_anchor(line: str, anchor: str) -> bool:
    one, other = where.normal(line), where.normal(anchor)
    return bool(other) and (one == other or one.rstrip(":{ ").startswith(other.rstrip(":{ ")))


def _encloses(bare: Sequence[str], at: int, start: int) -> bool:
    def width(line: str) -> int:
        return len(line) - len(line.lstrip())

    return all(not line.strip() or width(line) > width(bare[at]) for line in bare[at + 1 : start + 1])


def _anchor(bare: Sequence[str], anchors: Sequence[str]) -> int | None:
    """The one line that the last anchor is, under the others."""
    found = [i for i, line in enumerate(bare) if _is_anchor(line, anchors[-1])]
    if len(found) > 1 and len(anchors) > 1:
        found = [i for i in found if _under(bare, i, anchors[:-1])]
    return found[0] if len(found) == 1 else None


_NUMBERED = re.compile(r"^\s*(\d+)\s?(?:[:|→\t] ?)(.*)$")


def _unnumbered(lines: Sequence[str]) -> tuple[str, ...] | None:
    """Lines without the line numbers of a listing they were copied from; None where they have none."""
    matches = [_NUMBERED.match(line) for line in lines if line.strip()]
    numbers = [int(match[1]) for match in matches if match]
    if not numbers or len(numbers) != len(matches) or any(b <= a for a, b in itertools.pairwise(numbers)):
        return None
    return tuple((_NUMBERED.match(line) or [line, "", line])[2] if line.strip() else line for line in lines)


# ---- what to say -----------------------------------------------------------------------------------------------------


def _quote(bare: Sequence[str], start: int, end: int) -> str:
    shown = list(bare[start:end][:MOST_SHOWN])
    if end - start > MOST_SHOWN:
        shown.append(f"[{end - start - MOST_SHOWN} more lines]")
    return "\n".join(shown)


def _not_found(bare: Sequence[str], hunk: Hunk, path: str) -> str:
    first = next((line.strip() for line in hunk.old if line.strip()), "")
    lines = [f"the text to replace is not in {path} (it begins '{first[:80]}')."]
    if near := where.nearest(bare, hunk.old):
        start, end, ratio = near
        lines.append(
            f"The nearest lines are {start + 1}-{end} ({ratio:.0%} alike):\n~~~\n{_quote(bare, start, end)}\n~~~"
        )
        have = {where.normal(line) for line in bare[start:end]}
        if wrong := [line.strip() for line in hunk.old if line.strip() and where.normal(line) not in have]:
            lines.append(f"First line of yours that is not there: '{wrong[0][:120]}'.")
    lines.append("Copy the lines to replace from the file, character by character, and send the whole answer again.")
    return "\n".join(lines)


def _ambiguous(bare: Sequence[str], places: Sequence[where.Place], path: str) -> str:
    spots = ", ".join(str(place.start + 1) for place in places[:6])
    return (
        f"the text to replace fits {path} in more than one place (lines {spots}). "
        "Add lines above or below it until it is unique, and send the whole answer again."
    )
