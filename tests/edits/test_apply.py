"""What a model is told, and that nothing an answer holds can do more than be refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.edits import Applied, Rejected, apply
from tests.edits.generate import PACK, SMALL, diff, fenced, hunk, sr, v4a

EXPECTED = """The edit: the text to replace is not in pack.py (it begins 'def best_fit(items):').
The nearest lines are 31-33 (88% alike):
~~~
def best_fit(sizes):
    bins = []
    for size in sizes:
~~~
First line of yours that is not there: 'def best_fit(items):'.
Copy the lines to replace from the file, character by character, and send the whole answer again."""


def test_what_did_not_match_is_said_with_the_nearest_lines() -> None:
    got = apply(
        sr("def best_fit(items):\n    bins = []\n    for item in items:\n", "pass\n"), {"pack.py": PACK.encode()}
    )
    assert isinstance(got, Rejected)
    assert got.for_model == EXPECTED


def test_where_it_matched_too_often_is_said_by_line() -> None:
    got = apply(sr("    bins = []\n", "    bins = {}\n"), {"pack.py": PACK.encode()})
    assert isinstance(got, Rejected) and got.reason == "ambiguous"
    assert "lines 20, 32" in got.for_model and "until it is unique" in got.for_model


def test_bytes_outside_the_edit_stay() -> None:
    """Mixed line ends, odd bytes and form feeds are not the edit's business."""
    before = b"a = 1\r\nb = 2\n\x0cc = '\xff'\r\nd = 4\r\n"
    got = apply(sr("d = 4\n", "d = 5\n", "x.py"), {"x.py": before})
    assert isinstance(got, Applied) and got.files == {"x.py": before.replace(b"d = 4", b"d = 5")}


def test_a_long_file_takes_no_long_time() -> None:
    import time

    text = "".join(f"value_{i} = compute({i}, alpha, beta)\n" for i in range(20_000))
    began = time.process_time()
    got = apply(
        sr("value_77 = compute(77, alpha, gamma)\nvalue_79 = compute(79)\n", "x\n", "x.py"), {"x.py": text.encode()}
    )
    assert isinstance(got, Rejected) and time.process_time() - began < 20


PIECES = st.sampled_from(
    [
        "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "```python\n", "```\n", "@@\n", "@@ -1,2 +1,2 @@\n", "--- a/pack.py\n",
        "+++ b/pack.py\n", "*** Begin Patch\n", "*** Update File: pack.py\n", "*** End Patch\n", "*** Add File: x.py\n", "pack.py\n",
        "../x\n", "-LIMIT = 100\n", "+LIMIT = 1\n", " STEP = 0.25\n", "LIMIT = 100\n", "    bins = []\n", "\n", "diff --git a/x b/../y\n",
        "rename to ../../z\n", "deleted file mode 100644\n", "*** Move to: /etc/z\n", "*** Delete File: pack.py\n", "*** End of File\n",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=30)), max_size=25))
def test_any_answer_is_applied_or_refused_and_stays_inside(parts: list[str]) -> None:
    got = apply("".join(parts), {"pack.py": PACK.encode(), "lib/small.py": SMALL.encode()})
    if isinstance(got, Applied):
        assert got.files
        for path in got.files:
            assert not path.startswith(("/", "~")) and ".." not in path.split("/") and ".git" not in path.split("/")
    else:
        assert got.reason and got.for_model


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["a = 1", "b = 2", "    c = 3", "", "def f():", "    return 4"]), min_size=1, max_size=12),
    st.data(),
)
def test_a_rewrite_by_any_format_gives_that_text(lines: list[str], data: st.DataObject) -> None:
    """Whatever two texts: a whole-text edit in each format turns one into the other, or is refused; never anything else."""
    old = "\n".join(lines) + "\n"
    new = "\n".join(data.draw(st.permutations(lines))) + "\nz = 9\n"
    for answer in (
        sr(old, new, "s.py"),
        diff(hunk(old, new), path="s.py"),
        v4a(hunk(old, new), path="s.py"),
        fenced(new, "s.py"),
    ):
        got = apply(answer, {"s.py": old.encode()})
        if isinstance(got, Applied):
            assert got.files == {"s.py": new.encode()}
