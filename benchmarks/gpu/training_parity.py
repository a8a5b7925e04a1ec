"""Our seed against upstream's own trainer (karpathy/autoresearch, train.py) on the same rows, batch and attention.

    python3 benchmarks/gpu/training_parity.py --upstream FILE --data DIR --out $OUT --steps 100 --pairs 5 --budget 300

FILE is upstream's `train.py` as it is; it is no part of this project. It runs whole, in this process, with its modules
replaced: `kernels` by scaled-dot-product attention (full causal, as our seed has it), `prepare` by the rows that our
evaluator packed, `time` by a clock that ticks once a step, so that its schedule follows tokens. Its batch is set to the
seed's; every other constant is its own. Both take fixed tokens, are compiled before the clock runs (from the twelfth
batch on), and are scored by the same code on the same validation rows. Pairs alternate and share a seed; a line a run in
OUT/parity.jsonl; lines already there are not run again. --dry: on a CPU, a few small steps, nothing compiled.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import importlib.util
import io
import json
import math
import os
import re
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # upstream's own setting, for both

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import training_common as common

from evolve.evaluators.machine import machine
from evolve.evaluators.training import harness, tracks
from evolve.evaluators.training.data import Dataset
from evolve.tasks import statistics as st

UNTIMED = 11
"""Batches before the clock starts: upstream counts from its twelfth step on."""


class Clock:
    """Seconds from the batch after `UNTIMED` others to the end, the device idle at both."""

    def __init__(self, device: str) -> None:
        self.device, self.batches = device, 0
        self.began = self.ended = 0.0

    def batch(self) -> None:
        if self.batches == UNTIMED:
            self.began = self._now()
        self.batches += 1

    def stop(self) -> None:
        self.ended = self._now()

    def _now(self) -> float:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def rows_for(data: Dataset, clock: Clock) -> Callable[[int], Any]:
    """The training rows in their one order, a batch a call."""
    at = 0

    def ask(count: int) -> Any:
        nonlocal at
        clock.batch()
        rows = data.train[np.arange(at, at + count) % len(data.train)]
        at += count
        return rows

    return ask


def bits(forward: Callable[[Any], Any], data: Dataset, device: str, batch: int = 8) -> float:
    """Validation bits per byte: log-softmax over the whole vocabulary, bytes of the raw text (as scoring.py has it)."""
    import torch

    total, amount = 0.0, 0
    counts = torch.from_numpy(np.asarray(data.token_bytes)).to(device)
    with torch.no_grad():
        for at in range(0, len(data.validation), batch):
            rows = torch.from_numpy(data.validation[at : at + batch].astype(np.int64)).to(device)
            logits = forward(rows[:, :-1]).float()
            nats = torch.logsumexp(logits, -1) - logits.gather(-1, rows[:, 1:, None])[..., 0]
            size = counts[rows[:, 1:]]
            total += float(nats[size > 0].double().sum())
            amount += int(size.sum())
    return total / (math.log(2) * amount)


# ---- upstream's trainer ----------------------------------------------------------------------------------------------


class Upstream:
    """Upstream's script, run as it is. Its definitions are executed once, so that what was compiled is found again."""

    def __init__(self, path: Path, data: Dataset, rows: int, steps: int, device: str) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.data, self.rows, self.steps, self.device = data, rows, steps, device
        self.length = data.train.shape[1] - 1
        module = types.ModuleType("upstream")
        sys.modules["upstream"] = module  # dataclasses look their own up
        self.space: dict[str, Any] = module.__dict__
        self.first, self.every = self._parts()
        self.bpb = math.nan
        self.clock = Clock(device)
        self.seed = 0
        self._ran = False

    def _parts(self) -> tuple[ast.Module, list[ast.stmt]]:
        """What comes up to the import of `prepare`, and the statements after it."""
        text = self._constant(self.text, "TOTAL_BATCH_SIZE", self.rows * self.length)
        text = self._constant(text, "DEVICE_BATCH_SIZE", self.rows)
        text, seeds = re.subn(r"manual_seed\(42\)", "manual_seed(SEED)", text)
        if seeds != 2:
            raise ValueError(f"upstream's file sets {seeds} seeds of 42; two were expected: it is another version")
        if self.device == "cpu":
            text = self._constant(text.replace('"cuda"', '"cpu"'), "DEPTH", 2)
        body = ast.parse(text).body
        cut = next(i for i, node in enumerate(body) if isinstance(node, ast.ImportFrom) and node.module == "prepare")
        return ast.Module(body[: cut + 1], []), body[cut + 1 :]

    @staticmethod
    def _constant(text: str, name: str, value: int) -> str:
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"upstream's file sets {name} {count} times; once was expected: it is another version")
        return text

    def run(self, seed: int) -> None:
        """Train and score once. Raises what the script raises; SystemExit where its loss explodes."""
        import torch

        self.seed, self.clock, self.bpb = seed, Clock(self.device), math.nan
        if not self._ran:
            self._replace_modules()
            if self.device == "cpu":
                torch.cuda.synchronize = lambda *_: None  # type: ignore[assignment]
                torch.cuda.get_device_capability = lambda *_: (9, 0)  # type: ignore[assignment]
            exec(compile(self.first, "upstream", "exec"), self.space)
        ticks = iter(range(1 << 30))
        self.space.update(SEED=seed, time=types.SimpleNamespace(time=lambda: float(next(ticks))))
        definitions = (ast.FunctionDef, ast.ClassDef)
        body = [node for node in self.every if not (self._ran and isinstance(node, definitions))]
        with redirect_stdout(io.StringIO()):
            exec(compile(ast.Module(body, []), "upstream", "exec"), self.space)
        self._ran = True

    def _replace_modules(self) -> None:
        import torch.nn.functional as F

        def attention(q: Any, k: Any, v: Any, causal: bool = True, window_size: Any = None) -> Any:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

        flash = types.SimpleNamespace(flash_attn_interface=types.SimpleNamespace(flash_attn_func=attention))
        kernels = types.ModuleType("kernels")
        kernels.get_kernel = lambda *_: flash  # type: ignore[attr-defined]
        prepare = types.ModuleType("prepare")
        tokenizer = types.SimpleNamespace(get_vocab_size=lambda: len(self.data.token_bytes))
        given = {
            "MAX_SEQ_LEN": self.length, "TIME_BUDGET": self.steps - UNTIMED, "make_dataloader": self._loader,
            "Tokenizer": types.SimpleNamespace(from_directory=lambda: tokenizer), "evaluate_bpb": self._evaluate,
        }  # fmt: skip
        for name, value in given.items():
            setattr(prepare, name, value)
        sys.modules |= {"kernels": kernels, "prepare": prepare}

    def _loader(self, _tokenizer: Any, rows: int, _length: int, _split: str) -> Iterator[Any]:
        feed = harness.Feed(_config(self.data, self.device, self.rows), rows_for(self.data, self.clock))
        while True:
            yield (*feed.next(rows), 1)  # type: ignore[misc]

    def _evaluate(self, model: Any, _tokenizer: Any, _rows: int) -> float:
        self.clock.stop()
        plain = getattr(model, "_orig_mod", model)
        self.bpb = bits(plain, self.data, self.device)
        return self.bpb

    def forget(self) -> None:
        for name in ("model", "optimizer", "x", "y", "loss", "train_loss", "train_loader"):
            self.space.pop(name, None)


