from __future__ import annotations

from dataclasses import replace

import pytest

from evolve.evaluators.integrity import REGISTRY, Finding, Seen, check, examine
from evolve.evaluators.integrity.checks import _plain
from evolve.tasks.evidence import Outcome


@pytest.mark.parametrize("name", REGISTRY)
def test_each_check_catches_its_fault_and_passes_its_good_case(name: str) -> None:
    entry = REGISTRY[name]
    (caught,), (passed,) = examine(entry.fault(), [name]), examine(entry.good(), [name])
    assert caught.outcome in (Outcome.AUDIT, Outcome.CHEAT) and caught.detail
    assert passed.outcome is Outcome.PASSED


@pytest.mark.parametrize("name", REGISTRY)
def test_a_fault_trips_its_own_check_only(name: str) -> None:
    """Else a check that refuses everything would look like one that works."""
    tripped = [c.name for c in examine(REGISTRY[name].fault()) if c.outcome is not Outcome.PASSED]
    assert tripped == [name] or (name == "finite" and tripped == ["jump", "finite"])


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - {"same answer"}))
def test_a_check_without_its_material_is_unable(name: str) -> None:
    assert examine(Seen("t"), [name])[0].outcome is Outcome.UNABLE


def test_a_check_that_raises_is_unable() -> None:
    broken = replace(_plain(), claimed={})
    found = {c.name: c.outcome for c in examine(broken)}
    assert found["jump"] is Outcome.UNABLE


def test_a_canary_in_disguise() -> None:
    import base64

    secret = "0123456789abcdef" * 2
    for form in (secret, secret.upper(), secret[::-1], secret.encode().hex(), base64.b64encode(secret.encode()).decode()):
        seen = replace(_plain(), canaries={"k": secret}, output=f"x{form}y")
        assert examine(seen, ["canary"])[0].outcome is Outcome.CHEAT


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="already"):
        check("canary", fault=_plain, good=_plain)(lambda seen: Finding(Outcome.PASSED))
