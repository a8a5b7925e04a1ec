"""The referee: secret inputs, golden answers, the second clock. One kind of call: fresh values, timed and validated alike.

It spawns a worker for the candidate and, unless told otherwise, another for the baseline (a candidate cannot slow the
baseline down from its own process), alternates blocks of calls (ABBA) and writes down what happened. It judges nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from evolve.evaluators.kernels import bench as benches
from evolve.evaluators.kernels import bounds, extras, screen, wire
from evolve.evaluators.kernels import inputs as values
from evolve.evaluators.kernels.baseline import Baseline
from evolve.evaluators.kernels.compare import compare, distance, golden, outputs_of, reference
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.evidence import Call, Fault, KernelEvidence, WorkloadFacts
from evolve.evaluators.kernels.jailed import Ward
from evolve.evaluators.kernels.launch import Nursery
from evolve.evaluators.kernels.outputs import OutputFacts, passes
from evolve.evaluators.kernels.plan import Plan, per_block
from evolve.evaluators.kernels.sides import ENDINGS, Side, Sides
from evolve.evaluators.kernels.solution import NOT_INSTALLED, Solution
from evolve.evaluators.timing.blocks import order as alternate
from evolve.evaluators.training import gpu as card
from evolve.tasks.errors import InfrastructureError

STAGES = ("inputs", "idle", "queue", "run", "taken", "checks")
"""Of a worker's call: placing inputs, waiting for an idle card, the candidate's launches, until the seal, until the referee has
the outputs, checks. `Referee.spent` adds up their seconds (the worker's word; nothing is judged by it)."""

@dataclass
class _At:
    """Where a process' blocks stand: `n` numbers the calls."""

    problem: Problem
    plan: Plan
    chosen: Sequence[Workload]
    secret: bytes
    process: int
    n: int


class Referee:
    """Measures solutions on one device. Not thread-safe; one a GPU (hold the GPU's lease while it lives)."""

    def __init__(
        self, nursery: Nursery | Ward, device: str = "cpu", clock: str = "real", env: Mapping[str, str] | None = None,
        card: str = "",
    ) -> None:  # fmt: skip
        """card: UUID of the leased GPU, to read its clocks by; empty: the first one. `overhead`: see KernelEvidence."""
        self.overhead: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.card = card
        self.nursery, self.device, self.env = nursery, device, dict(env or {})
        self.bench: Any = benches.CudaBench() if device == "cuda" else benches.CpuBench(clock)
        name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        self.machine = bounds.machine(name)
        self.name = name
        self._golden: dict[str, Any] = {}
        self.sides = Sides(nursery, device, self.bench, self.env)

    def close(self) -> None:
        """End the kept baselines' workers and give memory back."""
        self.sides.close()
        self.bench.close()

    # ---- a measurement -------------------------------------------------------------------------------------------

    def measure(
        self,
        problem: Problem,
        solution: Solution,
        plan: Plan,
        stored: Mapping[str, Baseline] | None = None,
        anchor: Solution | None = None,
    ) -> KernelEvidence:
        """Evidence on one solution. anchor: what B runs (the reference where None).

        Raises InfrastructureError for our own failures; whatever the candidate does is in the evidence.
        """
        secret = os.urandom(32)
        chosen = self._workloads(problem, plan, secret)
        facts = tuple(self._facts(problem, w, stored or {}, plan.baseline or "eager") for w in chosen)
        evidence = KernelEvidence(
            problem.name,
            problem.definition.digest(),
            solution.language,
            self.name,
            self.bench.clock,
            hashlib.sha256(secret).hexdigest(),
            workloads=facts,
            sms=self.bench.sms,
            ratio_cap=problem.ratio_cap,
            processes=plan.processes,
            libraries=dict(self.bench.facts()),
            anchor=plan.baseline or "reference",
            overhead=dict(self.overhead),
        )
        findings = screen.screen(solution)
        evidence = replace(evidence, screen=tuple(asdict(f) for f in findings))
        if solution.language in NOT_INSTALLED:
            message = f"{solution.language} is recognised but {NOT_INSTALLED[solution.language]} is not installed here"
            return replace(evidence, fault=Fault("hardware", "compile", message), secret=secret.hex())
        if blocked := [f for f in findings if f.level == "block"]:
            message = "; ".join(f"line {f.line}: {f.what}" for f in blocked[:3])
            return replace(evidence, fault=Fault(blocked[0].kind, "screen", message), secret=secret.hex())
        for process in range(plan.processes):
            evidence = self._process(problem, solution, anchor, plan, chosen, secret, evidence, process)
            if evidence.fault:
                break
        return replace(evidence, secret=secret.hex(), clock=self.bench.clock)

    def _process(
        self,
        problem: Problem,
        solution: Solution,
        anchor: Solution | None,
        plan: Plan,
        chosen: Sequence[Workload],
        secret: bytes,
        evidence: KernelEvidence,
        process: int,
    ) -> KernelEvidence:
        size = max(benches.layout(problem, w)[2] for w in chosen) + benches.ALIGN
        sides: dict[str, Side] = {}
        calls: list[Call] = []
        readings: list[dict[str, Any]] = []
        started = _count(calls, evidence)
        fault: Fault | None = None
        try:
            sides["A"] = self.sides.open("A", size)
            fault, compiler = self.sides.load(sides["A"], solution, plan)
            evidence = replace(evidence, compiler=compiler, sandbox=sides["A"].link.sandbox, transport=self.sides.transport)
            if fault is None and not plan.alone:
                trusted = anchor or Solution({"reference.py": problem.definition.reference}, "reference.py::run")
                sides["B"] = self.sides.baseline(problem, trusted, size, plan)
            before = self.sides.census(sides["A"]) if fault is None else {}
            if fault is None:
                fault = self._blocks(
                    problem, plan, chosen, secret, sides, calls, process, started, readings, evidence.workloads
                )
            if fault is None and plan.champion:
                n = _count(calls, evidence)
                evidence = replace(
                    evidence, extras=extras.run(self, problem, plan, chosen, sides["A"], secret, n, solution)
                )
            after = self.sides.census(sides["A"]) if fault is None else {}
            evidence = replace(evidence, census={"load": before, "end": after})
            if fault is None:
                fault, said = self.sides.last_word(sides["A"])
                evidence = replace(
                    evidence, integrity={"changed": said.get("changed", [])} if "changed" in said else {}
                )
                kernels = (said.get("facts") or {}).get("kernels")
                evidence = replace(
                    evidence, compiler={**evidence.compiler, **({"kernels": kernels} if kernels else {})}
                )
        finally:
            self.sides.close_all(sides)
        exact = all(self._golden.get(f"exact:{problem.name}", {True}))
        return replace(
            evidence,
            calls=(*evidence.calls, *calls),
            fault=fault,
            exact_golden=exact,
            clocks=(*evidence.clocks, *readings),
        )

    def _blocks(
        self,
        problem: Problem,
        plan: Plan,
        chosen: Sequence[Workload],
        secret: bytes,
        sides: Mapping[str, Side],
        calls: list[Call],
        process: int,
        started: int,
        readings: list[dict[str, Any]],
        anchors: Sequence[WorkloadFacts],
    ) -> Fault | None:
        stream = random.Random(secret + bytes([process]))
        at = _At(problem, plan, chosen, secret, process, started)
        warm = [w for w in range(len(chosen)) for _ in range(plan.warm)]
        turns = [(0, name, warm) for name in ("B", "A") if name in sides and plan.warm]
        for block, name, queue in turns:
            stream.shuffle(queue)
            if (ended := self._turn(at, sides[name], block, queue, calls)) is not True:
                return ended
        counts = [per_block(plan, calls, index, facts) for index, facts in enumerate(anchors)]
        for turn, name in enumerate(alternate(plan.blocks)):
            if name not in sides:
                continue
            if self.device == "cuda":
                readings.append({"block": process * 1000 + turn // 2, "side": name, **card.reading(self.card or 0)})
            queue = [w for w in range(len(chosen)) for _ in range(counts[w])]
            stream.shuffle(queue)
            if (ended := self._turn(at, sides[name], turn // 2, queue, calls)) is not True:
                return ended
        return None

    def _turn(
        self, at: _At, side: Side, block: int, queue: Sequence[int], calls: list[Call]
    ) -> Fault | Literal[True] | None:
        """One side's calls of a block. True: go on; a fault or None: the measurement ends here."""
        plan = at.plan
        for workload in queue:
            at.n += 1
            family = plan.families[draw(at.secret, at.n, "family") % len(plan.families)]
            outcome = self._call(
                at.problem,
                at.chosen[workload],
                side,
                plan,
                at.secret,
                at.n,
                workload,
                family,
                at.process * 1000 + block,
            )
            if isinstance(outcome, Fault):
                if side.name == "B":
                    self.sides.forget(side)
                    raise InfrastructureError(f"the baseline of {at.problem.name} failed: {outcome.message}")
                return outcome
            calls.append(outcome)
            if plan.stop and side.name == "A" and _bad(at.problem, at.chosen[workload], outcome):
                return None
        return True

    # ---- one call ------------------------------------------------------------------------------------------------

    def _call(
        self,
        problem: Problem,
        workload: Workload,
        side: Side,
        plan: Plan,
        secret: bytes,
        n: int,
        index: int,
        family: str,
        block: int,
    ) -> Call | Fault:
        seed = draw(secret, n if plan.fresh else index, "values")
        given = values.make(problem, workload, seed, family if plan.fresh else "default", self.device)
        right, native = self.answers(problem, given)
        made = self.exchange(problem, workload, side, plan, secret, n, index, given)
        if isinstance(made, Fault):
            return made
        answer, wall, got = made
        return self._record(problem, workload, side, plan, answer, wall, got, right, native, n, index, family, block)

    def exchange(
        self, problem: Problem, workload: Workload, side: Side, plan: Plan, secret: bytes, n: int, index: int,
        given: Mapping[str, Any], mode: str = "",
    ) -> tuple[dict[str, Any], benches.Watch, list[torch.Tensor]] | Fault:  # fmt: skip
        """One call on given values: the worker's answer, our clock, the outputs. mode: of worker.MODES."""
        rows, outs, _ = benches.layout(problem, workload)
        full = [row if len(row) == 5 else [row[0], _plain(given[row[0]])] for row in rows]
        order = {
            "op": "call",
            "n": n,
            "seed": draw(secret, n, "place") & 0x7FFFFFFF,
            "inputs": full,
            "outputs": outs,
            "passing": side.passing,
            "ticket": n,
            "mode": mode,
        }
        if self.device == "cuda":
            order["secret_key"] = draw(secret, n, "key")
        poison = hashlib.sha256(secret + n.to_bytes(8, "little")).digest()
        try:
            # the trusted baseline may compile in its first call of a shape, however long that takes
            seconds = plan.seconds if side.name == "A" else max(plan.seconds, 300.0)
            answer, wall, got = self.bench.run(side.link, order, full, given, outs, poison, seconds)
        except wire.WireFault as fault:
            return _ended(fault, index, plan)
        if "fault" in answer:
            return Fault(str(answer["fault"]), "call", str(answer.get("message", ""))[:4000], index)
        self._watch(answer, full, given)
        if answer.get("done") != n or not isinstance(answer.get("us"), int | float):
            return Fault("crash", "call", "the worker sent something else than the end of its call", index)
        return answer, wall, got

    def _record(
        self,
        problem: Problem,
        workload: Workload,
        side: Side,
        plan: Plan,
        answer: Mapping[str, Any],
        wall: benches.Watch,
        got: Sequence[torch.Tensor],
        right: Sequence[torch.Tensor],
        native: Sequence[torch.Tensor],
        n: int,
        index: int,
        family: str,
        block: int,
    ) -> Call:
        structure = str(answer.get("structure", ""))
        facts: list[OutputFacts] = []
        own: list[float] = []
        for (name, spec), x, want, mine in zip(problem.definition.outputs.items(), got, right, native, strict=False):
            if not structure:
                tolerance = problem.tolerance(workload, name)
                facts.append(compare(name, x, want, tolerance, spec.dtype))
                own.append(distance(mine.to(values.dtype_of(spec.dtype)), want))
        assert side.seen is not None
        side.seen[index] = side.seen.get(index, 0) + 1
        return Call(
            n,
            side.name,
            index,
            family,
            block,
            us=float(answer["us"]),
            wall_us=wall.done * 1e6,
            flag_us=wall.flag * 1e6,
            seen_us=wall.seen * 1e6,
            warm=side.seen[index] <= plan.warm,
            opened=bool(answer.get("opened", True)),
            held=int(answer.get("held", 0)),
            late_us=float(answer.get("late_us", 0.0)),
            span_us=float(answer.get("span_us", 0.0)),
            structure=structure[:400],
            notes=tuple(str(x)[:200] for x in answer.get("notes", ())[:8]),
            flags=tuple(str(x)[:80] for x in answer.get("flags", ())[:8]),
            outputs=tuple(facts),
            reference_error=tuple(own),
        )

    def answers(self, problem: Problem, given: Mapping[str, Any]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        if problem.name not in self._golden:
            self._golden[problem.name] = reference(problem)
        run = self._golden[problem.name]
        right, exact = golden(problem, run, given, self.device)
        self._golden.setdefault(f"exact:{problem.name}", set()).add(exact)
        if not exact:
            return right, right
        clones = [v.clone() if isinstance(v, torch.Tensor) else v for v in given.values()]
        native = outputs_of(run(*clones), list(problem.definition.outputs))
        return right, [x if isinstance(x, torch.Tensor) else torch.tensor(x, device=self.device) for x in native]

    def _watch(self, answer: dict[str, Any], rows: Sequence[Sequence[Any]], given: Mapping[str, Any]) -> None:
        """Note inputs whose checksum the worker found changed (its word, D4), and add up where its time went."""
        said = answer.get("sums")
        if isinstance(said, dict) and said:
            from evolve.evaluators.kernels.worker_cuda import SUMS, checksum, whole

            tensors = [i for i, row in enumerate(rows) if len(row) == 5 and row[4]]
            found = torch.stack([part for i in tensors for part in checksum(given[rows[i][0]])]).tolist()
            ours = {str(i): whole(found[SUMS * k : SUMS * k + SUMS]) for k, i in enumerate(tensors)}
            changed = [f"input {i} was changed" for i, value in ours.items() if said.get(i) != value]
            answer["notes"] = [*answer.get("notes", ()), *changed]
        spent = answer.get("spent")
        if isinstance(spent, list) and all(isinstance(x, int) for x in spent):
            for name, us in zip(STAGES, spent, strict=False):
                self.spent[name] = self.spent.get(name, 0.0) + us * 1e-6

    # ---- what is measured ----------------------------------------------------------------------------------------

    def _workloads(self, problem: Problem, plan: Plan, secret: bytes) -> list[Workload]:
        listed = [
            w
            for w in problem.workloads
            if not w.needs_blobs or all((problem.root / g.path).is_file() for g in w.inputs.values() if g.path)
        ]
        chosen = listed[: plan.workloads] if plan.workloads else listed
        if plan.hidden:
            if problem.draw is None:
                raise InfrastructureError(
                    f"{problem.name} has no generator of hidden workloads; give more development ones"
                )
            chosen += [problem.draw(random.Random(secret + b"workload" + bytes([i]))) for i in range(plan.hidden)]
        if not chosen:
            raise InfrastructureError(f"{problem.name}: no workload can run here (their blobs are missing)")
        return chosen

    def _facts(
        self, problem: Problem, workload: Workload, stored: Mapping[str, Baseline], anchor: str
    ) -> WorkloadFacts:
        counted = None if problem.flops is not None else bounds.count_flops(problem, workload)
        bound = bounds.bound(problem, workload, self.machine, counted)
        base = stored.get(workload.uuid)
        variant, seconds = base.best if base else ("", 0.0)
        return WorkloadFacts(
            workload.uuid,
            dict(workload.axes),
            bound.seconds,
            bound.provenance,
            seconds,
            variant,
            base.seconds.get(anchor, 0.0) if base else 0.0,
            bound.bytes,
            bound.flops,
            hidden=workload.uuid.startswith("hidden-"),
            tolerance={n: asdict(problem.tolerance(workload, n)) for n in problem.definition.outputs},
        )


def _ended(fault: wire.WireFault, workload: int, plan: Plan) -> Fault:
    if fault.kind == "late":
        return Fault("timeout", "call", f"one call took more than {plan.seconds:g} s", workload)
    return Fault("crash", "call", f"the candidate's process {ENDINGS[fault.kind]} during a call", workload)


def _bad(problem: Problem, workload: Workload, call: Call) -> bool:
    if call.structure or call.notes:
        return True
    return not all(passes(facts, problem.tolerance(workload, facts.name)) for facts in call.outputs)


def _count(calls: Sequence[Call], evidence: KernelEvidence) -> int:
    return max((c.n for c in (*evidence.calls, *calls)), default=0)


def draw(secret: bytes, n: int, purpose: str) -> int:
    """64 bits derived from the secret for one call and purpose (HMAC-SHA256)."""
    return int.from_bytes(hmac.new(secret, f"{purpose}/{n}".encode(), hashlib.sha256).digest()[:8], "little")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value
