from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest

from evolve.evaluators import channel
from evolve.evaluators.channel import Refused, Tensor, pack, tensors
from evolve.evaluators.testing import ChannelContract


class TestBytes(ChannelContract):
    pass


EXPECTED = {"x": Tensor("float32", (2, 2)), "n": Tensor("int64", (3,))}


def message(x: bytes, n: bytes, names: tuple[str, str] = ("x", "n")) -> tuple[dict[str, object], bytes]:
    return {"tensors": [[names[0], "float32", [2, 2]], [names[1], "int64", [3]]]}, x + n


def test_tensors_come_back_as_asked() -> None:
    x, n = np.eye(2, dtype="float32"), np.arange(3)
    got = tensors(*message(x.tobytes(), n.tobytes()), EXPECTED)
    assert np.array_equal(got["x"], x) and np.array_equal(got["n"], n)


@pytest.mark.parametrize(
    ("header", "body", "why"),
    [
        ({"tensors": [["x", "float32", [2, 2]]]}, bytes(16), "expected tensors"),
        ({"tensors": [["x", "float64", [2, 2]], ["n", "int64", [3]]]}, bytes(56), "must be float32"),
        ({"tensors": [["x", "float32", [4]], ["n", "int64", [3]]]}, bytes(40), "must be float32"),
        ({"tensors": [["x", "float32", [2, 2]], ["n", "int64", [3]]]}, bytes(39), "cut off"),
        ({"tensors": [["x", "float32", [2, 2]], ["n", "int64", [3]]]}, bytes(41), "too many"),
        ({"tensors": [["x", "float32", [2, 2]], ["x", "float32", [2, 2]]]}, bytes(32), "expected tensors"),
        ({"tensors": [["x", "float32", [2, 2]], ["n", "int64", [3]]], "score": 1}, bytes(40), "header"),
        ({"tensors": [["x", "float32", [2, 2]], ["n", "int64", [3]]]}, struct.pack("f", float("nan")) + bytes(36), "NaN"),
    ],
)
def test_other_tensors_are_refused(header: dict[str, object], body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        tensors(header, body, EXPECTED)


def test_nan_passes_where_it_may() -> None:
    header, body = {"tensors": [["x", "float32", [1]]]}, struct.pack("f", float("nan"))
    assert np.isnan(tensors(header, body, {"x": Tensor("float32", (1,), any_value=True)})["x"][0])
    assert pack(header, body)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b",".join([b"[]"] * 200_000) + b"]", b"[" + b",".join([b"[" * 31 + b"]" * 31] * 8_000) + b"]",
        b"[" + b",".join([b'{"a":1}'] * 80_000) + b"]", b"[" + b",".join([b"9" * 400] * 2_000) + b"]",
    ],
    ids=["lists", "nested", "objects", "digits"],
)  # fmt: skip
def test_a_hostile_frame_costs_the_referee_little(text: bytes) -> None:
    """What is looked at for each value costs a few times what the parser itself does (it was up to 30 times)."""

    def seconds(work: Callable[[bytes], object]) -> float:
        began = time.process_time()
        work(text)
        return time.process_time() - began

    parse, checked = (min(seconds(work) for _ in range(3)) for work in (json.loads, channel.strict_json))
    assert checked < 8 * parse + 0.02, (checked, parse)


def test_very_many_parts_are_refused_before_they_are_made() -> None:
    """What the hacker loop found: a frame of 4 MiB, as nested as is allowed, took the referee seconds after the end."""
    text = b"[" + b",".join([b"[" * 29 + b"]" * 29] * 60_000) + b"]"
    began = time.process_time()
    with pytest.raises(Refused, match="lists and objects"):
        channel.strict_json(text)
    assert time.process_time() - began < 1.0
