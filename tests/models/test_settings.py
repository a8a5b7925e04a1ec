"""The models file and the words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolve.errors import UsageError
from evolve.models.anthropic_api import Anthropic
from evolve.models.openai_api import OpenAICompatible
from evolve.models.settings import config_path, load, make, table
from evolve.models.wire import Price, Usage, price_of, reservation
from evolve.mutators.model import ModelMutator
from evolve.mutators.named import make as mutator

FILE = """
[cheap]
api = "openai"
id = "small"
base_url = "http://127.0.0.1:1/v1"
price = { input = 0.1, output = 0.4 }
extra = { seed = 7 }
[strong]
api = "anthropic"
id = "large"
key_env = "MY_KEY"
effort = "high"
batch = { window = 5 }
"""


def test_a_file_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.toml"
    path.write_text(FILE)
    monkeypatch.setenv("EVOLVE_MODELS", str(path))
    monkeypatch.setenv("MY_KEY", "secret")
    cheap, strong = load("cheap"), load("strong")
    assert isinstance(cheap, OpenAICompatible) and cheap.price == Price(0.1, 0.4) and cheap.extra == {"seed": 7}
    assert (
        isinstance(strong, Anthropic) and strong.key == "secret" and strong.batches.window == 5 and strong.id == "large"
    )
    both = mutator("model:cheap,strong")
    assert isinstance(both, ModelMutator) and list(both.models) == ["cheap", "strong"]
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UsageError, match="set MY_KEY"):
        load("strong")


def test_one_word_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVE_MODELS", "/nonexistent")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert isinstance(load("anthropic/some-model"), Anthropic)
    local = load("openai/org/some-model@http://127.0.0.1:8000/v1")
    assert (
        isinstance(local, OpenAICompatible)
        and local.id == "org/some-model"
        and local.base_url == "http://127.0.0.1:8000/v1"
    )
    monkeypatch.setenv("EVOLVE_MODEL", "anthropic/some-model")
    assert isinstance(mutator("model"), ModelMutator) and mutator("nothing") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nid = 'x'\n", "api is None"),
        ("[a]\napi = 'openai'\n", "needs id"),
        ("[a]\napi = 'openai'\nid = 'x'\nbase_ulr = 'y'\n", "did you mean 'base_url'"),
        ("a = 1\n", "must be a table"),
        ("[a\n", "cannot read"),
    ],
)
def test_a_bad_file_says_what(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        table(path)


def test_an_unknown_model_names_the_known() -> None:
    with pytest.raises(UsageError, match="models file: a, b"):
        load("c", {"a": {}, "b": {}})
    with pytest.raises(UsageError, match="price must be"):
        make("x", {"api": "openai", "id": "x", "base_url": "http://x", "price": {"inptu": 1}})
    assert config_path({"HOME": "/h"}) == Path("/h/.config/evolve/models.toml")


def test_money_is_counted_by_kind_of_token() -> None:
    price = Price(input=2.0, output=10.0, cached=0.2, written=2.5)
    assert price.of(Usage(1_000_000, 1_000_000, 1_000_000, 1_000_000)) == pytest.approx(14.7)
    assert Price(2.0, 10.0).of(Usage(0, 1_000_000, 1_000_000, 0)) == pytest.approx(4.0)
    money, tokens = reservation(b"x" * 1000, 100, price)
    assert money == pytest.approx((401 * 2.5 + 100 * 10) / 1e6) and tokens == 501


def test_price_data_is_optional_and_an_unknown_model_has_no_price() -> None:
    assert price_of("no-such-model-at-all", "anthropic") is None
    pytest.importorskip("genai_prices", reason="genai-prices is not installed")
    from genai_prices.data import providers

    anthropic = next(p for p in providers if p.id == "anthropic")
    prices = [price for model in anthropic.models if (price := price_of(model.id, "anthropic")) is not None]
    assert any(price.output > price.input > (price.cached or 0) > 0 for price in prices)
