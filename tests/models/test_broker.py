"""The broker: an agent's token opens it, the key never leaves it, and its limits hold."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from evolve.errors import AccessError
from evolve.models import Prompt, Turn, complete
from evolve.models.anthropic_api import Anthropic
from evolve.models.broker import Broker, Upstream, used
from evolve.models.ceiling import LEAST, Bounded, bounded
from evolve.models.openai_api import OpenAICompatible
from evolve.models.wire import Patience, Price, Usage
from tests.models.desk import FakeDesk
from tests.models.server import Bench, Fault, Said

for _sdk in ("anthropic", "openai"):
    pytest.importorskip(_sdk, reason=f"the {_sdk} SDK is not installed")

PRICE = Price(1000.0, 5000.0)
QUICK = Patience(first=0.02, cap=0.05, most=1.0, stall=5.0)


async def ask(api: str, url: str, token: str, text: str = "hello") -> Any:
    prompt = Prompt(("stable",), (Turn("user", text),))
    if api == "anthropic":
        return await complete(Anthropic("m", base_url=url, key=token, patience=QUICK), prompt, FakeDesk())
    return await complete(OpenAICompatible("m", base_url=url + "/v1", key=token, patience=QUICK), prompt, FakeDesk())


@pytest.mark.parametrize("api", ["anthropic", "openai"])
def test_the_key_goes_in_and_the_token_stays_out(api: str) -> None:
    async def through(bench: Bench) -> tuple[str, Usage, float | None]:
        async with Broker(Upstream(api, bench.url, "real-key", PRICE)) as broker:
            granted = broker.grant(60)
            answer = await ask(api, broker.url, granted.token)
            return answer.text, granted.used, granted.spent(PRICE)

    with Bench(lambda _: Said("an answer " * 30)) as bench:
        text, usage, spent = asyncio.run(through(bench))
    headers = {name.lower(): value for name, value in bench.sent[0].headers.items()}
    assert text == "an answer " * 30
    assert headers.get("x-api-key", headers.get("authorization")) in ("real-key", "Bearer real-key")
    assert "evolve-" not in str(headers)
    assert usage.out == 76 and usage.fresh > 0 and spent == PRICE.of(usage)


def test_limits_and_leases_hold() -> None:
    async def spend(bench: Bench) -> None:
        async with Broker(Upstream("anthropic", bench.url, "real-key", PRICE)) as broker:
            poor, short, other = broker.grant(60, money=0.001), broker.grant(60, tokens=1), broker.grant(60)
            for granted in (poor, short):
                with pytest.raises(AccessError, match="402"):
                    await ask("anthropic", broker.url, granted.token)
                assert "not enough for this request" in granted.refused and granted.requests == 0
            some = broker.grant(60, money=20.0)  # cut to what is left, then too little of it
            with pytest.raises(AccessError, match="402"):
                for _ in range(99):
                    await ask("anthropic", broker.url, some.token)
            assert some.requests >= 2 and 10 < (some.spent(PRICE) or 0.0) <= 20
            with pytest.raises(AccessError, match="401"):
                await ask("anthropic", broker.url, "evolve-guessed")
            broker.revoke(other)
            with pytest.raises(AccessError, match="401"):
                await ask("anthropic", broker.url, other.token)
            with pytest.raises(AccessError, match="401"):
                await ask("anthropic", broker.url, broker.grant(-1).token)
            with pytest.raises(AccessError, match="401"):
                await ask("anthropic", broker.url, "real-key")

    with Bench(lambda _: "word " * 100) as bench:
        asyncio.run(spend(bench))
    asked = [sent.body["max_tokens"] for sent in bench.sent]
    assert len(asked) >= 2 and asked == sorted(asked, reverse=True) and asked[-1] < asked[0] <= 20 / PRICE.output * 1e6


@pytest.mark.parametrize(
    ("api", "target", "document", "field"),
    [
        ("anthropic", "/v1/messages", {"max_tokens": 9000}, "max_tokens"),
        ("openai", "/v1/chat/completions", {"max_tokens": 9000}, "max_tokens"),
        ("openai", "/v1/chat/completions", {}, "max_completion_tokens"),
        ("openai", "/v1/responses", {"stream": True}, "max_output_tokens"),
        ("gemini", "/v1beta/models/m:generateContent", {"generationConfig": {"temperature": 1}}, "maxOutputTokens"),
        ("gemini", "/v1beta/models/m:generateContent", {}, "maxOutputTokens"),
    ],
)
def test_an_answer_is_bounded_in_the_field_that_the_service_reads(
    api: str, target: str, document: dict[str, Any], field: str
) -> None:
    """Kills: a limit that holds only for programs that state how long an answer may be."""
    body = json.dumps(document).encode()
    price = Price(1.0, 5.0)
    found = bounded(api, target, body, price, 0.03, None)
    assert isinstance(found, Bounded) and found.money is not None and found.money <= 0.03
    sent = json.loads(found.body)
    most = (sent["generationConfig"] if api == "gemini" else sent)[field]
    assert LEAST <= most < 9000
    by_tokens = bounded(api, target, body, None, None, 2000)
    assert isinstance(by_tokens, Bounded) and by_tokens.tokens <= 2000
    assert isinstance(bounded(api, target, body, price, 1e-6, None), str)
    packed = bounded(api, target, b"\x1f\x8b packed", price, 0.03, None)
    assert isinstance(packed, str) and "JSON" in packed, "what cannot be bounded is refused"
    counted = bounded(api, "/v1/messages/count_tokens", body, price, 0.03, None)
    assert isinstance(counted, Bounded) and counted.body == body, "no answer of a model is asked for"
    untouched = bounded(api, target, body, price, None, None)
    assert isinstance(untouched, Bounded) and untouched.body == body


def test_faults_of_the_service_come_through() -> None:
    async def through(bench: Bench) -> str:
        async with Broker(Upstream("anthropic", bench.url, "k")) as broker:
            return str((await ask("anthropic", broker.url, broker.grant(60).token)).text)

    with Bench(lambda _: "fine", [Fault(529), Fault(cut=2), Fault(429, {"retry-after": "0"})]) as bench:
        assert asyncio.run(through(bench)) == "fine"
    assert len(bench.sent) == 4


def test_what_is_no_request_is_answered_or_dropped() -> None:
    async def noise() -> list[bytes]:
        answers = []
        async with Broker(Upstream("openai", "http://127.0.0.1:1", "k")) as broker:
            port = int(broker.url.rsplit(":", 1)[1])
            for raw in (b"hello\r\n\r\n", b"GET /v1/models HTTP/1.1\r\n\r\n", b"\x00" * 200_000):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(raw)
                    writer.write_eof()
                    answers.append(await asyncio.wait_for(reader.read(), 5))
                except ConnectionError:
                    answers.append(b"")
                writer.close()
            with pytest.raises(Exception, match=r"502|cannot be reached"):
                await ask("openai", broker.url, broker.grant(60).token)
        return answers

    bad, denied, dropped = asyncio.run(noise())
    assert b" 400 " in bad and b" 401 " in denied and not dropped


def test_counts_are_read_from_streams_and_bodies() -> None:
    stream = b'data: {"usage":{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}}\n\ndata: {"usage":{"output_tokens":25}}\n'
    assert used(stream) == Usage(10, 4, 0, 25)
    assert used(b'{"usage": {"prompt_tokens": 3, "completion_tokens": 2}}') == Usage(3, 0, 0, 2)
    assert used(b'{"error": "no"}') is None


def test_an_answer_that_was_lost_stays_charged_to_the_lease() -> None:
    """Kills: a lease that forgets what a request may have cost once its answer was lost."""

    async def through(bench: Bench) -> tuple[int, float]:
        async with Broker(Upstream("anthropic", bench.url, "k", PRICE)) as broker:
            granted = broker.grant(60, money=1000.0)
            await ask("anthropic", broker.url, granted.token)
            return granted.unknown, sum(each.money or 0.0 for each in granted.held.values())

    with Bench(lambda _: "fine", [Fault(cut=0)]) as bench:
        unknown, held = asyncio.run(through(bench))
    assert unknown >= 1 and held > 0
