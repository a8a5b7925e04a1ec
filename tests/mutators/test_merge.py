"""Children of two parents, and hunks of another lineage, on a real object store."""

from __future__ import annotations

from pathlib import Path

from evolve.mutators.syntactic import Syntactic
from evolve.mutators.testing import PROGRAM, Bench, answer, family
from evolve.population.brief import Brief, Inspiration

TABLE = b"T = [\n" + b"".join(b"    (%d.0, 1.0),\n" % i for i in range(12)) + b"]\n"


def cross(bench: Bench, one: str, two: str, seed: int = 1, operator: str = "crossover") -> Brief:
    return Brief(seed, "t", operator, (one, two), seed)


def test_changes_in_different_places_are_merged_as_git_merges(tmp_path: Path) -> None:
    bench, one, two = family(tmp_path / "s.git")
    proposal = answer(Syntactic(), cross(bench, one, two), bench)
    assert proposal.parents == (one, two) and proposal.operator == "syntactic/crossover"
    merged = proposal.files["shelf.py"] or b""
    assert b"WIDTH = 12.0" in merged and b"used -= 0.25" in merged and b"low <= high" in merged
    base = bench.merge_base(one, two)
    assert base is not None
    assert bench.merge(base, one, two) == {**bench.files(one), "shelf.py": merged}


def test_a_conflict_is_settled_hunk_by_hunk_by_lot(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "s.git")
    seed = bench.born({"t.py": TABLE}, fitness=1.0)
    one = bench.born({"t.py": TABLE.replace(b"1.0)", b"2.5)")}, (seed,), 1.0)
    two = bench.born({"t.py": TABLE.replace(b"1.0)", b"3.5)")}, (seed,), 1.0)
    assert bench.merge(seed, one, two) is None
    mixes = set()
    for number in range(20):
        proposal = answer(Syntactic(), cross(bench, one, two, number), bench)
        content = proposal.files["t.py"] or b""
        assert content.count(b"2.5)") + content.count(b"3.5)") == 12 and b"3.5)" in content and b"2.5)" in content
        assert proposal.parents == (one, two)
        mixes.add(content)
    assert len(mixes) > 15


def test_a_parent_that_descends_from_the_other_is_mixed_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "s.git")
    seed = bench.born({"t.py": TABLE}, fitness=1.0)
    child = bench.born({"t.py": TABLE.replace(b"1.0)", b"2.5)")}, (seed,), 1.0)
    content = answer(Syntactic(), cross(bench, seed, child), bench).files["t.py"]
    assert content not in (None, bench.files(seed)["t.py"], bench.files(child)["t.py"])


def test_parents_with_one_difference_have_no_child_of_their_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "s.git")
    seed = bench.born({"t.py": TABLE}, fitness=1.0)
    child = bench.born({"t.py": TABLE.replace(b"(3.0", b"(3.5")}, (seed,), 1.0)
    for operator in ("crossover", "transplant"):
        proposal = answer(Syntactic(), cross(bench, seed, child, operator=operator), bench)
        assert proposal.stillborn and not proposal.files


def test_a_merge_whose_parts_do_not_parse_together_is_stillborn(tmp_path: Path) -> None:
    """Each side is a program; what git merges is none, and no mix of hunks is one either."""
    bench = Bench(tmp_path / "s.git")
    base = b"a = 1\n\n\n\n\nb = 2\n"
    seed = bench.born({"t.py": base}, fitness=1.0)
    one = bench.born({"t.py": base.replace(b"a = 1", b"a = '''") + b"'''\n"}, (seed,), 1.0)
    two = bench.born({"t.py": base.replace(b"b = 2", b"b = '''2'''")}, (seed,), 1.0)
    for number in range(10):
        proposal = answer(Syntactic(), cross(bench, one, two, number), bench)
        assert proposal.stillborn and not proposal.files


def test_a_file_the_other_side_deleted_is_deleted(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "s.git")
    files = {"shelf.py": PROGRAM, "old.py": b"x = 1\n"}
    seed = bench.born(files, fitness=1.0)
    one = bench.born({**files, "shelf.py": PROGRAM.replace(b"10.0", b"11.0")}, (seed,), 1.0)
    two = bench.born({"shelf.py": PROGRAM.replace(b"used -= 0.5", b"used -= 0.7")}, (seed,), 1.0)
    proposal = answer(Syntactic(), cross(bench, one, two), bench)
    assert proposal.files["old.py"] is None and b"0.7" in (proposal.files["shelf.py"] or b"")


def test_a_transplant_takes_one_hunk_and_names_its_donor(tmp_path: Path) -> None:
    bench, one, two = family(tmp_path / "s.git")
    taken = set()
    for number in range(20):
        proposal = answer(Syntactic(), cross(bench, one, two, number, "transplant"), bench)
        assert proposal.parents == (one,) and proposal.operator == "syntactic/transplant"
        assert [i.candidate for i in proposal.inspirations] == [two] and two[:10] in proposal.idea
        content = proposal.files["shelf.py"] or b""
        assert content not in (bench.files(one)["shelf.py"], bench.files(two)["shelf.py"])
        taken.add(content)
    assert len(taken) == 3  # the three places where the two differ


def test_a_transplant_from_an_inspiration_is_not_named_twice(tmp_path: Path) -> None:
    bench, one, two = family(tmp_path / "s.git")
    brief = Brief(1, "t", "transplant", (one,), 1, inspirations=(Inspiration(two, "best of island i2"),))
    proposal = answer(Syntactic(), brief, bench)
    assert proposal.files and proposal.inspirations == ()
    alone = answer(Syntactic(), Brief(1, "t", "transplant", (one,), 1), bench)
    assert alone.stillborn
