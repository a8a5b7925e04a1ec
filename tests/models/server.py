"""A loopback server that speaks the real wire formats and misbehaves on request.

Anthropic Messages (plain, streamed, batches, count_tokens), OpenAI chat completions and Responses (streamed), Gemini
generateContent (streamed). What it says is decided by a function of what was really sent; how it fails by a queue of
`Fault`s, one a request.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One request as it arrived. text: all text of the prompt in reading order. tools: names offered."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    text: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """What the model says: text, then calls of (tool name, arguments). stop: the stop reason, in Anthropic's words."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    stop: str = ""
    cached: int = 0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. status: an error status. cut: end the stream after that many events.
    hang: go silent for ever after that many events. latency: seconds before the first byte. error: an error event in the stream.
    reset: close the connection without a byte."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "planted"
    cut: int | None = None
    hang: int | None = None
    latency: float = 0.0
    error: str = ""
    reset: bool = False


class Bench:
    """`with Bench(brain) as bench:` then bench.url; bench.sent is what arrived."""

    def __init__(self, brain: Callable[[Sent], Said | str] = lambda sent: "ok", faults: Sequence[Fault] = ()) -> None:
        self.brain, self.faults = brain, list(faults)
        self.sent: list[Sent] = []
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.batch_polls = 0
        self.batch_ready_after = 1
        self.closed = threading.Event()
        self._lock = threading.Lock()
        bench = self

        class Handler(_Handler):
            owner = bench

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def next_fault(self) -> Fault:
        with self._lock:
            return self.faults.pop(0) if self.faults else Fault()

    def __enter__(self) -> Bench:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


_COUNT = itertools.count(1)


