"""Text that candidates can write to, made fit to be shown to a model: fenced, capped, stripped of instructions.

A candidate's output is data. What reads like an order to the model, or like the markup our own prompts are made of, is
left out line by line and the omission is said; what remains stands inside a fence that it cannot close.
"""

from __future__ import annotations

import re
import unicodedata

CAP = 4000
"""Characters of one candidate's output shown, head and tail."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|prior|above|earlier|all|any|your|these|the)\b.{0,40}"
    r"\b(?:instruction|prompt|rule|order|message|direction|context|guideline)s?\b"
    r"|\b(?:you are|you're|act as|pretend to be|from now on)\b.{0,30}\b(?:now|an?|the)\b.{0,30}"
    r"\b(?:assistant|model|ai|agent|admin|developer|system)\b"
    r"|\b(?:new|updated|real|system|developer)\s+(?:instruction|prompt|order|task|message)s?\s*[:=]"
    r"|\b(?:please|must|should|now)\s+(?:output|print|reply|respond|answer|return|write)\b.{0,40}\b(?:exactly|only|verbatim|with)\b"
    r"|^\W*(?:system|user|human|assistant|developer|tool)\s*:\s"
    r"|<\s*/?\s*(?:system|user|human|assistant|instructions?|prompt|tool_\w+|function_\w+|im_start|im_end)\b[^>]*>"
    r"|<\|[^|]{1,40}\|>|\[/?INST\]|\\n\\n(?:Human|Assistant):"
    r"|^\s*(?:<{5,9}\s*SEARCH|>{5,9}\s*REPLACE|\*\*\* (?:Begin|End) Patch|IDEA:|FAMILY:|# Order\b)",
    re.IGNORECASE,
)  # fmt: skip

LEFT_OUT = "[a line that reads like an instruction was left out]"


def stripped(text: str) -> str:
    """Without escape sequences, invisible characters and lines that read like instructions."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    plain = (LEFT_OUT if _ORDERS.search(_folded(line)) else line for line in text.split("\n"))
    out: list[str] = []
    for line in plain:
        if line != LEFT_OUT or not out or out[-1] != LEFT_OUT:
            out.append(line)
    return "\n".join(out)


def _folded(line: str) -> str:
    """As an eye reads it: compatibility forms folded, so that look-alike letters do not hide a word."""
    return unicodedata.normalize("NFKC", line)


def capped(text: str, cap: int = CAP) -> str:
    """Head and tail of at most `cap` characters, the cut stated."""
    if len(text) <= cap:
        return text
    half = (cap - 40) // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def fenced(text: str, label: str = "") -> str:
    """In a fence longer than any run of tildes in it."""
    longest = max((len(run) for run in re.findall(r"~{3,}", text)), default=2)
    fence = "~" * max(longest + 1, 3)
    return f"{fence}{label}\n{text.rstrip(chr(10))}\n{fence}"


def shown(text: str, cap: int = CAP) -> str:
    """All three: stripped, then capped, then fenced."""
    return fenced(capped(stripped(text), cap))


def line(text: str, cap: int = 200) -> str:
    """One line of untrusted text inside a sentence."""
    return capped(" ".join(stripped(text).split()), cap)
