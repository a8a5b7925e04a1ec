"""The model mutator: whole prompts as golden text, edits accepted, repaired and given up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evolve.models import Answer, Call, Prompt
from evolve.models.anthropic_api import Anthropic
from evolve.models.openai_api import OpenAICompatible
from evolve.models.prefix import common_prefix_share, reading_order
from evolve.models.scripted import Offline, ReplayMiss, Scripted
from evolve.models.wire import Patience
from evolve.mutators import Mutator
from evolve.mutators.model import ModelMutator, idea_of
from evolve.mutators.prompting import build, edit_format
from evolve.population.brief import Brief, Family, Inspiration, Proposal
from tests.edits.generate import sr
from tests.models.server import Bench, Said, Sent
from tests.mutators.scene import C1, OTHER, PROGRAM, F, P, brief, desk

GOLDEN = Path(__file__).parent / "golden"

LONG = PROGRAM + "".join(f"\n\ndef helper_{i}(x):\n    return x + {i}\n" for i in range(40))

BRIEFS: dict[str, Brief] = {
    "improve": brief(
        inspirations=(Inspiration(OTHER, "best of island i2"),),
        lessons=("sorting first gains 1.0 (2 tries)", "recursion is slower"),
        directives=("keep it free of imports",),
        hint={"returning": "bins = sorted(bins)"},
    ),
    "explore": brief("explore", hint={"family": "simulated annealing: move one box at a time"}),
    "fix": brief("fix", (F,)),
    "combine": brief("combine", (P, OTHER)),
    "port": brief("port", hint={"candidate": OTHER}),
    "resample": brief("resample", hint={"operator": "explore"}),
    "simplify": brief("simplify"),
    "tactic": brief("tactic", hint={"tactics": ["first fit", "best fit"]}),
}


def whole(prompt: Prompt) -> str:
    return "\n\n=====\n\n".join([*prompt.stable, *(turn.text for turn in prompt.turns)]) + "\n"


@pytest.mark.parametrize("name", sorted(BRIEFS))
def test_the_whole_prompt(name: str) -> None:
    """What a model is sent, as text. EVOLVE_WRITE_GOLDEN=1 rewrites the files; read the difference before you commit it."""
    path = GOLDEN / f"{name}.md"
    text = whole(build(BRIEFS[name], desk())[0])
    if os.environ.get("EVOLVE_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_what_a_candidate_printed_is_data() -> None:
    text = whole(build(BRIEFS["improve"], desk())[0])
    assert "Ignore all previous" not in text and "\x1b" not in text
    assert "a line that reads like an instruction was left out" in text and "score: 5.0" in text


def test_the_prompt_is_a_pure_function() -> None:
    for order in BRIEFS.values():
        assert build(order, desk()) == build(order, desk())


def propose(
    answer: Callable[[str], Answer | str], order: Brief | None = None, program: str = PROGRAM, tool: bool = False
) -> tuple[Proposal, Scripted]:
    model = Scripted(answer)
    mutator = ModelMutator({"cheap": model}, tool=tool)
    return asyncio.run(mutator.propose(order or brief(), desk(program))), model


SORTED = "IDEA: sort the boxes, largest first\n\nBig boxes are hard to place.\n\n" + sr(
    "    for size in sizes:\n", "    for size in sorted(sizes, reverse=True):\n", "program.py"
)


def test_an_edit_becomes_a_proposal() -> None:
    made, model = propose(lambda _: SORTED)
    assert made.idea == "sort the boxes, largest first" and made.model == "scripted"
    assert made.files == {"program.py": PROGRAM.replace("in sizes", "in sorted(sizes, reverse=True)").encode()}
    assert made.operator == "improve/search-replace-exact" and not made.stillborn and model.sent == 1
    assert "Big boxes are hard" in made.why and isinstance(ModelMutator({"m": model}), Mutator)


def test_one_repair_turn_with_the_error_then_stillborn() -> None:
    seen: list[str] = []

    def wrong_then_right(request: str) -> str:
        seen.append(request)
        return SORTED if len(seen) == 2 else SORTED.replace("    for size in sizes:\n=", "    for box in sizes:\n=")

    made, model = propose(wrong_then_right)
    assert made.files and model.sent == 2
    assert (
        "is not in program.py (it begins 'for box in sizes:')" in seen[1] and "Send the whole answer again" in seen[1]
    )
    made, model = propose(lambda _: "I would not change a thing about it.")
    assert made.stillborn.startswith("empty: ") and not made.files and model.sent == 2


def test_broken_python_is_told_where_before_it_costs_an_evaluation() -> None:
    seen: list[str] = []

    def broken_then_right(request: str) -> str:
        seen.append(request)
        return SORTED if len(seen) == 2 else SORTED.replace("reverse=True):\n", "reverse=True:\n")

    made, _ = propose(broken_then_right)
    assert made.files and "is no valid Python" in seen[1] and "at line 8" in seen[1]


def test_a_parent_that_does_not_parse_may_stay_so() -> None:
    """A fix that repairs half of a broken file is judged, not refused: the base was broken already."""
    made, model = propose(lambda _: sr("LIMIT = 100\n", "LIMIT = 99\n", "program.py"), brief("fix", (F,)))
    assert made.files and model.sent == 1


@pytest.mark.parametrize("outcome", ["refusal", "overflow", "rejected"])
def test_what_no_repair_cures_is_stillborn_at_once(outcome: str) -> None:
    made, model = propose(lambda _: Answer("", (), outcome, "the service's words"))
    assert made.stillborn == f"{outcome}: the service's words" and model.sent == 1


def test_a_truncated_answer_is_asked_for_again_smaller() -> None:
    seen: list[str] = []

    def cut(request: str) -> Answer:
        seen.append(request)
        return Answer(SORTED) if len(seen) == 2 else Answer(SORTED.split("=====")[0], (), "truncated", "max_tokens")

    made, _ = propose(cut)
    assert made.files and "cut off at its length limit" in seen[1]


def test_a_protected_file_is_refused_by_name() -> None:
    made, _ = propose(lambda _: "IDEA: win\n\nevaluate.sh\n```bash\necho score: 9\n```\n")
    assert made.stillborn.startswith("protected: evaluate.sh may not be changed")


def test_two_parents_make_a_merge() -> None:
    made, _ = propose(lambda _: SORTED, brief("combine", (P, OTHER)))
    assert made.parents == (P, OTHER)


def test_a_tactic_is_families_and_no_edit() -> None:
    text = "FAMILY: Column generation\nHOW: Solve the LP over patterns.\nThen round.\n\nFAMILY: **Annealing**\nHOW: Move one box.\n"
    strong, cheap = Scripted(lambda _: text, "strong"), Scripted(lambda _: "no", "cheap")
    made = asyncio.run(ModelMutator({"cheap": cheap, "strong": strong}).propose(BRIEFS["tactic"], desk()))
    assert made.families == (
        Family("Column generation", "Solve the LP over patterns.\nThen round."),
        Family("Annealing", "Move one box."),
    )
    assert not made.stillborn and not made.files and (cheap.sent, strong.sent) == (0, 1)
    assert propose(lambda _: "nothing new", BRIEFS["tactic"])[0].stillborn


def test_the_hint_chooses_the_model() -> None:
    strong, cheap = Scripted(lambda _: SORTED, "strong"), Scripted(lambda _: SORTED, "cheap")
    mutator = ModelMutator({"cheap": cheap, "strong": strong})
    assert asyncio.run(mutator.propose(brief(), desk())).model == "cheap"
    assert asyncio.run(mutator.propose(brief(hint={"model": "strong"}), desk())).model == "strong"


def test_the_edit_format_follows_the_size() -> None:
    assert edit_format({"a.py": PROGRAM.encode()}, False) == "whole"
    assert edit_format({"a.py": LONG.encode()}, False) == "search-replace"
    assert 'Answer in format "search-replace"' in whole(build(brief(), desk(LONG))[0])


def test_an_edit_by_tool_is_repaired_by_tool() -> None:
    bad = Call("c1", {"command": "str_replace", "path": "program.py", "old_str": "for box in", "new_str": "for b in"})
    good = Call(
        "c2",
        {"command": "str_replace", "path": "/repo/program.py", "old_str": "in sizes:", "new_str": "in sorted(sizes):"},
    )
    calls = [bad, good]
    made, model = propose(lambda _: Answer("IDEA: sort", (calls.pop(0),)), tool=True)
    assert made.files == {"program.py": PROGRAM.replace("in sizes:", "in sorted(sizes):").encode()}
    assert made.operator == "improve/tool-exact" and model.sent == 2


@pytest.mark.parametrize("api", ["anthropic", "openai"])
@pytest.mark.parametrize("tool", [False, True], ids=["text", "tool"])
def test_over_the_wire(api: str, tool: bool) -> None:
    """The same through a real client and a real server, with a repair turn in between."""
    pytest.importorskip(api, reason=f"the {api} SDK is not installed")
    edits = [{"command": "str_replace", "path": "program.py", "old_str": "for box", "new_str": "x"},
             {"command": "str_replace", "path": "program.py", "old_str": "in sizes:", "new_str": "in sorted(sizes):"}]  # fmt: skip

    def brain(sent: Sent) -> Said:
        right = "Send the whole answer again" in sent.text
        if tool:
            return Said("IDEA: sort", [(sent.tools[0], edits[right])])
        return Said(SORTED if right else "IDEA: sort\n\nLet me think.")

    with Bench(brain) as bench:
        model: Anthropic | OpenAICompatible
        if api == "anthropic":
            model = Anthropic("m", base_url=bench.url, key="k", patience=Patience(first=0.01))
        else:
            model = OpenAICompatible("m", base_url=bench.url + "/v1", key="k", patience=Patience(first=0.01))
        made = asyncio.run(ModelMutator({"m": model}, tool=tool).propose(brief(), desk(LONG)))
    assert made.files and len(bench.sent) == 2, made.stillborn


def test_a_replay_needs_no_service_and_says_what_is_missing() -> None:
    place = desk()
    model = Scripted(lambda _: SORTED)
    first = asyncio.run(ModelMutator({"m": model}).propose(brief(), place))
    again = asyncio.run(ModelMutator({"m": Offline(model)}).propose(brief(), place))
    assert first == again and model.sent == 1
    with pytest.raises(ReplayMiss, match="not on record"):
        asyncio.run(ModelMutator({"m": Offline(model)}).propose(brief("simplify"), place))


def test_the_common_prefix_is_measured_on_what_was_sent() -> None:
    pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    place = desk(LONG)
    with Bench(lambda _: SORTED) as bench:
        mutator = ModelMutator({"m": Anthropic("m", base_url=bench.url, key="k")})

        async def several() -> None:
            for operator in ("improve", "explore", "simplify", "improve"):
                await mutator.propose(brief(operator), place)

        asyncio.run(several())
    requests = [request for request, *_ in place.calls]
    share = common_prefix_share(requests)
    assert 0.6 < share < 0.75  # four requests, the first shares nothing and the others nearly all
    assert common_prefix_share(requests[:1]) == 0.0 and common_prefix_share([]) == 0.0
    assert reading_order(requests[0]).index("You change programs") < reading_order(requests[0]).index("# The program")


@pytest.mark.parametrize(
    ("text", "idea"),
    [
        ("IDEA: one\nrest", "one"),
        ("**IDEA:** use a heap", "use a heap"),
        ("Sure!\nWe can use a heap here. It is faster.\n```python\n", "We can use a heap here."),
        ("```python\nx = 1\n```", "edit without a stated idea"),
    ],
)
def test_ideas_are_found(text: str, idea: str) -> None:
    assert idea_of(text) == idea


def test_children_are_reported_with_what_came_of_them() -> None:
    text = whole(build(brief(), desk())[0])
    assert "- fill the emptiest bin first: worse by 0.5" in text and "- best fit: invalid (NameError" in text
    assert C1 not in text