def _texts(value: Any) -> list[str]:
    """Every text in a message's content, whatever its shape."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [
            text
            for key in ("text", "content", "output", "parts", "input_text")
            if key in value
            for text in _texts(value[key])
        ]
    return []


class _Handler(BaseHTTPRequestHandler):
    owner: Bench
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    # ---- requests ------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/v1/messages/batches/"):
            self._batch(path.removeprefix("/v1/messages/batches/"))
        elif path.endswith("/models"):
            self._json({"object": "list", "data": [{"id": "loop", "object": "model"}], "models": []})
        else:
            self._json({})

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        path = self.path.split("?")[0]
        prompt = [
            body.get(key) for key in ("system", "instructions", "systemInstruction", "messages", "input", "contents")
        ]
        tools = tuple(
            str(t.get("name") or (t.get("function") or {}).get("name") or t.get("type"))
            for t in body.get("tools") or ()
        )
        sent = Sent(path, dict(self.headers.items()), body, "\n".join(_texts([p for p in prompt if p])), tools)
        if path == "/v1/messages/batches":
            return self._new_batch(sent)
        if path.endswith("/count_tokens"):
            return self._json({"input_tokens": len(raw) // 4})
        fault = self.owner.next_fault()
        self.owner.sent.append(sent)
        if fault.latency:
            time.sleep(fault.latency)
        if fault.reset:
            self.close_connection = True
            self.connection.close()
            return None
        if fault.status:
            kind = {429: "rate_limit_error", 529: "overloaded_error", 500: "api_error"}.get(
                fault.status, "invalid_request_error"
            )
            error = {"type": "error", "error": {"type": kind, "message": fault.message, "code": kind}}
            return self._json(error, fault.status, fault.headers)
        said = self.owner.brain(sent)
        said = Said(said) if isinstance(said, str) else said
        if path.endswith("/v1/messages"):
            return self._answer(anthropic_events(sent, said, fault), anthropic_message(sent, said), fault, sent)
        if path.endswith("/chat/completions"):
            return self._answer(openai_events(sent, said), openai_message(sent, said), fault, sent)
        if path.endswith("/responses"):
            return self._answer(responses_events(said), {}, fault, sent)
        if "generateContent" in path.lower() or "streamgeneratecontent" in path.lower():
            return self._answer(
                gemini_events(said), gemini_message(said), fault, sent, always=path.endswith("streamGenerateContent")
            )
        return self._json({})

    # ---- replies -------------------------------------------------------------------------------------------------

    def _json(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _answer(
        self, events: Sequence[tuple[str, Any]], whole: Any, fault: Fault, sent: Sent, always: bool = False
    ) -> None:
        if not (sent.body.get("stream") or always):
            return self._json(whole)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, (name, data) in enumerate(events):
            if fault.cut is not None and number >= fault.cut:
                self.close_connection = True
                self.connection.close()
                return None
            if fault.hang is not None and number >= fault.hang:
                self.owner.closed.wait(60)
                self.close_connection = True
                return None
            text = (
                f"event: {name}\n" if name else ""
            ) + f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
            self._chunk(text.encode())
        self._chunk(b"")
        return None

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    # ---- batches -------------------------------------------------------------------------------------------------

    def _new_batch(self, sent: Sent) -> None:
        fault = self.owner.next_fault()
        if fault.status:
            return self._json(
                {"type": "error", "error": {"type": "x", "message": fault.message}}, fault.status, fault.headers
            )
        name = f"msgbatch_{next(_COUNT)}"
        self.owner.batches[name] = list(sent.body["requests"])
        self.owner.sent.append(sent)
        return self._json(self._batch_body(name, False))

    def _batch_body(self, name: str, ended: bool) -> dict[str, Any]:
        n = len(self.owner.batches[name])
        counts = {
            "processing": 0 if ended else n,
            "succeeded": n if ended else 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        }
        return {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else "in_progress", "request_counts": counts,
            "ended_at": None, "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z", "archived_at": None,
            "cancel_initiated_at": None, "results_url": f"{self.owner.url}/v1/messages/batches/{name}/results" if ended else None,
        }  # fmt: skip

    def _batch(self, rest: str) -> None:
        name, _, results = rest.partition("/")
        if name not in self.owner.batches:
            return self._json({"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}, 404)
        if not results:
            self.owner.batch_polls += 1
            return self._json(self._batch_body(name, self.owner.batch_polls > self.owner.batch_ready_after))
        lines = []
        for request in self.owner.batches[name]:
            params = request["params"]
            text = "\n".join(_texts([params.get("system"), params["messages"]]))
            sent = Sent("/v1/messages", {}, params, text, ())
            said = self.owner.brain(sent)
            said = Said(said) if isinstance(said, str) else said
            result = (
                {"type": "succeeded", "message": anthropic_message(sent, said)}
                if said.stop != "errored"
                else {
                    "type": "errored",
                    "error": {"type": "error", "error": {"type": "api_error", "message": "planted"}},
                }
            )
            lines.append(json.dumps({"custom_id": request["custom_id"], "result": result}))
        data = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("content-type", "application/x-jsonl")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None


# ---- Anthropic -------------------------------------------------------------------------------------------------------


def _usage(sent: Sent, said: Said) -> dict[str, int]:
    return {
        "input_tokens": max(len(sent.text) // 4 - said.cached, 1), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": said.cached, "output_tokens": len(said.text) // 4 + 1,
    }  # fmt: skip


def anthropic_message(sent: Sent, said: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
    content += [{"type": "tool_use", "id": f"toolu_{next(_COUNT)}", "name": n, "input": dict(i)} for n, i in said.calls]
    stop = said.stop or ("tool_use" if said.calls else "end_turn")
    return {
        "id": f"msg_{next(_COUNT)}", "type": "message", "role": "assistant", "model": sent.body.get("model", ""), "content": content,
        "stop_reason": stop, "stop_sequence": None, "usage": _usage(sent, said),
    }  # fmt: skip


def anthropic_events(sent: Sent, said: Said, fault: Fault) -> list[tuple[str, Any]]:
    message = anthropic_message(sent, said)
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[tuple[str, Any]] = [("message_start", {"message": start}), ("ping", {})]
    if fault.error:
        return [*events, ("error", {"type": "error", "error": {"type": fault.error, "message": "planted"}})]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            events.append(("content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}}))
            for piece in _pieces(block["text"]):
                events.append(("content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": piece}}))
        else:
            events.append(("content_block_start", {"index": index, "content_block": block | {"input": {}}}))
            for piece in _pieces(json.dumps(block["input"])):
                events.append(
                    (
                        "content_block_delta",
                        {"index": index, "delta": {"type": "input_json_delta", "partial_json": piece}},
                    )
                )
        events.append(("content_block_stop", {"index": index}))
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append(("message_delta", {"delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}))
    events.append(("message_stop", {}))
    return [(name, {"type": name} | data) for name, data in events]


def _pieces(text: str, size: int = 40) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)] or [""]


# ---- OpenAI ----------------------------------------------------------------------------------------------------------

_STOPS = {"refusal": "content_filter", "max_tokens": "length"}


def _tool_calls(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "index": i,
            "id": f"call_{next(_COUNT)}",
            "type": "function",
            "function": {"name": n, "arguments": json.dumps(dict(a))},
        }
        for i, (n, a) in enumerate(said.calls)
    ]


def _chat_usage(sent: Sent, said: Said) -> dict[str, Any]:
    into, out = len(sent.text) // 4 + 1, len(said.text) // 4 + 1
    return {
        "prompt_tokens": into,
        "completion_tokens": out,
        "total_tokens": into + out,
        "prompt_tokens_details": {"cached_tokens": said.cached},
    }


def openai_message(sent: Sent, said: Said) -> dict[str, Any]:
    message = {"role": "assistant", "content": said.text, "tool_calls": _tool_calls(said) or None}
    finish = _STOPS.get(said.stop, "tool_calls" if said.calls else "stop")
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "loop", "usage": _chat_usage(sent, said),
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }  # fmt: skip


def openai_events(sent: Sent, said: Said) -> list[tuple[str, Any]]:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "loop"}

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> tuple[str, Any]:
        return "", base | {"choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}]}

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": piece}) for piece in _pieces(said.text)] if said.text else []
    events += [chunk({"tool_calls": [call]}) for call in _tool_calls(said)]
    events.append(chunk({}, _STOPS.get(said.stop, "tool_calls" if said.calls else "stop")))
    events.append(("", base | {"choices": [], "usage": _chat_usage(sent, said)}))
    events.append(("", "[DONE]"))
    return events


def responses_events(said: Said) -> list[tuple[str, Any]]:
    """The Responses API as a stream, of which its clients need the finished items and the end."""
    identity = f"resp_{next(_COUNT)}"
    output: list[dict[str, Any]] = []
    if said.text:
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        output.append(
            {
                "type": "message",
                "id": f"msg_{next(_COUNT)}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    for name, arguments in said.calls:
        item: dict[str, Any] = {
            "id": f"fc_{next(_COUNT)}",
            "call_id": f"call_{next(_COUNT)}",
            "name": name,
            "status": "completed",
        }
        if "input" in arguments and len(arguments) == 1:
            output.append(item | {"type": "custom_tool_call", "input": arguments["input"]})
        else:
            output.append(item | {"type": "function_call", "arguments": json.dumps(dict(arguments))})
    events: list[tuple[str, Any]] = [
        ("response.created", {"response": {"id": identity, "status": "in_progress", "output": []}})
    ]
    for index, item in enumerate(output):
        events.append(("response.output_item.added", {"output_index": index, "item": item}))
        if item["type"] == "message":
            events.append(
                (
                    "response.output_text.delta",
                    {"item_id": item["id"], "output_index": index, "content_index": 0, "delta": said.text},
                )
            )
        events.append(("response.output_item.done", {"output_index": index, "item": item}))
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20,
    }
    events.append(
        ("response.completed", {"response": {"id": identity, "status": "completed", "output": output, "usage": usage}})
    )
    return [(name, {"type": name} | data) for name, data in events]


# ---- Gemini ----------------------------------------------------------------------------------------------------------


def gemini_message(said: Said) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": said.text}] if said.text else []
    parts += [{"functionCall": {"name": name, "args": dict(arguments)}} for name, arguments in said.calls]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "loop"}


def gemini_events(said: Said) -> list[tuple[str, Any]]:
    return [("", gemini_message(said))]
