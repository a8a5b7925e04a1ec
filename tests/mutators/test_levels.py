"""Tables of signs and classes: whole numbers that stand for themselves."""

from __future__ import annotations

import ast
import random

from evolve.mutators.numeric import levels
from evolve.mutators.syntactic import mutate

SIGNS = b"TABLE = [\n" + b"    [1, -1, 1, -1],\n" * 4 + b"]\n"
MANY = b"TABLE = [" + b", ".join(b"%d" % n for n in range(16)) + b"]\n"


def values(content: bytes) -> set[int]:
    tree = ast.parse(content)
    return {int(ast.literal_eval(e)) for n in ast.walk(tree) if isinstance(n, ast.List) for e in n.elts if not isinstance(e, ast.List)}


def moved(content: bytes, keep: bool) -> list[bytes]:
    made = (mutate({"program.py": content}, "improve", random.Random(n), 0.5, keep) for n in range(300))
    return [m.files["program.py"] for m in made if m.files and m.kind == "constant"]


def test_a_table_of_signs_is_kept_to_signs_nearly_always() -> None:
    inside = [values(content) <= {1, -1} for content in moved(SIGNS, True)]
    assert 0.85 < sum(inside) / len(inside) < 1, "now and then something else is tried"
    outside = [values(content) <= {1, -1} for content in moved(SIGNS, False)]
    assert sum(outside) / len(outside) < 0.5, "the switch turns it off"


def test_what_is_no_table_of_classes_moves_freely() -> None:
    assert levels([(1.0, "int"), (-1.0, "int")] * 6) == (-1, 1)
    assert levels([(1.0, "int"), (-1.0, "int")] * 3) == (), "too few to tell"
    assert levels([(1.0, "float"), (-1.0, "float")] * 6) == (), "real numbers"
    assert levels([(float(n), "int") for n in range(16)]) == (), "too many values"
    assert levels([(3.0, "int")] * 16) == (), "one value tells nothing of the others"
    assert any(not values(content) <= set(range(16)) for content in moved(MANY, True))
