# ruff: noqa: E501
"""Writes the corpus of edits: `python -m tests.edits.generate`. Each case's outcome is made here by plain string
replacement, never by the code under test.

Bases and edits are ours; the ways in which answers go wrong are those that models are known for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"

PACK = '''"""Pack boxes into bins."""

import math

LIMIT = 100
STEP = 0.25


def load(path):
    """Read sizes, one a line."""
    with open(path) as handle:
        return [float(line) for line in handle]


def fits(free, size):
    return size <= free


def first_fit(sizes):
    bins = []
    for size in sizes:
        for number, free in enumerate(bins):
            if fits(free, size):
                bins[number] = free - size
                break
        else:
            bins.append(LIMIT - size)
    return bins


def best_fit(sizes):
    bins = []
    for size in sizes:
        # the tightest bin that still takes it
        best, least = None, math.inf
        for number, free in enumerate(bins):
            if fits(free, size) and free - size < least:
                best, least = number, free - size
        if best is None:
            bins.append(LIMIT - size)
        else:
            bins[best] -= size
    return bins


class Report:
    def __init__(self, bins):
        self.bins = bins
        self.total = len(bins)

    def show(self):
        print("bins", self.total)
        return self.total

    def waste(self):
        print("waste", sum(self.bins))
        return sum(self.bins)
'''

SMALL = "def scale(x):\n    return x * 3\n\n\ndef shift(x):\n    return x + 1\n"
KERNEL = '#include <stdio.h>\n\nstatic int add(int a, int b)\n{\n\treturn a + b;\n}\n\nint main(void)\n{\n\tfor (int i = 0; i < 10; i++) {\n\t\tprintf("%d\\n", add(i, 1));\n\t}\n\treturn 0;\n}\n'
NOTES = "# Notes\n\nRun it:\n\n```bash\nmake run\n```\n\nThen wait.\n"

Case = dict[str, Any]
CASES: list[Case] = []

# name of an edit of PACK -> (old lines, new lines); `old` occurs once
EDITS: dict[str, tuple[str, str]] = {
    "one-line": ("LIMIT = 100\n", "LIMIT = 120\n"),
    "block": (
        "        best, least = None, math.inf\n        for number, free in enumerate(bins):\n            if fits(free, size) and free - size < least:\n",
        '        best, least = None, float("inf")\n        for number, free in sorted(enumerate(bins)):\n            if size <= free and free - size < least:\n',
    ),
    "insert": (
        "def fits(free, size):\n    return size <= free\n",
        "def fits(free, size):\n    if size < 0:\n        return False\n    return size <= free\n",
    ),
    "delete": (
        "        self.bins = bins\n        self.total = len(bins)\n",
        "        self.bins = bins\n",
    ),
}


def case(
    name: str,
    answer: str = "",
    *,
    files: dict[str, str] | None = None,
    expect: dict[str, Any] | None = None,
    rejected: str = "",
    format: str = "",
    tier: str = "exact",
    calls: list[dict[str, Any]] | None = None,
    editable: list[str] | None = None,
) -> None:
    """files: path -> text before (default: PACK as pack.py). expect: path -> text after (None: deleted)."""
    before = {"pack.py": PACK} if files is None else files
    one: Case = {"name": name, "files": before, "answer": answer}
    if calls is not None:
        one["calls"] = calls
    if editable is not None:
        one["editable"] = editable
    one["expect"] = {"rejected": rejected} if rejected else {"files": expect, "tier": tier, "format": format}
    CASES.append(one)


def edited(old: str, new: str, text: str = PACK) -> str:
    assert text.count(old) == 1, (old, text.count(old))
    return text.replace(old, new)


# ---- corruptions of the old text: (old, new) as the model writes them; None where they do not apply -----------------


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def trailing(old: str, new: str) -> tuple[str, str]:
    return "".join(line.rstrip("\n") + "  \n" for line in _lines(old)), new


def shifted(old: str, new: str) -> tuple[str, str]:
    """Everything moved two columns to the right."""
    return "".join("  " + line for line in _lines(old)), "".join("  " + line for line in _lines(new))


def dedented(old: str, new: str) -> tuple[str, str]:
    """The common indent lost, as in an answer that quotes a part of a function."""
    lines = [line for line in _lines(old + new) if line.strip()]
    width = min(len(line) - len(line.lstrip()) for line in lines)
    return "".join(line[width:] for line in _lines(old)), "".join(line[width:] for line in _lines(new))


def tabbed(old: str, new: str) -> tuple[str, str]:
    def tabs(text: str) -> str:
        return "".join("\t" * ((len(line) - len(line.lstrip())) // 4) + line.lstrip() for line in _lines(text))

    return tabs(old), tabs(new)


def spaced(old: str, new: str) -> tuple[str, str]:
    """A blank line too many between two lines, on both sides."""
    first, *rest = _lines(old)
    start, *others = _lines(new)
    return first + "\n" + "".join(rest), start + "\n" + "".join(others) if start == first else new


def doubled(old: str, new: str) -> tuple[str, str]:
    """Two spaces where one is."""
    return old.replace(" = ", "  =  ").replace(" - ", "  -  "), new


CORRUPTIONS: dict[str, tuple[Callable[[str, str], tuple[str, str]], str]] = {
    "as-is": (lambda old, new: (old, new), "exact"),
    "trailing-space": (trailing, "whitespace"),
    "shifted": (shifted, "whitespace"),
    "dedented": (dedented, "whitespace"),
    "tabs": (tabbed, "whitespace"),
    "blank-line": (spaced, "whitespace"),
    "double-space": (doubled, "whitespace"),
}


# ---- the same edit in each format ------------------------------------------------------------------------------------


def sr(old: str, new: str, path: str = "pack.py", fence: bool = True) -> str:
    body = f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"
    return f"{path}\n```python\n{body}```\n" if fence else f"{path}\n{body}"


def hunk(old: str, new: str, head: str = "@@", before: str = "", after: str = "") -> str:
    body = "".join(" " + line for line in _lines(before))
    body += "".join("-" + line for line in _lines(old)) + "".join("+" + line for line in _lines(new))
    return f"{head}\n{body}" + "".join(" " + line for line in _lines(after))


def diff(*hunks: str, path: str = "pack.py", git: bool = True) -> str:
    head = f"diff --git a/{path} b/{path}\nindex 0123456..789abcd 100644\n" if git else ""
    return f"{head}--- a/{path}\n+++ b/{path}\n" + "".join(hunks)


def v4a(*parts: str, path: str = "pack.py") -> str:
    return f"*** Begin Patch\n*** Update File: {path}\n" + "".join(parts) + "*** End Patch\n"


def fenced(text: str, path: str = "pack.py", language: str = "python") -> str:
    return f"{path}\n```{language}\n{text}```\n"


def matrix() -> None:
    """Every edit with every corruption, in the formats that quote the old text."""
    for name, (old, new) in EDITS.items():
        after = {"pack.py": edited(old, new)}
        for how, (corrupt, tier) in CORRUPTIONS.items():
            o, n = corrupt(old, new)
            if how != "as-is" and (o, n) == (old, new):
                continue
            if how == "blank-line" and len(_lines(old)) < 2:
                continue
            case(
                f"sr/{name}/{how}",
                "Here is the change.\n\n" + sr(o, n),
                expect=after,
                tier=tier,
                format="search-replace",
            )
            case(
                f"diff/{name}/{how}",
                "```diff\n" + diff(hunk(o, n, "@@ -5,7 +5,9 @@")) + "```\n",
                expect=after,
                tier=tier,
                format="unified",
            )
            case(f"v4a/{name}/{how}", v4a(hunk(o, n)), expect=after, tier=tier, format="v4a")
            if how in ("as-is", "trailing-space", "dedented"):
                call = {"command": "str_replace", "path": "/repo/pack.py", "old_str": o, "new_str": n}
                raw = "exact" if o in PACK else tier  # part of a line may be replaced as it is
                if o in PACK and o != old:
                    continue
                case(f"tool/{name}/{how}", calls=[call], expect=after, tier=raw, format="tool")


def search_replace() -> None:
    old, new = EDITS["block"]
    after = {"pack.py": edited(old, new)}
    two = {"pack.py": PACK, "lib/small.py": SMALL}

    def ok(name: str, answer: str, tier: str = "exact", **rest: Any) -> None:
        rest.setdefault("expect", after)
        case(f"sr/{name}", answer, tier=tier, format="search-replace", **rest)

    ok("no-fence", sr(old, new, fence=False))
    ok("name-in-bold", "**pack.py**\n\n" + sr(old, new).split("\n", 1)[1])
    ok("name-in-heading", "### File: `pack.py`\n" + sr(old, new).split("\n", 1)[1])
    ok("name-in-fence", "```python pack.py\n" + sr(old, new, fence=False).split("\n", 1)[1] + "```\n")
    ok(
        "name-after-marker",
        "```\n" + sr(old, new, fence=False).split("\n", 1)[1].replace("SEARCH", "SEARCH pack.py") + "```\n",
    )
    ok("name-inside-fence", "```python\npack.py\n" + sr(old, new, fence=False).split("\n", 1)[1] + "```\n")
    ok("no-name", sr(old, new).split("\n", 1)[1])
    ok("dot-slash-name", sr(old, new, "./pack.py"))
    ok(
        "five-and-nine-marks",
        sr(old, new).replace("<<<<<<<", "<<<<<").replace("=======", "=====").replace(">>>>>>>", ">>>>>>>>>"),
    )
    ok("original-updated", sr(old, new).replace("SEARCH", "ORIGINAL").replace("REPLACE", "UPDATED"))
    ok("crlf-answer", sr(old, new).replace("\n", "\r\n"))
    ok("fence-closes-instead", sr(old, new).replace(">>>>>>> REPLACE\n", ""))
    ok("text-around", "I think the sort is the trouble.\n\n" + sr(old, new) + "\nThat should be faster.\n")
    ok(
        "indented-in-a-list",
        "1. Change this:\n\n"
        + "".join("   " + line for line in _lines("pack.py\n" + sr(old, new, fence=False).split("\n", 1)[1])),
    )
    ok(
        "two-blocks",
        sr(old, new) + "\n" + sr("LIMIT = 100\n", "LIMIT = 50\n"),
        expect={"pack.py": edited("LIMIT = 100", "LIMIT = 50", edited(old, new))},
    )
    ok(
        "two-blocks-name-once",
        sr(old, new) + sr("LIMIT = 100\n", "LIMIT = 50\n").split("\n", 1)[1],
        expect={"pack.py": edited("LIMIT = 100", "LIMIT = 50", edited(old, new))},
    )
    ok(
        "second-builds-on-first",
        sr("STEP = 0.25\n", "STEP = 0.5\nEXTRA = 1\n") + sr("EXTRA = 1\n", "EXTRA = 2\n"),
        expect={"pack.py": edited("STEP = 0.25\n", "STEP = 0.5\nEXTRA = 2\n")},
    )
    ok(
        "two-files",
        sr(old, new) + sr("    return x * 3\n", "    return 3 * x\n", "lib/small.py"),
        files=two,
        expect=after | {"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "basename-only",
        sr("    return x * 3\n", "    return 3 * x\n", "small.py"),
        files=two,
        expect={"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "no-name-one-file-has-it",
        sr("    return x * 3\n", "    return 3 * x\n").split("\n", 1)[1],
        files=two,
        expect={"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok("empty-replace", sr("STEP = 0.25\n", ""), expect={"pack.py": edited("STEP = 0.25\n", "")})
    ok(
        "empty-search-new-file",
        sr("", "x = 1\n", "lib/new.py"),
        editable=["*.py", "lib/*"],
        expect={"lib/new.py": "x = 1\n"},
    )
    ok(
        "new-file-whole-beside",
        sr(old, new) + "\nlib/new.py\n```python\nx = 1\n```\n",
        editable=["*.py", "lib/*"],
        expect=after | {"lib/new.py": "x = 1\n"},
    )
    ok(
        "no-final-newline",
        sr("    return x + 1\n", "    return x + 2\n", "s.py"),
        files={"s.py": SMALL.rstrip("\n")},
        expect={"s.py": SMALL.rstrip("\n").replace("x + 1", "x + 2")},
    )
    ok(
        "crlf-file",
        sr("    return x + 1\n", "    y = x\n    return y + 1\n", "s.py"),
        files={"s.py": SMALL.replace("\n", "\r\n")},
        expect={"s.py": SMALL.replace("    return x + 1\n", "    y = x\n    return y + 1\n").replace("\n", "\r\n")},
    )
    ok(
        "bom-file",
        sr("    return x + 1\n", "    return x + 2\n", "s.py"),
        files={"s.py": "\ufeff" + SMALL},
        expect={"s.py": "\ufeff" + SMALL.replace("x + 1", "x + 2")},
    )
    ok(
        "spaces-for-tabs",
        sr(
            '    for (int i = 0; i < 10; i++) {\n        printf("%d\\n", add(i, 1));\n',
            '    for (int i = 0; i < 20; i++) {\n        if (i)\n            printf("%d\\n", add(i, 2));\n',
            "k.c",
        ),
        "whitespace",
        files={"k.c": KERNEL},
        expect={
            "k.c": KERNEL.replace("i < 10", "i < 20").replace(
                '\t\tprintf("%d\\n", add(i, 1));\n', '\t\tif (i)\n\t\t\tprintf("%d\\n", add(i, 2));\n'
            )
        },
    )
    ok(
        "rule-of-equals-in-text",
        sr("Title\n=======\n\nold\n", "Title\n=======\n\nnew\n", "t.md"),
        files={"t.md": "Title\n=======\n\nold\n\nmore\n"},
        expect={"t.md": "Title\n=======\n\nnew\n\nmore\n"},
    )
    # a comment the model left out stays in the file
    with_comment = "    for size in sizes:\n        # the tightest bin that still takes it\n        best, least = None, math.inf\n        for number, free in enumerate(bins):\n            if fits(free, size) and free - size < least:\n                best, least = number, free - size\n        if best is None:\n            bins.append(LIMIT - size)\n        else:\n            bins[best] -= size\n"
    without = with_comment.replace("        # the tightest bin that still takes it\n", "")
    ok(
        "dropped-comment",
        sr(without, without.replace("bins[best] -= size", "bins[best] = bins[best] - size")),
        "fuzzy",
        expect={"pack.py": edited("bins[best] -= size", "bins[best] = bins[best] - size")},
    )
    ok(
        "wrong-name-in-context",
        sr(
            with_comment.replace("number, free in", "index, free in"),
            with_comment.replace("number, free in", "index, free in").replace(
                "bins[best] -= size", "bins[best] = bins[best] - size"
            ),
        ),
        "fuzzy",
        expect={"pack.py": edited("bins[best] -= size", "bins[best] = bins[best] - size")},
    )
    ok(
        "wrong-token-in-changed-line",
        sr('        print("waste", sum(self.bin))\n', '        print("wasted", sum(self.bins))\n'),
        "fuzzy",
        expect={"pack.py": edited('print("waste", sum', 'print("wasted", sum')},
    )
    numbered = "".join(f"{40 + i}: {line}" for i, line in enumerate(_lines(old)))
    ok(
        "line-numbers-copied",
        sr(numbered, "".join(f"{40 + i}: {line}" for i, line in enumerate(_lines(new)))),
        "whitespace",
    )

    def no(name: str, answer: str, reason: str, **rest: Any) -> None:
        case(f"sr/refused/{name}", answer, rejected=reason, **rest)

    no(
        "two-places",
        sr("    bins = []\n    for size in sizes:\n", "    bins = [0]\n    for size in sizes:\n"),
        "ambiguous",
    )
    no(
        "two-places-by-whitespace",
        sr("  bins = []\n  for size in sizes:\n", "  bins = [0]\n  for size in sizes:\n"),
        "ambiguous",
    )
    no(
        "two-places-nearly",
        sr("x = compute(alpha, beta, gamma, 0)\n", "x = 1\n", "a.py"),
        "ambiguous",
        files={"a.py": "x = compute(alpha, beta, gamma, 1)\ny = 2\nx = compute(alpha, beta, gamma, 2)\n"},
    )
    no("not-there", sr("def next_fit(sizes):\n    return []\n", "def next_fit(sizes):\n    return [1]\n"), "not-found")
    no(
        "too-different",
        sr(
            "def best_fit(items, capacity):\n    result = []\n    for item in items:\n        choice = None\n", "pass\n"
        ),
        "not-found",
    )
    no("short-and-nearly", sr("STEP = 0.250\n", "STEP = 1\n"), "not-found")
    no("one-of-two-fails", sr(old, new) + sr("nothing like it at all = 1\n", "x\n"), "not-found")
    no(
        "file-unclear",
        sr("same = 1\n", "same = 2\n").split("\n", 1)[1],
        "ambiguous",
        files={"a.py": "same = 1\n", "b.py": "same = 1\n"},
    )
    no("file-missing", sr("x = 1\n", "x = 2\n", "nowhere.py"), "missing", editable=["*.py"])
    no("protected", sr("x = 1\n", "x = 2\n", "evaluate.py"), "protected", editable=["pack.py"])
    no("protected-new", sr("", "print(1)\n", "conftest.py"), "protected", editable=["pack.py"])
    no("traversal", sr("root\n", "toor\n", "../../etc/passwd"), "path")
    no("traversal-inside", sr("", "x\n", "lib/../../x.py"), "path")
    no("absolute", sr("root\n", "toor\n", "/etc/passwd"), "path")
    no("home", sr("", "x\n", "~/.ssh/authorized_keys.pub"), "path")
    no("git-hook", sr("", "x\n", ".git/hooks/pre-commit"), "path")
    no("no-divider", f"pack.py\n<<<<<<< SEARCH\n{old}>>>>>>> REPLACE\n", "malformed")
    no("cut-in-replace", sr(old, new, fence=False).split(">>>>>>>")[0], "truncated")
    no(
        "cut-then-another",
        sr(old, new, fence=False).split(">>>>>>>")[0] + sr("LIMIT = 100\n", "LIMIT = 1\n", fence=False),
        "malformed",
    )
    no(
        "elided-replace",
        sr(old, new.splitlines(keepends=True)[0] + "        # ... rest of the loop unchanged ...\n"),
        "elided",
    )
    no("elided-rest-of-code", sr("LIMIT = 100\n", "LIMIT = 120\n# rest of the code remains the same\n"), "elided")
    no("same-old-and-new", sr(old, old), "no-op")
    no("empty-search-in-a-full-file", sr("", "x = 1\n"), "ambiguous")
    no("binary", sr("x\n", "y\n", "data.py"), "binary", files={"data.py": "x\u0000\n"})
    no("two-ways-to-split", sr("a\n=======\nb\n", "a\n", "t.md"), "ambiguous", files={"t.md": "a\n=======\nb\n"})


def unified() -> None:
    old, new = EDITS["block"]
    after = {"pack.py": edited(old, new)}
    two = {"pack.py": PACK, "lib/small.py": SMALL}
    one = hunk(
        old,
        new,
        "@@ -34,3 +34,3 @@",
        before="        # the tightest bin that still takes it\n",
        after="                best, least = number, free - size\n",
    )

    def ok(name: str, answer: str, tier: str = "exact", **rest: Any) -> None:
        rest.setdefault("expect", after)
        case(f"diff/{name}", answer, tier=tier, format="unified", **rest)

    ok("git-headers", diff(one))
    ok("no-git-headers", diff(one, git=False))
    ok("no-prefixes", f"--- pack.py\n+++ pack.py\n{one}")
    ok("timestamps", f"--- a/pack.py\t2024-01-01 00:00:00\n+++ b/pack.py\t2024-01-02 00:00:00\n{one}")
    ok("no-headers-at-all", f"```diff\n{one}```\n")
    ok("bare-at", diff(one.replace("@@ -34,3 +34,3 @@", "@@")))
    ok("two-bare-ats", diff(one.replace("@@ -34,3 +34,3 @@", "@@ @@")))
    ok("dots-at", diff(one.replace("@@ -34,3 +34,3 @@", "@@ ... @@")))
    ok("wrong-counts", diff(one.replace("-34,3 +34,3", "-1,99 +1,2")))
    ok("wrong-line-number", diff(one.replace("-34,3 +34,3", "-500,5 +500,5")))
    ok("counts-missing", diff(one.replace("-34,3 +34,3", "-34 +34")))
    ok("heading", diff(one.replace("+34,3 @@", "+34,3 @@ def best_fit(sizes):")))
    ok(
        "blank-context-without-space",
        diff(hunk("LIMIT = 100\n", "LIMIT = 120\n", before="import math\n\n").replace("\n \n", "\n\n")),
        expect={"pack.py": edited("LIMIT = 100", "LIMIT = 120")},
    )
    ok(
        "context-without-space",
        "```diff\n" + diff(one.replace(" " * 17 + "best, least", " " * 16 + "best, least")) + "```\n",
        "whitespace",
    )
    ok("prose-after", diff(one) + "\nThis makes the search for a bin cheaper.\n")
    ok("prose-before", "Here you go:\n\n" + diff(one))
    ok("crlf-answer", diff(one).replace("\n", "\r\n"))
    ok(
        "two-hunks",
        diff(hunk("LIMIT = 100\n", "LIMIT = 50\n", "@@ -5 +5 @@"), one),
        expect={"pack.py": edited("LIMIT = 100", "LIMIT = 50", edited(old, new))},
    )
    ok(
        "two-files",
        diff(one) + diff(hunk("    return x * 3\n", "    return 3 * x\n"), path="lib/small.py"),
        files=two,
        expect=after | {"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "new-file",
        "diff --git a/lib/new.py b/lib/new.py\nnew file mode 100644\n--- /dev/null\n+++ b/lib/new.py\n@@ -0,0 +1,2 @@\n+x = 1\n+y = 2\n",
        editable=["*.py", "lib/*"],
        expect={"lib/new.py": "x = 1\ny = 2\n"},
    )
    ok(
        "delete-file",
        "diff --git a/lib/small.py b/lib/small.py\ndeleted file mode 100644\n--- a/lib/small.py\n+++ /dev/null\n@@ -1,6 +0,0 @@\n"
        + "".join("-" + line for line in _lines(SMALL)),
        files=two,
        expect={"lib/small.py": None},
    )
    ok(
        "rename",
        "diff --git a/lib/small.py b/lib/tiny.py\nsimilarity index 90%\nrename from lib/small.py\nrename to lib/tiny.py\n--- a/lib/small.py\n+++ b/lib/tiny.py\n"
        + hunk("    return x * 3\n", "    return 3 * x\n"),
        files=two,
        editable=["*.py", "lib/*"],
        expect={"lib/small.py": None, "lib/tiny.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "no-newline-marker",
        "--- a/s.py\n+++ b/s.py\n@@ -6 +6 @@\n-    return x + 1\n\\ No newline at end of file\n+    return x + 2\n\\ No newline at end of file\n",
        files={"s.py": SMALL.rstrip("\n")},
        expect={"s.py": SMALL.rstrip("\n").replace("x + 1", "x + 2")},
    )
    ok(
        "no-final-newline",
        diff(hunk("    return x + 1\n", "    return x + 2\n"), path="s.py"),
        files={"s.py": SMALL.rstrip("\n")},
        expect={"s.py": SMALL.rstrip("\n").replace("x + 1", "x + 2")},
    )
    ok(
        "answer-without-final-newline",
        diff(hunk("    return x + 1\n", "    return x + 2\n"), path="s.py").rstrip("\n"),
        files={"s.py": SMALL},
        expect={"s.py": SMALL.replace("x + 1", "x + 2")},
    )
    ok(
        "wrong-first-context-line",
        diff(
            one.replace(" " * 9 + "# the tightest bin that still takes it", " " * 9 + "# look for the best bin of all")
        ),
        "fuzzy",
    )
    ok("wrong-last-context-line", diff(one.replace("best, least = number, free - size\n", "best = number\n")), "fuzzy")
    ok(
        "repeated-text-by-heading",
        diff(hunk("    bins = []\n", "    bins = list()\n", "@@ -30,3 +30,3 @@ def best_fit(sizes):")),
        expect={
            "pack.py": PACK[: PACK.index("def best_fit")]
            + PACK[PACK.index("def best_fit") :].replace("bins = []", "bins = list()")
        },
    )
    line = PACK[: PACK.index("    bins = []", PACK.index("def best_fit"))].count("\n") + 1
    ok(
        "repeated-text-by-line-number",
        diff(hunk("    bins = []\n", "    bins = list()\n", f"@@ -{line},1 +{line},1 @@")),
        expect={
            "pack.py": PACK[: PACK.index("def best_fit")]
            + PACK[PACK.index("def best_fit") :].replace("bins = []", "bins = list()")
        },
    )
    ok(
        "insertion-between-context",
        diff(hunk("", "SEED = 7\n", before="LIMIT = 100\n", after="STEP = 0.25\n")),
        expect={"pack.py": edited("LIMIT = 100\n", "LIMIT = 100\nSEED = 7\n")},
    )
    ok(
        "tabs-as-spaces",
        diff(hunk("    return a + b;\n", "    return b + a;\n"), path="k.c"),
        "whitespace",
        files={"k.c": KERNEL},
        expect={"k.c": KERNEL.replace("a + b;", "b + a;")},
    )

    def no(name: str, answer: str, reason: str, **rest: Any) -> None:
        case(f"diff/refused/{name}", answer, rejected=reason, **rest)

    no("two-places", diff(hunk("    bins = []\n", "    bins = list()\n", "@@ -500 +500 @@")), "ambiguous")
    no("insertion-nowhere", diff(hunk("", "SEED = 7\n", "@@ -5,0 +6,1 @@")), "ambiguous")
    no("not-there", diff(hunk("def next_fit(sizes):\n    return []\n", "pass\n")), "not-found")
    no("protected", diff(hunk("x\n", "y\n"), path="evaluate.py"), "protected", editable=["pack.py"])
    no("traversal", diff(hunk("x\n", "y\n"), path="../x.py"), "path")
    no("binary", "diff --git a/x.png b/x.png\nindex 1..2 100644\nBinary files a/x.png and b/x.png differ\n", "binary")
    no("only-context", "--- a/pack.py\n+++ b/pack.py\n@@ -1,2 +1,2 @@\n import math\n \n", "malformed")
    no("second-hunk-fails", diff(one, hunk("no such line anywhere here\n", "x\n")), "not-found")
    no("new-file-that-exists", "--- /dev/null\n+++ b/pack.py\n@@ -0,0 +1 @@\n+x = 1\n", "ambiguous")
    no("elided", diff(hunk("LIMIT = 100\n", "LIMIT = 120\n# ... existing code ...\n")), "elided")


def patches() -> None:
    old, new = EDITS["block"]
    after = {"pack.py": edited(old, new)}
    two = {"pack.py": PACK, "lib/small.py": SMALL}

    def ok(name: str, answer: str, tier: str = "exact", **rest: Any) -> None:
        rest.setdefault("expect", after)
        case(f"v4a/{name}", answer, tier=tier, format="v4a", **rest)

    ok("no-at", v4a(hunk(old, new).removeprefix("@@\n")))
    ok("in-a-fence", "```\n" + v4a(hunk(old, new)) + "```\n")
    ok("no-begin", "*** Update File: pack.py\n" + hunk(old, new))
    ok(
        "anchor",
        v4a(hunk("    bins = []\n", "    bins = list()\n", "@@ def best_fit(sizes):")),
        expect={
            "pack.py": PACK[: PACK.index("def best_fit")]
            + PACK[PACK.index("def best_fit") :].replace("bins = []", "bins = list()")
        },
    )
    show = '    def show(self):\n        print("bins", self.total)\n'
    ok(
        "nested-anchors",
        v4a(
            "@@ class Report:\n"
            + hunk('        print("bins", self.total)\n', "        print(self.total)\n", "@@     def show(self):")
        ),
        expect={"pack.py": edited(show, show.replace('"bins", ', ""))},
    )
    ok(
        "insert-under-anchor",
        v4a(hunk("", "        assert bins\n", "@@     def __init__(self, bins):")),
        expect={
            "pack.py": edited("    def __init__(self, bins):\n", "    def __init__(self, bins):\n        assert bins\n")
        },
    )
    ok(
        "add-file",
        "*** Begin Patch\n*** Add File: lib/new.py\n+x = 1\n+\n+y = 2\n*** End Patch\n",
        editable=["*.py", "lib/*"],
        expect={"lib/new.py": "x = 1\n\ny = 2\n"},
    )
    ok(
        "delete-file",
        "*** Begin Patch\n*** Delete File: lib/small.py\n*** End Patch\n",
        files=two,
        expect={"lib/small.py": None},
    )
    ok(
        "move",
        "*** Begin Patch\n*** Update File: lib/small.py\n*** Move to: lib/tiny.py\n"
        + hunk("    return x * 3\n", "    return 3 * x\n")
        + "*** End Patch\n",
        files=two,
        editable=["*.py", "lib/*"],
        expect={"lib/small.py": None, "lib/tiny.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "several",
        v4a(hunk(old, new)).replace("*** End Patch\n", "")
        + "*** Update File: lib/small.py\n"
        + hunk("    return x * 3\n", "    return 3 * x\n")
        + "*** End Patch\n",
        files=two,
        expect=after | {"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok("end-of-file", v4a(hunk("", "\nprint(1)\n") + "*** End of File\n"), expect={"pack.py": PACK + "\nprint(1)\n"})
    ok(
        "last-of-several-by-end-of-file",
        v4a(hunk("y = 1\n", "y = 2\n") + "*** End of File\n", path="a.py"),
        files={"a.py": "y = 1\nx = 0\ny = 1\n"},
        expect={"a.py": "y = 1\nx = 0\ny = 2\n"},
    )

    def no(name: str, answer: str, reason: str, **rest: Any) -> None:
        case(f"v4a/refused/{name}", answer, rejected=reason, **rest)

    no("no-end", v4a(hunk(old, new)).removesuffix("*** End Patch\n"), "truncated")
    no("two-places", v4a(hunk("    bins = []\n", "    bins = list()\n")), "ambiguous")
    no(
        "anchor-does-not-help",
        v4a(hunk("        return self.total\n", "        return 1\n", "@@ class Nothing:"))
        .replace("self.total", "sum(self.bins)")
        .replace("return sum(self.bins)", "return sum(self.bin)"),
        "not-found",
    )
    no("add-over-existing", "*** Begin Patch\n*** Add File: pack.py\n+x = 1\n*** End Patch\n", "malformed")
    no("delete-missing", "*** Begin Patch\n*** Delete File: gone.py\n*** End Patch\n", "missing", editable=["*.py"])
    no(
        "delete-protected",
        "*** Begin Patch\n*** Delete File: evaluate.py\n*** End Patch\n",
        "protected",
        editable=["pack.py"],
    )
    no("no-change-lines", v4a("@@\n import math\n"), "malformed")
    no(
        "move-outside",
        "*** Begin Patch\n*** Update File: pack.py\n*** Move to: ../pack.py\n" + hunk(old, new) + "*** End Patch\n",
        "path",
    )


def whole() -> None:
    old, new = EDITS["block"]
    text = edited(old, new)
    after = {"pack.py": text}
    two = {"pack.py": PACK, "lib/small.py": SMALL}

    def ok(name: str, answer: str, **rest: Any) -> None:
        rest.setdefault("expect", after)
        case(f"whole/{name}", answer, format="whole", **rest)

    ok("name-above", fenced(text))
    ok("no-name", "Here is the new version:\n\n" + fenced(text).split("\n", 1)[1])
    ok("no-language", fenced(text, language=""))
    ok("name-in-info", "```python pack.py\n" + text + "```\n")
    ok("name-by-colon", "```python:pack.py\n" + text + "```\n")
    ok("name-as-title", '```python title="pack.py"\n' + text + "```\n")
    ok("name-in-comment", "```python\n# pack.py\n" + text + "```\n")
    ok("name-in-sentence", "The full file, `pack.py`:\n" + fenced(text).split("\n", 1)[1])
    ok("tildes", "pack.py\n~~~~python\n" + text + "~~~~\n")
    ok("no-fence-only-code", text)
    ok("no-final-newline-in-block", "pack.py\n```python\n" + text.rstrip("\n") + "\n```")
    ok("command-beside", fenced(text) + "\nRun it with:\n\n```bash\npython pack.py\n```\n")
    ok("command-beside-no-name", fenced(text).split("\n", 1)[1] + "\n```bash\npython pack.py\n```\n")
    ok("crlf-answer", fenced(text).replace("\n", "\r\n"))
    ok(
        "crlf-file-kept",
        fenced(SMALL.replace("x * 3", "3 * x"), "s.py"),
        files={"s.py": SMALL.replace("\n", "\r\n")},
        expect={"s.py": SMALL.replace("x * 3", "3 * x").replace("\n", "\r\n")},
    )
    ok(
        "two-files",
        fenced(text) + "\n" + fenced(SMALL.replace("x * 3", "3 * x"), "lib/small.py"),
        files=two,
        expect=after | {"lib/small.py": SMALL.replace("x * 3", "3 * x")},
    )
    ok(
        "one-of-two-by-language",
        "```c\n" + KERNEL.replace("a + b", "b + a") + "```\n",
        files={"pack.py": PACK, "k.c": KERNEL},
        expect={"k.c": KERNEL.replace("a + b", "b + a")},
    )
    ok("new-file", fenced("x = 1\n", "lib/new.py"), editable=["*.py", "lib/*"], expect={"lib/new.py": "x = 1\n"})
    ok(
        "markdown-with-fences",
        "NOTES.md\n```markdown\n" + NOTES.replace("Then wait.", "Done.") + "```\n",
        files={"NOTES.md": NOTES},
        expect={"NOTES.md": NOTES.replace("Then wait.", "Done.")},
    )
    ok(
        "markdown-with-longer-fence",
        "NOTES.md\n````\n" + NOTES.replace("Then wait.", "Done.") + "````\n",
        files={"NOTES.md": NOTES},
        expect={"NOTES.md": NOTES.replace("Then wait.", "Done.")},
    )
    ok(
        "dots-that-were-there",
        fenced("# ... more below\nx = 2\n", "d.py"),
        files={"d.py": "# ... more below\nx = 1\n"},
        expect={"d.py": "# ... more below\nx = 2\n"},
    )
    ok(
        "ellipsis-body",
        fenced("class A:\n    ...\n\n\nx = 2\n", "d.py"),
        files={"d.py": "x = 1\n"},
        expect={"d.py": "class A:\n    ...\n\n\nx = 2\n"},
    )
    ok(
        "much-shorter-rewrite",
        "```python\n" + "def best_fit(sizes):\n    return sorted(sizes)\n\n\ndef tidy():\n    pass\n" + "```\n",
        expect={"pack.py": "def best_fit(sizes):\n    return sorted(sizes)\n\n\ndef tidy():\n    pass\n"},
    )

    def no(name: str, answer: str, reason: str, **rest: Any) -> None:
        case(f"whole/refused/{name}", answer, rejected=reason, **rest)

    no("prose-only", "The program is already as good as it gets; I would leave it.", "empty")
    no("nothing", "", "empty")
    no("only-a-command", "```bash\npython pack.py\n```\n", "empty")
    no("cut", fenced(text).removesuffix("```\n"), "truncated")
    no("elided", fenced(text[:200] + "\n# ... rest of the code unchanged ...\n"), "elided")
    no("elided-words", fenced("import math\n\n# (existing code)\n\ndef best_fit(sizes):\n    return []\n"), "elided")
    no("elided-c", "k.c\n```c\n#include <stdio.h>\n// rest of file unchanged\n```\n", "elided", files={"k.c": KERNEL})
    no(
        "part-of-the-file",
        "Replace it with:\n```python\ndef best_fit(sizes):\n    return sorted(sizes)\n```\n",
        "elided",
    )
    no("statement-only", "```python\nLIMIT = 120\n```\n", "elided")
    no("two-nameless", "```python\n" + text + "```\nor\n```python\n" + PACK + "```\n", "ambiguous")
    no("twice", fenced(text) + fenced(text.replace("100", "90")), "ambiguous")
    no("which-file", "```python\n" + text + "```\n", "ambiguous", files={"a.py": "x = 1\n", "b.py": "y = 1\n"})
    no("same", fenced(PACK), "no-op")
    no("protected", fenced("x = 1\n", "evaluate.py"), "protected", editable=["pack.py"])
    no("traversal", fenced("x = 1\n", "../pack.py"), "path")
    no("absolute", fenced("x = 1\n", "/usr/lib/x.py"), "path")


def tools() -> None:
    old, new = EDITS["block"]
    after = {"pack.py": edited(old, new)}

    def replace(o: str, n: str | None, path: str = "pack.py") -> dict[str, Any]:
        return {"command": "str_replace", "path": path, "old_str": o} | ({} if n is None else {"new_str": n})

    def ok(name: str, calls: list[dict[str, Any]], tier: str = "exact", **rest: Any) -> None:
        rest.setdefault("expect", after)
        case(f"tool/{name}", calls=calls, tier=tier, format="tool", **rest)

    ok("part-of-a-line", [replace("math.inf", "1e9")], expect={"pack.py": edited("math.inf", "1e9")})
    ok("no-new-str", [replace("STEP = 0.25\n", None)], expect={"pack.py": edited("STEP = 0.25\n", "")})
    ok("view-first", [{"command": "view", "path": "pack.py"}, replace(old, new)])
    ok(
        "two-calls",
        [replace(old, new), replace("LIMIT = 100", "LIMIT = 50")],
        expect={"pack.py": edited("LIMIT = 100", "LIMIT = 50", edited(old, new))},
    )
    ok(
        "insert-top",
        [{"command": "insert", "path": "pack.py", "insert_line": 0, "insert_text": "# new\n"}],
        expect={"pack.py": "# new\n" + PACK},
    )
    ok(
        "insert-middle",
        [{"command": "insert", "path": "pack.py", "insert_line": 5, "new_str": "SEED = 7"}],
        expect={"pack.py": edited("LIMIT = 100\n", "LIMIT = 100\nSEED = 7\n")},
    )
    ok(
        "create",
        [{"command": "create", "path": "lib/new.py", "file_text": "x = 1\n"}],
        editable=["*.py", "lib/*"],
        expect={"lib/new.py": "x = 1\n"},
    )
    ok("create-over", [{"command": "create", "path": "pack.py", "file_text": "x = 1\n"}], expect={"pack.py": "x = 1\n"})
    ok("absolute-in-the-repository", [replace(old, new, "/repo/pack.py")])
    ok(
        "crlf-file",
        [replace("def shift(x):\n    return x + 1", "def shift(x):\n    return x + 2", "s.py")],
        files={"s.py": SMALL.replace("\n", "\r\n")},
        expect={"s.py": SMALL.replace("x + 1", "x + 2").replace("\n", "\r\n")},
    )

    def no(name: str, calls: list[dict[str, Any]], reason: str, **rest: Any) -> None:
        case(f"tool/refused/{name}", calls=calls, rejected=reason, **rest)

    no("twice-there", [replace("bins = []", "bins = [0]")], "ambiguous")
    no("not-there", [replace("def next_fit(sizes):\n    return None", "x")], "not-found")
    no("second-fails", [replace(old, new), replace(old, new)], "not-found")
    no(
        "insert-beyond",
        [{"command": "insert", "path": "pack.py", "insert_line": 999, "insert_text": "x\n"}],
        "not-found",
    )
    no(
        "insert-negative",
        [{"command": "insert", "path": "pack.py", "insert_line": -1, "insert_text": "x\n"}],
        "malformed",
    )
    no("no-old", [{"command": "str_replace", "path": "pack.py", "new_str": "x"}], "malformed")
    no("empty-old", [replace("", "x")], "malformed")
    no("unknown-command", [{"command": "undo_edit", "path": "pack.py"}], "malformed")
    no("only-view", [{"command": "view", "path": "pack.py"}], "empty")
    no("outside", [replace("root", "toor", "/etc/passwd")], "path")
    no(
        "protected",
        [{"command": "create", "path": "conftest.py", "file_text": "x\n"}],
        "protected",
        editable=["pack.py"],
    )


def build() -> list[Case]:
    CASES.clear()
    for make in (matrix, search_replace, unified, patches, whole, tools):
        make()
    names = [one["name"] for one in CASES]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    return list(CASES)


def write(folder: Path = CORPUS) -> None:
    """One JSON Lines file a format."""
    groups: dict[str, list[Case]] = {}
    for one in build():
        groups.setdefault(one["name"].split("/")[0], []).append(one)
    for name, cases in groups.items():
        text = "".join(json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n" for one in cases)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    print(len(CASES), "cases")
