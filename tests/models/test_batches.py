"""Batches: gathered, durable before they are waited for, polled again by a resume instead of paid twice."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from evolve.models import Prompt, Turn, complete
from evolve.models.anthropic_api import Anthropic
from evolve.models.batches import Batches
from evolve.models.wire import Patience, Price
from tests.models.desk import FakeDesk
from tests.models.server import Bench, Fault, Said, Sent

for _sdk in ("anthropic", "openai"):
    pytest.importorskip(_sdk, reason=f"the {_sdk} SDK is not installed")


def model(bench: Bench, **options: Any) -> Anthropic:
    quick = Patience(first=0.02, cap=0.05, stall=2.0)
    batches = Batches(**({"window": 0.2, "poll": 0.05} | options))
    return Anthropic(
        "some-model", base_url=bench.url, key="k", price=Price(3, 15), patience=quick, most=100, batches=batches
    )


def prompt(text: str) -> Prompt:
    return Prompt(("stable",), (Turn("user", text),))


def test_requests_share_a_batch_at_half_the_price() -> None:
    async def three(bench: Bench) -> tuple[list[str], FakeDesk]:
        one, desk = model(bench), FakeDesk()
        answers = await asyncio.gather(*(complete(one, prompt(f"number {n}"), desk) for n in range(3)))
        return [answer.text for answer in answers], desk

    with Bench(lambda sent: "about " + sent.text.split()[-1]) as bench:
        texts, desk = asyncio.run(three(bench))
    assert texts == ["about 0", "about 1", "about 2"]
    assert len(bench.batches) == 1 and len(next(iter(bench.batches.values()))) == 3
    reply = desk.calls[0][3]
    assert reply.money == pytest.approx((reply.tokens_in * 3 + reply.tokens_out * 15) / 1e6 / 2)


def test_a_full_batch_does_not_wait() -> None:
    async def two(bench: Bench) -> None:
        one = model(bench, window=60.0, most=2)
        await asyncio.wait_for(asyncio.gather(*(complete(one, prompt(str(n)), FakeDesk()) for n in range(2))), 10)

    with Bench() as bench:
        asyncio.run(two(bench))
    assert len(bench.batches) == 1


def test_a_resume_polls_the_batch_on_record() -> None:
    async def killed(bench: Bench, desk: FakeDesk) -> None:
        asked = asyncio.create_task(complete(model(bench), prompt("x"), desk))
        while not desk.kept_batches:
            await asyncio.sleep(0.01)
        asked.cancel()

    async def resumed(bench: Bench, desk: FakeDesk) -> str:
        return (await complete(model(bench), prompt("x"), desk)).text

    desk = FakeDesk()
    with Bench(lambda sent: "late") as bench:
        bench.batch_ready_after = 10**9
        asyncio.run(killed(bench, desk))
        bench.batch_ready_after = 0
        assert asyncio.run(resumed(bench, desk)) == "late"
    assert len(bench.batches) == 1


def test_a_failed_or_vanished_batch_is_sent_again() -> None:
    said: list[str] = ["errored", "end_turn"]

    def brain(sent: Sent) -> Said:
        return Said("fine", stop=said.pop(0))

    async def once(bench: Bench, desk: FakeDesk) -> str:
        return (await complete(model(bench), prompt("x"), desk)).text

    with Bench(brain, [Fault(529)]) as bench:
        assert asyncio.run(once(bench, FakeDesk())) == "fine"
        assert len(bench.batches) == 2
    gone = FakeDesk()
    gone.kept_batches = {}
    with Bench(lambda sent: "fine") as bench:
        one = model(bench)
        digest = hashlib.sha256(one.encode(prompt("x"))).hexdigest()
        gone.kept_batches = {digest: "msgbatch_gone"}
        assert asyncio.run(once(bench, gone)) == "fine"
        assert len(bench.batches) == 1
