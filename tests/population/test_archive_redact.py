"""Keys of known shape never reach the record; ordinary text does, unchanged."""

from __future__ import annotations

import random
import string
import time

import pytest

from evolve.population.redact import redact, redact_json, suspect

LETTERS = string.ascii_letters + string.digits


def made(prefix: str, length: int, alphabet: str = LETTERS) -> str:
    """A key of the right shape and no other meaning."""
    return prefix + "".join(random.Random(prefix).choices(alphabet, k=length))


KEYS = {
    "Anthropic key": made("sk-ant-api03-", 95),
    "OpenRouter key": made("sk-or-v1-", 64),
    "OpenAI key": made("sk-proj-", 120),
    "GitHub token": made("ghp_", 36),
    "GitLab token": made("glpat-", 20),
    "AWS access key": made("AKIA", 16, string.ascii_uppercase + "234567"),
    "Hugging Face token": made("hf_", 34),
    "Google key": made("AIza", 35),
    "Google token": made("ya29.", 60),
    "Slack token": made("xoxb-", 40),
    "npm token": made("npm_", 36),
    "PyPI token": made("pypi-", 90),
    "xAI key": made("xai-", 80),
    "Groq key": made("gsk_", 52),
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
}


@pytest.mark.parametrize("what", KEYS)
@pytest.mark.parametrize(
    "around", ["{}", "key={}\n", '{{"k": "{}"}}', "export K='{}';", "a\n{}\nb", "(see {}, please)", "\\n{}\\n"]
)
def test_a_key_is_taken_out_wherever_it_stands(what: str, around: str) -> None:
    key = KEYS[what]
    text = around.format(key)
    clean = redact(text)
    assert key not in clean and key[10:30] not in clean
    assert f"[redacted: {what}]" in clean
    assert suspect(text)
    assert clean.startswith(around.split("{}")[0].replace("{{", "{"))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer [redacted: bearer token]"),
        ("authorization: bearer abcdefghijklmnop1234", "authorization: bearer [redacted: bearer token]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted: basic credentials]"),
        ("-H 'x-api-key: 0123456789abcdef0123'", "-H 'x-api-key: [redacted: API key header]'"),
        ("https://user:hunter22@example.com/x", "https://user:[redacted: password in a URL]@example.com/x"),
        ("aws_secret_access_key = " + "a" * 40, "aws_secret_access_key = [redacted: AWS secret key]"),
        ("AWS_SECRET_ACCESS_KEY='" + "a/" * 20 + "'", "AWS_SECRET_ACCESS_KEY='[redacted: AWS secret key]'"),
        ("WANDB_API_KEY=" + "0a" * 20, "WANDB_API_KEY=[redacted: Weights & Biases key]"),
    ],
)
def test_what_names_a_secret_stays_and_the_secret_goes(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize("kind", ["", "RSA ", "OPENSSH ", "EC ", "PGP "])
def test_private_key_blocks_go_also_when_cut_short(kind: str) -> None:
    block = "BLOCK" if kind == "PGP " else ""
    begin, end = (f"-----{w} {kind}PRIVATE KEY{' ' + block if block else ''}-----" for w in ("BEGIN", "END"))
    body = "\n".join(made("", 64) for _ in range(20))
    assert redact(f"before\n{begin}\n{body}\n{end}\nafter") == "before\n[redacted: private key]\nafter"
    assert redact(f"before\n{begin}\n{body}") == "before\n[redacted: private key]"
    assert redact(f"{begin}\n{body}\n(the rest is lost)") == "[redacted: private key](the rest is lost)"


def test_public_keys_and_ordinary_text_stay() -> None:
    for text in (
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "sk-learn is not task-oriented-programming-with-long-names",
        "desk-" + "x" * 40,
        "the bearer of this letter",
        "https://example.com:8080/path@x",
        "hf_hub and AIza",
        "ghp_short",
        "risk-" + "averse" * 6,
    ):
        assert redact(text) == text


def test_json_is_redacted_leaf_by_leaf() -> None:
    key = KEYS["Anthropic key"]
    assert redact_json({"a": [key, 1, None], key: {"b": f"x {key}"}}) == {
        "a": ["[redacted: Anthropic key]", 1, None],
        "[redacted: Anthropic key]": {"b": "x [redacted: Anthropic key]"},
    }


@pytest.mark.parametrize(
    "unit", ["sk-", "eyJ" + "a" * 20 + ".", "-----BEGIN PRIVATE KEY-----\n", "a://b:", "bearer ", "x-api-key: ", "A"]
)
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    """What a candidate prints goes through here."""
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 2.0
