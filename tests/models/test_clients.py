"""Both clients against a server that speaks their wire formats, in good and bad weather."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from evolve.errors import AccessError
from evolve.models import Prompt, Turn, complete
from evolve.models.anthropic_api import Anthropic
from evolve.models.openai_api import OpenAICompatible
from evolve.models.wire import Lost, Patience, Price, retry_after
from tests.models.desk import FakeDesk
from tests.models.server import Bench, Fault, Said

for _sdk in ("anthropic", "openai"):
    pytest.importorskip(_sdk, reason=f"the {_sdk} SDK is not installed")

PROMPT = Prompt(("You improve programs.", "The task: go faster."), (Turn("user", "Here is the parent."),))
QUICK = Patience(first=0.02, cap=0.05, stall=0.4, connect=2.0)
PRICE = Price(input=3.0, output=15.0, cached=0.3, written=3.75)


def anthropic(bench: Bench, **options: Any) -> Anthropic:
    return Anthropic(
        "some-model", base_url=bench.url, key="k", **({"price": PRICE, "patience": QUICK, "most": 2000} | options)
    )


def openai(bench: Bench, **options: Any) -> OpenAICompatible:
    return OpenAICompatible(
        "some-model",
        base_url=bench.url + "/v1",
        key="k",
        **({"price": PRICE, "patience": QUICK, "most": 2000} | options),
    )


BOTH = pytest.mark.parametrize("make", [anthropic, openai], ids=["anthropic", "openai"])


@BOTH
def test_an_answer_arrives_whole_and_is_charged(make: Any) -> None:
    desk = FakeDesk()
    with Bench(lambda sent: Said("an answer " * 50, cached=3)) as bench:
        answer = asyncio.run(complete(make(bench), PROMPT, desk))
    assert answer.text == "an answer " * 50 and answer.outcome == "ok"
    _, money, tokens, reply = desk.calls[0]
    assert reply.tokens_cached == 3 and reply.tokens_out == 126 and reply.tokens_in > 3
    expected = ((reply.tokens_in - 3) * 3 + 3 * 0.3 + 126 * 15) / 1e6
    assert reply.money == pytest.approx(expected)
    assert money is not None and reply.money < money and reply.tokens_in + reply.tokens_out < tokens
    assert bench.sent[0].body["stream"] is True and "temperature" not in bench.sent[0].body


@BOTH
def test_an_unknown_price_is_unknown(make: Any) -> None:
    desk = FakeDesk()
    with Bench() as bench:
        asyncio.run(complete(make(bench, price=None), PROMPT, desk))
    assert desk.calls[0][1] is None and desk.calls[0][3].money is None


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"retry-after": "0"}),
        Fault(500),
        Fault(529),
        Fault(503),
        Fault(cut=3),
        Fault(hang=2),
        Fault(reset=True),
        Fault(408),
    ],
    ids=["429", "500", "529", "503", "cut", "hang", "reset", "408"],
)
def test_what_waiting_cures_is_waited_for(make: Any, fault: Fault) -> None:
    desk = FakeDesk()
    with Bench(lambda sent: "here " * 40, [fault, fault]) as bench:
        answer = asyncio.run(complete(make(bench), PROMPT, desk))
        assert answer.text == "here " * 40
        assert len(bench.sent) == 3


def test_a_cut_stream_is_paid_for() -> None:
    """The tokens of a stream that broke were spent: both attempts are on the bill."""
    desk = FakeDesk()
    with Bench(lambda sent: "here " * 40, [Fault(cut=3)]) as bench:
        asyncio.run(complete(anthropic(bench), PROMPT, desk))
    whole = FakeDesk()
    with Bench(lambda sent: "here " * 40) as bench:
        asyncio.run(complete(anthropic(bench), PROMPT, whole))
    twice, once = desk.calls[0][3], whole.calls[0][3]
    assert twice.tokens_in == 2 * once.tokens_in and (twice.money or 0) > (once.money or 0)


def test_a_hang_before_any_count_is_charged_its_reservation() -> None:
    desk = FakeDesk()
    with Bench(lambda sent: "x", [Fault(hang=0)]) as bench:
        asyncio.run(complete(anthropic(bench), PROMPT, desk))
    _, most, _, reply = desk.calls[0]
    assert most is not None and reply.money is not None and reply.money > most


def test_an_error_inside_a_stream_is_waited_for() -> None:
    with Bench(lambda sent: "fine", [Fault(error="overloaded_error")]) as bench:
        answer = asyncio.run(complete(anthropic(bench), PROMPT, FakeDesk()))
    assert answer.text == "fine" and len(bench.sent) == 2


@BOTH
def test_retry_after_is_kept(make: Any) -> None:
    with Bench(lambda sent: "x", [Fault(429, {"retry-after": "0.7"})]) as bench:
        began = time.monotonic()
        asyncio.run(complete(make(bench), PROMPT, FakeDesk()))
        assert 0.65 < time.monotonic() - began < 3


def test_retry_after_is_read_in_each_form() -> None:
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 55 < (retry_after({"retry-after": date}) or 0) <= 60
    assert retry_after({"retry-after": "soon"}) is None and retry_after({}) is None


@BOTH
def test_a_refused_key_stops_the_run(make: Any) -> None:
    with (
        Bench(faults=[Fault(401, message="invalid x-api-key")]) as bench,
        pytest.raises(AccessError, match=r"401.*Check the key"),
    ):
        asyncio.run(complete(make(bench), PROMPT, FakeDesk()))


@BOTH
def test_outcomes_are_values(make: Any) -> None:
    for fault, stop, outcome in (
        (Fault(400, message="prompt is too long: 300000 tokens"), "", "overflow"),
        (Fault(413), "", "overflow"),
        (Fault(400, message="messages: field required"), "", "rejected"),
        (Fault(), "refusal", "refusal"),
        (Fault(), "max_tokens", "truncated"),
    ):
        desk = FakeDesk()
        with Bench(lambda sent, stop=stop: Said("half an ans", stop=stop), [fault]) as bench:  # type: ignore[misc]
            answer = asyncio.run(complete(make(bench), PROMPT, desk))
        assert answer.outcome == outcome == desk.calls[0][3].outcome
        assert answer.why


def test_a_full_context_is_an_outcome() -> None:
    with Bench(lambda sent: Said("half", stop="model_context_window_exceeded")) as bench:
        assert asyncio.run(complete(anthropic(bench), PROMPT, FakeDesk())).outcome == "overflow"


@BOTH
def test_an_outage_is_waited_out_while_others_work(make: Any) -> None:
    """Nobody listens for a while; another task goes on; then the service is back on the same port."""

    async def outage() -> tuple[str, int]:
        bench = Bench(lambda sent: "back")
        turns = 0

        async def keyless() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        other = asyncio.create_task(keyless())
        bench._server.socket.close()
        address = bench._server.server_address
        asked = asyncio.create_task(complete(make(bench), PROMPT, FakeDesk()))
        await asyncio.sleep(0.5)
        assert not asked.done()
        again = Bench(lambda sent: "back")
        again._server.server_close()
        again._server = type(again._server)(address[:2], again._server.RequestHandlerClass)  # type: ignore[arg-type]
        with again:
            answer = await asyncio.wait_for(asked, 20)
        other.cancel()
        return answer.text, turns

    text, turns = asyncio.run(outage())
    assert text == "back" and turns > 20


def test_patience_grows_to_its_cap_and_may_end() -> None:
    patience = Patience(first=1, factor=2, cap=600)
    waits = [patience.pause(n, None) for n in range(1, 40)]
    assert 0.75 <= waits[0] <= 1.25 and all(w <= 750 for w in waits) and waits[-1] >= 450
    assert patience.pause(1, 33.0) == 33.0 and patience.pause(1, 1e9) == patience.longest_asked
    with Bench(faults=[Fault(500)] * 50) as bench, pytest.raises(Lost, match="500"):
        asyncio.run(complete(anthropic(bench, patience=Patience(first=0.02, cap=0.05, most=0.3)), PROMPT, FakeDesk()))


def test_cancelling_ends_a_wait_at_once() -> None:
    async def cancelled() -> float:
        with Bench(faults=[Fault(429, {"retry-after": "600"})]) as bench:
            task = asyncio.create_task(complete(anthropic(bench), PROMPT, FakeDesk()))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - began

    assert asyncio.run(cancelled()) < 0.2


def test_the_stable_prefix_is_marked_for_the_cache() -> None:
    with Bench() as bench:
        asyncio.run(complete(anthropic(bench, ttl="1h", effort="high", thinking="adaptive"), PROMPT, FakeDesk()))
    body = bench.sent[0].body
    assert [block["text"] for block in body["system"]] == list(PROMPT.stable)
    assert all(block["cache_control"] == {"type": "ephemeral", "ttl": "1h"} for block in body["system"])
    assert "cache_control" not in body["messages"][0]["content"][0]
    assert body["output_config"] == {"effort": "high"} and body["thinking"] == {"type": "adaptive"}


def test_tool_calls_come_back_and_go_out_again() -> None:
    edit = {"command": "str_replace", "path": "a.py", "old_str": "x", "new_str": "y"}

    async def talk(model: Any) -> None:
        prompt = Prompt(("s",), (Turn("user", "u"),), tool=True)
        answer = await complete(model, prompt, FakeDesk())
        assert answer.calls[0].input == edit and answer.text == "so" and answer.outcome == "ok"
        result = Turn("user", "more", results={answer.calls[0].id: "no match"})
        turns = (*prompt.turns, Turn("assistant", answer.text, answer.calls), result)
        await complete(model, Prompt(("s",), turns, tool=True), FakeDesk())

    for make, name in ((anthropic, "str_replace_based_edit_tool"), (openai, "edit")):
        with Bench(lambda sent, name=name: Said("so", [(name, edit)])) as bench:  # type: ignore[misc]
            asyncio.run(talk(make(bench)))
        assert bench.sent[0].tools == (name,)
        assert "no match" in bench.sent[1].text


@BOTH
def test_a_request_on_record_is_not_sent_again(make: Any) -> None:
    desk = FakeDesk()
    with Bench(lambda sent: f"answer {len(sent.text)}") as bench:
        first = asyncio.run(complete(make(bench), PROMPT, desk))
        again = asyncio.run(complete(make(bench), PROMPT, desk))
    assert first == again and len(bench.sent) == 1


@BOTH
def test_requests_are_canonical(make: Any) -> None:
    with Bench() as bench:
        assert make(bench).encode(PROMPT) == make(bench).encode(PROMPT)
        assert b'", ' not in make(bench).encode(Prompt((), (Turn("user", "x"),)))
