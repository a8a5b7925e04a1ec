"""A file's text as lines, so that what is not edited stays byte for byte: line ends, BOM, odd bytes, last newline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolve.edits.change import Malformed

BOM = "\ufeff"


@dataclass(slots=True)
class Text:
    """lines: with their ends. eol: the end new lines get (the file's own, by majority)."""

    lines: list[str]
    eol: str = "\n"
    bom: bool = False

    @classmethod
    def of(cls, content: bytes, path: str) -> Text:
        if b"\0" in content:
            raise Malformed("binary", f"{path} is no text file and cannot be edited.")
        text = content.decode("utf-8", "surrogateescape")
        bom = text.startswith(BOM)
        text = text[1:] if bom else text
        crlf = text.count("\r\n")
        return cls(_split(text), "\r\n" if crlf * 2 > text.count("\n") else "\n", bom)

    def bytes(self) -> bytes:
        return ((BOM if self.bom else "") + "".join(self.lines)).encode("utf-8", "surrogateescape")

    def bare(self) -> list[str]:
        """Lines without their ends."""
        return [bare(line) for line in self.lines]

    def ended(self, lines: Sequence[str]) -> list[str]:
        return [line + self.eol for line in lines]

    def replace(self, start: int, end: int, lines: Sequence[str]) -> None:
        """Lines start..end give way to `lines` (with ends); the file keeps its habit about the last newline."""
        closed = not self.lines or self.lines[-1].endswith("\n")
        self.lines[start:end] = lines
        if self.lines:
            for number, line in enumerate(self.lines[:-1]):
                if not line.endswith("\n"):
                    self.lines[number] = line + self.eol
            last = self.lines[-1]
            if closed and not last.endswith("\n"):
                self.lines[-1] = last + self.eol
            elif not closed and last.endswith("\n"):
                self.lines[-1] = bare(last)


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    out = [line + "\n" for line in lines[:-1]]
    return [*out, lines[-1]] if lines[-1] else out


def bare(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