# ---- our seed --------------------------------------------------------------------------------------------------------


def _config(data: Dataset, device: str, rows: int) -> dict[str, Any]:
    track = tracks.TRACKS["nanochat/30s" if device == "cuda" else "nanochat/cpu"]
    config = tracks.config(track, 0)
    return {**config, "sequence_length": data.train.shape[1] - 1, "max_rows": rows, "seconds": None}


class Ours:
    """The seed program, trained on the same rows in this process."""

    def __init__(self, data: Dataset, rows: int, steps: int, device: str) -> None:
        path = Path(__file__).resolve().parents[2] / "tasks" / "nanochat_autoresearch" / "seed" / "train.py"
        spec = importlib.util.spec_from_file_location("seed_program", path)
        assert spec is not None and spec.loader is not None
        self.program = importlib.util.module_from_spec(spec)
        sys.modules["seed_program"] = self.program
        spec.loader.exec_module(self.program)
        self.data, self.rows, self.steps, self.device = data, rows, steps, device
        self.config = _config(data, device, rows)
        setting = self.program.SETTINGS[self.config["track"]]
        if setting.rows != rows:
            raise ValueError(f"the seed's batch has {setting.rows} rows, {rows} were asked for: not the same batch")
        self.clock, self.bpb, self._rehearsed = Clock(device), math.nan, False

    def run(self, seed: int) -> None:
        if not self._rehearsed:
            self._rehearsed = True
            self.program.train(*harness._rehearsal(self.config, None))
        harness._seed(seed)
        self.clock = Clock(self.device)
        feed = harness.Feed(self.config, rows_for(self.data, self.clock))
        budget = harness.Budget(feed, None, self.steps * self.rows * (self.data.train.shape[1] - 1), 0.0)
        model = self.program.train(feed, budget)
        self.clock.stop()
        self.bpb = bits(model.eval(), self.data, self.device)

    def forget(self) -> None:
        return None


# ---- pairs -----------------------------------------------------------------------------------------------------------


