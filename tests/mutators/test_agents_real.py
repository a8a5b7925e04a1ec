"""The real agents, from their package indexes, each driving a loopback model to an accepted edit through the broker.

Run where they are installed: `npm install @anthropic-ai/claude-code @openai/codex opencode-ai @google/gemini-cli`,
`pip install aider-chat`, with their folders in EVOLVE_AGENTS (a PATH). Skipped, each with its reason, elsewhere.
"""

from __future__ import annotations

import asyncio
import shutil

import pytest

from evolve.models.broker import Upstream
from evolve.models.wire import Price
from evolve.mutators.agent import AgentMutator
from evolve.mutators.profiles import PROFILES
from tests.models.server import Bench
from tests.mutators.agents import BRAINS, EDITED, keys_of, search_path, version_of
from tests.mutators.scene import brief, desk


@pytest.mark.parametrize("name", sorted(BRAINS))
def test_the_real_agent_edits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = PROFILES[name]
    path = search_path()
    program = shutil.which(profile.program, path=path)
    if program is None:
        pytest.skip(f"{profile.program} ({profile.package}) is not on EVOLVE_AGENTS or the PATH")
    monkeypatch.setenv("PATH", path)
    brain, model = BRAINS[name]
    place = desk()
    with Bench(brain) as bench:
        upstream = Upstream(profile.api, bench.url, "real-key", Price(1.0, 1.0))
        made = asyncio.run(AgentMutator(profile, model, upstream, seconds=120, money=5.0).propose(brief(), place))
    assert made.files == {"program.py": EDITED.encode()}, (
        f"{version_of(program)}: {made.stillborn}\n{made.artifacts[0].data[-2000:]}"
    )
    reply = place.calls[0][3]
    assert reply.outcome == "ok" and reply.money is not None and reply.tokens_in > 0
    said = made.artifacts[0].data
    assert "real-key" not in said
    assert bench.sent and all(keys_of(sent) == {"real-key"} for sent in bench.sent)
    assert "terminal" not in made.idea
