"""How each coding agent is started without a person: its command, its environment, where its model's service goes.

`tested` names the version whose real command line, from its package index, drove a loopback model to an accepted edit
in a real run (benchmarks/agents/real.py; its row is in benchmarks/agents/results.jsonl); empty: untested. No real service
was reached from the test bench.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Start:
    """What a profile is told. url, token: of the broker, empty where the agent uses its own login. money: dollars.

    home: a folder of its own, which is its HOME where it has no login to keep. editable: the files that may change.
    """

    prompt: str
    work: Path
    home: Path
    editable: tuple[str, ...] = ()
    model: str = ""
    url: str = ""
    token: str = ""
    money: float | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """argv and environment of a run; files: path below HOME -> text to be there first. stdin: what it is fed."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """api: of the service it speaks to ("anthropic", "openai", "gemini"). key_env, url_env: variables in which the user
    has the key and base URL for it. tested: see the module."""

    name: str
    program: str
    api: str
    launch: Callable[[Start], Launch]
    key_env: str
    url_env: str
    default_url: str
    package: str
    tested: str = ""


def _claude(start: Start) -> Launch:
    argv = ["claude", "-p", "--output-format", "json", "--permission-mode", "acceptEdits", "--no-session-persistence"]
    argv += ["--disallowedTools", "WebFetch", "WebSearch"]
    environment = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    if start.url:
        argv.insert(2, "--bare")
        environment |= {"ANTHROPIC_BASE_URL": start.url, "ANTHROPIC_API_KEY": start.token}
    if start.money is not None:
        argv += ["--max-budget-usd", f"{start.money:g}"]
    if start.model:
        argv += ["--model", start.model]
    return Launch(tuple(argv), environment, stdin=start.prompt)


def _codex(start: Start) -> Launch:
    argv = ["codex", "exec", "--json", "--sandbox", "workspace-write", "--skip-git-repo-check", "--ephemeral"]
    environment = {}
    if start.url:
        argv += ["--ignore-user-config", "-c", "model_provider=evolve"]
        provider = {"name": "evolve", "base_url": f"{start.url}/v1", "env_key": "EVOLVE_TOKEN", "wire_api": "responses"}
        for key, value in provider.items():
            argv += ["-c", f"model_providers.evolve.{key}={json.dumps(value)}"]
        environment["EVOLVE_TOKEN"] = start.token
    if start.model:
        argv += ["--model", start.model]
    return Launch((*argv, "-"), environment, stdin=start.prompt)


def _opencode(start: Start) -> Launch:
    argv = ["opencode", "run", "--format", "json"]
    files = {}
    if start.url:
        model = start.model or "model"
        provider = {
            "npm": "@ai-sdk/openai-compatible", "name": "evolve", "models": {model: {"name": model}},
            "options": {"baseURL": f"{start.url}/v1", "apiKey": start.token},
        }  # fmt: skip
        settings = {
            "provider": {"evolve": provider}, "share": "disabled", "autoupdate": False,
            "permission": {"edit": "allow", "bash": "deny", "webfetch": "deny", "external_directory": "deny"},
        }  # fmt: skip
        files[".config/opencode/opencode.json"] = json.dumps(settings)
        argv += ["--model", f"evolve/{model}"]
    elif start.model:
        argv += ["--model", start.model]
    return Launch((*argv, start.prompt), {"OPENCODE_DISABLE_AUTOUPDATE": "1"}, files)


def _gemini(start: Start) -> Launch:
    argv = ["gemini", "--output-format", "json", "--approval-mode", "auto_edit", "--skip-trust", "-p", ""]
    environment = {}
    if start.url:
        environment = {"GEMINI_API_KEY": start.token, "GOOGLE_GEMINI_BASE_URL": start.url}
    if start.model:
        argv += ["--model", start.model]
    files = {
        ".gemini/settings.json": json.dumps(
            {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}
        )
    }
    return Launch(tuple(argv), environment, files if start.url else {}, stdin=start.prompt)


def _aider(start: Start) -> Launch:
    argv = [
        "aider",
        "--yes-always",
        "--no-auto-commits",
        "--no-check-update",
        "--no-analytics",
        "--no-stream",
        "--no-pretty",
        "--no-gitignore",
        "--no-show-model-warnings",
    ]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # no look at a price list on the network
    if start.url:
        environment |= {"OPENAI_API_BASE": f"{start.url}/v1", "OPENAI_API_KEY": start.token}
        argv += ["--model", f"openai/{start.model or 'model'}"]
    elif start.model:
        argv += ["--model", start.model]
    message = start.home / "message.md"
    return Launch((*argv, "--message-file", str(message), *start.editable), environment, {"message.md": start.prompt})


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("claude-code", "claude", "anthropic", _claude, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
                "https://api.anthropic.com", "npm @anthropic-ai/claude-code", "2.1.197"),
        Profile("codex", "codex", "openai", _codex, "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com",
                "npm @openai/codex", "0.169.0"),
        Profile("opencode", "opencode", "openai", _opencode, "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com",
                "npm opencode-ai", "1.18.33"),
        Profile("gemini-cli", "gemini", "gemini", _gemini, "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL",
                "https://generativelanguage.googleapis.com", "npm @google/gemini-cli", "0.61.0"),
        Profile("aider", "aider", "openai", _aider, "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com",
                "pip aider-chat", "0.86.2"),
    )
}  # fmt: skip
