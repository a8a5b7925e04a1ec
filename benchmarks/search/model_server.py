"""The scripted model as a server on loopback that speaks the OpenAI chat-completions protocol (proposer.py answers).

Each call is logged as [number, class, parent, child, tokens in, tokens out]: classes of proposer.RATES, "other" for a prompt
without a current program; six hex digits of the programs' SHA-256. A token is four characters. Call k of a run of seed s
draws from the stream (s, k), whoever asks.

With a tuner, an answer that is better than all before it is handed to a numeric optimiser before it is sent, so that every tool
gets the same one; each of its trials is charged to the tool as an evaluation (`trials`).
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import proposer

TRIALS = 15
"""Trials of the tuner on one answer."""

KNOBS = 8
"""Numbers that it moves, as many as this tool's own tuner takes."""


class ScriptedModel:
    """Answers and counts. log: one row a call; times: when each was answered (time.time()); made: the last one's program; trials: the
    tuner's until now; trial_times: (time, trials) of each answer that was tuned."""

    def __init__(self, task: str, seed: int, latency: float = 0.0, tuner: bool = False) -> None:
        self.task, self.seed, self.latency, self.tuner = task, seed, latency, tuner
        self.trials, self.trial_times, self._best = 0, list[tuple[float, int]](), float("-inf")
        self.log: list[list[Any]] = []
        self.times: list[float] = []
        self.embeddings = 0
        self._lock = threading.Lock()
        self._calls = 0
        self.made = ""

    def answer(self, messages: list[dict[str, str]]) -> tuple[str, int, int]:
        """Text, tokens in, tokens out."""
        with self._lock:
            self._calls += 1
            number = self._calls
        made = proposer.propose(messages, self.task, random.Random(f"{self.seed}/{number}"))
        if self.tuner and made and made.program:
            made = self._tuned(messages, made, random.Random(f"{self.seed}/{number}/tuner"))
        text = made.text if made else "Nothing to add to what is said above."
        into, out = sum(len(m["content"]) for m in messages) // 4, len(text) // 4
        parent = proposer.parent_of(messages) or ""
        row = [number, made.kind if made else "other", _short(parent), _short(made.program if made else ""), into, out]
        if self.latency:
            time.sleep(self.latency)
        with self._lock:
            self.log.append(row)
            self.times.append(time.time())
            self.made = made.program if made else ""
        return text, into, out

    def _tuned(self, messages: list[dict[str, str]], made: proposer.Proposed, rng: random.Random) -> proposer.Proposed:
        """The answer as it is, or, where it beats all before, as the tuner leaves it."""
        score = proposer.scorer(self.task)
        try:
            table = proposer.table_of(made.program)
            value = score(table)
        except ValueError:
            return made
        with self._lock:
            if value <= self._best or proposer.DOMAINS[self.task].signs:
                return made
            self._best = value
        found, best, trials = tuned(table, value, self.task, rng)
        with self._lock:
            self._best = max(self._best, best)
            self.trials += trials
            self.trial_times.append((time.time(), trials))
        program = proposer.parent_of(messages) or ""
        if found == table:
            return made
        old, new = proposer.spelled(program, proposer.table_of(program), found)
        text = proposer.answer(program, old, new, proposer.form_of(messages), True)
        return proposer.Proposed(text, made.kind, program.replace(old, new, 1))

    def embed(self, text: str) -> list[float]:
        """A unit vector drawn from the text's hash: equal texts are equal, others are far apart."""
        rng = random.Random(hashlib.sha256(text.encode()).digest())
        values = [rng.gauss(0, 1) for _ in range(64)]
        size = sum(v * v for v in values) ** 0.5
        with self._lock:
            self.embeddings += 1
        return [v / size for v in values]


def tuned(table: proposer.Table, value: float, task: str, rng: random.Random) -> tuple[proposer.Table, float, int]:
    """COBYQA on KNOBS numbers of a table, TRIALS evaluations: the best table, its score, and how many trials it took."""
    from scipy.optimize import minimize

    domain, score = proposer.DOMAINS[task], proposer.scorer(task)
    places = [(r, c) for r, row in enumerate(table) for c in range(len(row))]
    chosen = rng.sample(places, min(KNOBS, len(places)))
    best, top, trials = table, value, 0

    def loss(x: Any) -> float:
        nonlocal best, top, trials
        trials += 1
        new = [list(row) for row in table]
        for (r, c), v in zip(chosen, x, strict=True):
            new[r][c] = round(min(max(float(v), domain.low), domain.high), 6)
        try:
            found = score(new)
        except ValueError:
            return -value + abs(value)  # worse than where it began, and finite
        if found > top:
            best, top = new, found
        return -found

    start = [table[r][c] for r, c in chosen]
    step = 0.02 * (domain.high - domain.low)
    minimize(loss, start, method="COBYQA", bounds=[(domain.low, domain.high)] * len(start),
             options={"maxfev": TRIALS, "initial_tr_radius": step})  # fmt: skip
    return best, top, trials


def _short(program: str) -> str:
    return hashlib.sha256(program.encode()).hexdigest()[:6] if program else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        return None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/embeddings"):
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            data = [
                {"object": "embedding", "index": i, "embedding": self.server.model.embed(t)}
                for i, t in enumerate(texts)
            ]
            self._json(
                {
                    "object": "list",
                    "data": data,
                    "model": body["model"],
                    "usage": {"prompt_tokens": 0, "total_tokens": 0},
                }
            )
            return
        messages = [{"role": m["role"], "content": _text(m.get("content"))} for m in body["messages"]]
        text, into, out = self.server.model.answer(messages)
        usage = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
        head = {"id": "c", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            self._json(head | {"object": "chat.completion", "choices": [choice], "usage": usage})
            return
        kind = {"object": "chat.completion.chunk"}
        delta = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        chunks = [
            head | kind | {"choices": [delta]},
            head | kind | {"choices": [stop]},
            head | kind | {"choices": [], "usage": usage},
        ]
        lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self._send("text/event-stream", lines.encode())

    def _json(self, document: dict[str, Any]) -> None:
        self._send("application/json", json.dumps(document).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)


class Serving:
    """`with Serving(model) as url:` serves it under url ("http://127.0.0.1:PORT/v1")."""

    def __init__(self, model: ScriptedModel) -> None:
        self._server = _Server(model)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
