"""Which models there are: the user's file of them, and short forms for the command line.

`models.toml` is the user's, not the repository's: a task must not be able to send prompts somewhere. It is looked for
at `EVOLVE_MODELS`, else `$XDG_CONFIG_HOME/evolve/models.toml`:

    [cheap]                          # the name that events and credit use
    api = "openai"                   # "anthropic" or "openai" (any compatible server)
    id = "the server's model id"
    base_url = "http://127.0.0.1:8000/v1"
    price = { input = 0.0, output = 0.0 }

A model may also be written in one word: `anthropic/ID`, `openai/ID`, `openai/ID@http://127.0.0.1:8000/v1`. Keys are
never in the file: `key_env` names the environment variable that holds one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolve.errors import UsageError
from evolve.models import Model
from evolve.models.anthropic_api import Anthropic
from evolve.models.batches import Batches
from evolve.models.openai_api import OpenAICompatible
from evolve.models.wire import Patience, Price, price_of

_COMMON = ("api", "id", "base_url", "key_env", "max_tokens", "effort", "price", "stall", "longest_wait")
_KEYS = {"anthropic": (*_COMMON, "thinking", "ttl", "batch"), "openai": (*_COMMON, "max_tokens_field", "extra")}
_KEY_ENV = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


def config_path(environment: Mapping[str, str] | None = None) -> Path:
    environment = os.environ if environment is None else environment
    if chosen := environment.get("EVOLVE_MODELS"):
        return Path(chosen)
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(home) / "evolve" / "models.toml"


def table(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """The models file, read and checked; empty where there is none. Raises UsageError naming file, model and key."""
    path = path or config_path()
    if not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    for name, settings in document.items():
        if not isinstance(settings, dict):
            raise UsageError(f"{path}: {name!r} must be a table such as [{name}] with api and id")
        _check(name, settings, str(path))
    return document


def _check(name: str, settings: Mapping[str, Any], where: str) -> None:
    api = settings.get("api")
    if api not in _KEYS:
        raise UsageError(f"{where}: [{name}] api is {api!r}; it must be one of {', '.join(_KEYS)}")
    if not isinstance(settings.get("id"), str):
        raise UsageError(f"{where}: [{name}] needs id, the service's name of the model")
    for key in settings:
        if key not in _KEYS[api]:
            near = difflib.get_close_matches(key, _KEYS[api], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_KEYS[api])}"
            raise UsageError(f"{where}: [{name}] has the unknown key {key!r}; {hint}")


def load(word: str, models: Mapping[str, Mapping[str, Any]] | None = None, *, offline: bool = False) -> Model:
    """The model of a name in the models file, or of a word `api/ID[@base_url]`. Raises UsageError naming the known.

    offline: it is never sent anything, so it needs no key.
    """
    models = table() if models is None else models
    if word in models:
        return make(word, models[word], offline=offline)
    api, slash, rest = word.partition("/")
    if slash and api in _KEYS and rest:
        identity, _, url = rest.partition("@")
        return make(identity, {"api": api, "id": identity} | ({"base_url": url} if url else {}), offline=offline)
    known = ", ".join(models) or f"none: {config_path()} does not exist"
    raise UsageError(
        f"no model {word!r}; models file: {known}. In one word: anthropic/ID, openai/ID@http://host:port/v1"
    )


def make(name: str, settings: Mapping[str, Any], *, offline: bool = False) -> Model:
    """A model from its table. Raises UsageError where its key is not in the environment and it needs one."""
    _check(name, settings, "models")
    api = settings["api"]
    variable = settings.get("key_env", _KEY_ENV[api])
    key = os.environ.get(variable)
    if key is None and not offline and ("base_url" not in settings or "key_env" in settings):
        raise UsageError(f"model {name!r} needs a key: set {variable}, or name another variable as key_env")
    patience = Patience(stall=float(settings.get("stall", 300)), cap=float(settings.get("longest_wait", 600)))
    price = _price(name, settings)
    base = settings.get("base_url")
    effort = str(settings.get("effort", ""))
    if api == "anthropic":
        batch = settings.get("batch", False)
        return Anthropic(
            settings["id"], name, base, key or "none", int(settings.get("max_tokens", 32_000)), effort,
            str(settings.get("thinking", "")), str(settings.get("ttl", "5m")), price, patience,
            batches=Batches(**(batch if isinstance(batch, dict) else {})) if batch else None,
        )  # fmt: skip
    return OpenAICompatible(
        settings["id"], name, base, key, int(settings.get("max_tokens", 16_000)),
        str(settings.get("max_tokens_field", "max_tokens")), effort, dict(settings.get("extra", {})), price, patience,
    )  # fmt: skip


def _price(name: str, settings: Mapping[str, Any]) -> Price | None:
    """The price given, else that of the optional price data for the real services; None where neither knows."""
    given = settings.get("price")
    if given is None:
        return None if "base_url" in settings else price_of(settings["id"], settings["api"])
    try:
        return Price(**{key: float(value) for key, value in given.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"model {name!r}: price must be {{ input = , output = [, cached = , written = ] }} in US dollars a million "
            f"tokens, not {given!r}"
        ) from error