def once(name: str, trainer: Ours | Upstream, block: int, facts: dict[str, Any]) -> dict[str, Any]:
    """One run as a line, whatever becomes of it."""
    import torch

    began = time.monotonic()
    seed = common.seed_of(block)
    line: dict[str, Any] = {"what": "parity", "trainer": name, "block": block, "seed": seed, "failure": None, **facts}
    try:
        if trainer.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer.run(seed)
        seconds = trainer.clock.ended - trainer.clock.began
        timed = (trainer.steps - UNTIMED) * trainer.rows * (trainer.data.train.shape[1] - 1)
        peak = torch.cuda.max_memory_allocated() / (1 << 20) if trainer.device == "cuda" else 0.0
        line |= {"bpb": trainer.bpb, "steps": trainer.steps, "rows": trainer.rows, "timed_tokens": timed, "seconds": round(seconds, 4),
                 "rate": timed / seconds, "peak_mb": round(peak, 1)}  # fmt: skip
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one failing run never ends a sitting
        line |= {"failure": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-3000:]}
    finally:
        trainer.forget()
        gc.unfreeze()
        gc.enable()
        gc.collect()
        if trainer.device == "cuda":
            torch.cuda.empty_cache()
    return {**line, "wall": round(time.monotonic() - began, 2), "time": round(time.time())}


def verdict(lines: list[dict[str, Any]]) -> str:
    """Our bpb and tokens a second relative to upstream's, paired, with 95% t intervals."""
    good = {(line["trainer"], line["block"]): line for line in lines if line["failure"] is None}
    blocks = sorted(b for name, b in good if name == "ours" and ("upstream", b) in good)
    if len(blocks) < 2:
        return f"{len(blocks)} whole pairs: no interval yet"
    out = [f"{len(blocks)} pairs"]
    for key, goal in (("bpb", "inside 2%"), ("rate", "at least -2%")):
        found = [100 * (good["ours", b][key] / good["upstream", b][key] - 1) for b in blocks]
        mean = st.mean(found)
        half = st.t_quantile(0.975, len(found) - 1) * math.sqrt(st.variance(found) / len(found))
        means = [st.mean([good[name, b][key] for b in blocks]) for name in ("ours", "upstream")]
        out.append(
            f"{key}: ours {means[0]:.6g}, upstream {means[1]:.6g}: {mean:+.2f}% [{mean - half:+.2f}, {mean + half:+.2f}] (goal {goal})"
        )
    return "\n".join(out)


def prepared(options: argparse.Namespace) -> tuple[str, Dataset, int, int]:
    """(device, rows, rows of a batch, steps) of a run, the GPU's attention kernel chosen; few and small ones with --dry."""
    if options.dry:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import torch

    if options.dry:
        from evolve.evaluators.training import data as packed

        torch.set_num_threads(1)
        return "cpu", packed.load(tracks.TRACKS["nanochat/cpu"], None, cache=options.work / "data"), 8, 16
    torch.backends.cuda.enable_cudnn_sdp(True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    return "cuda", common.unpacked(options.data, options.work), 64, options.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", default=os.environ.get("OUT", "."))
    parser.add_argument("--work", type=Path, default=Path("/tmp/evolve-training"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--have", action="append", default=[])
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    device, data, rows, steps = prepared(options)
    import torch

    raw = Path(options.out) / "parity.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    lines = common.read([*options.have, raw])
    card = torch.cuda.get_device_properties(0) if device == "cuda" else None
    facts = {"upstream": hashlib.sha256(options.upstream.read_bytes()).hexdigest(), "data": data.digest, "machine": machine(),
             "versions": common.versions(), "source": common.digest("30s", "seed"), "card": str(getattr(card, "uuid", "cpu"))}  # fmt: skip
    trainers = {
        "ours": Ours(data, rows, steps, device),
        "upstream": Upstream(options.upstream, data, rows, steps, device),
    }
    done = {(line["trainer"], line["block"]) for line in lines if line["failure"] is None}
    took = {"ours": 60.0, "upstream": 90.0}
    for block in range(options.pairs):
        for name in sorted(trainers, reverse=bool(block % 2)):
            if (name, block) in done:
                continue
            if time.monotonic() - began + took[name] > options.budget:
                print(f"stops before {name} of block {block}: it would not fit")
                break
            line = once(name, trainers[name], block, facts)
            took[name] = 1.2 * line["wall"] if block == 0 else line["wall"]
            lines.append(line)
            with open(raw, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            shown = line["failure"] or f"bpb {line['bpb']:.5f}  {line['rate'] / 1e6:.4f}M tokens/s"
            print(f"parity {name:9} block {block} {line['wall']:6.1f} s  {shown}", flush=True)
    print(verdict(lines), flush=True)


if __name__ == "__main__":
    main()
