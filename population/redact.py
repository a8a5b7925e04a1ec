"""Keys are taken out of what is recorded before it is written: nothing written is ever removed.

Patterns are the published shapes of the services' keys; a key without a known shape cannot be recognised, which is why
only the broker ever holds one (docs/design.md, 'Judging, and whom we trust').
"""

from __future__ import annotations

import re
from typing import Any

_START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[bfnrt]))"
"""Not inside a word; an escaped line end of JSON in the text is none."""

_RULES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # (what it is, lower-case literals of which every match holds one, the pattern; its group "keep" stays)
    ("Anthropic key", ("sk-ant-",), r"sk-ant-[A-Za-z0-9_-]{16,}"),
    ("OpenRouter key", ("sk-or-",), r"sk-or-[A-Za-z0-9_-]{16,}"),
    ("OpenAI key", ("sk-",), _START + r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}"),
    ("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _START + r"gh[pousr]_[A-Za-z0-9]{30,}"),
    ("GitHub token", ("github_pat_",), _START + r"github_pat_[A-Za-z0-9_]{20,}"),
    ("GitLab token", ("glpat-",), _START + r"glpat-[A-Za-z0-9_-]{20,}"),
    (
        "AWS access key",
        ("akia", "asia", "abia", "acca"),
        _START + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])",
    ),
    (
        "AWS secret key",
        ("awssecret", "aws_secret"),
        r"(?P<keep>(?i:aws_?secret_?(?:access_?)?key)[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9/+]{40}",
    ),
    ("Hugging Face token", ("hf_",), _START + r"hf_[A-Za-z0-9]{30,}"),
    ("Hugging Face token", ("api_org_",), _START + r"api_org_[A-Za-z0-9]{30,}"),
    ("Google key", ("aiza",), _START + r"AIza[A-Za-z0-9_-]{35}"),
    ("Google token", ("ya29.",), _START + r"ya29\.[A-Za-z0-9_-]{20,}"),
    ("Google secret", ("gocspx-",), _START + r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("xAI key", ("xai-",), _START + r"xai-[A-Za-z0-9]{40,}"),
    ("Groq key", ("gsk_",), _START + r"gsk_[A-Za-z0-9]{40,}"),
    ("Replicate token", ("r8_",), _START + r"r8_[A-Za-z0-9]{30,}"),
    ("Slack token", ("xox",), _START + r"xox[abeprs]-[A-Za-z0-9-]{10,}"),
    ("Stripe key", ("k_live_",), _START + r"[sr]k_live_[A-Za-z0-9]{16,}"),
    ("PyPI token", ("pypi-",), _START + r"pypi-[A-Za-z0-9_-]{50,}"),
    ("npm token", ("npm_",), _START + r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    ("Weights & Biases key", ("wandb_api_key",), r"(?P<keep>WANDB_API_KEY[\"']?\s*[:=]\s*[\"']?)[0-9a-f]{40}"),
    ("JSON web token", ("eyj",), _START + r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("bearer token", ("bearer",), r"(?P<keep>(?i:bearer)\s+)[A-Za-z0-9._~+/=-]{16,}"),
    (
        "API key header",
        ("api-key",),
        r"(?P<keep>(?i:x-api-key|x-goog-api-key|api-key)[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9._~+/=-]{16,}",
    ),
    (
        "basic credentials",
        ("authorization",),
        r"(?P<keep>(?i:authorization)[\"']?\s*[:=]\s*[\"']?(?i:basic)\s+)[A-Za-z0-9+/=]{8,}",
    ),
    ("password in a URL", ("://",), r"(?P<keep>[a-z]://[^\s/:@\"']{0,256}:)[^\s/@\"']{3,256}(?=@)"),
    (
        "private key",
        ("private key",),
        r"-----BEGIN (?P<kind>[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?)-----(?:(?!-----)[A-Za-z0-9+/=\s\\:,.-])*"
        r"(?:-----END (?P=kind)-----)?",
    ),
)

_COMPILED = tuple((what, literals, re.compile(pattern)) for what, literals, pattern in _RULES)


def suspect(text: str) -> bool:
    """Whether `text` may hold a key: a quick look that never says no to one."""
    lower = text.lower()
    return any(literal in lower for _, literals, _ in _COMPILED for literal in literals)


def redact(text: str) -> str:
    """`text` with every known key replaced by `[redacted: <what>]`. Linear in the text; cheap where there is no key."""
    lower = text.lower()
    for what, literals, pattern in _COMPILED:
        if any(literal in lower for literal in literals):
            text = pattern.sub(lambda match, what=what: _mark(match, what), text)  # type: ignore[misc]
    return text


def redact_json(value: Any) -> Any:
    """Plain JSON with every string in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): redact_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_json(item) for item in value]
    return value


def _mark(match: re.Match[str], what: str) -> str:
    kept = match.groupdict().get("keep") or ""
    return f"{kept}[redacted: {what}]"
