"""The application: pages are one static shell, and each page's data is its address with `.json` at the end.

    /                        runs                    /index.json
    /r/<run>                 a run                   /r/<run>.json
    /r/<run>/lineage         the graph               /r/<run>/lineage.json        columns (evolve.web.columns)
    /r/<run>/islands         islands                 /r/<run>/islands.json
    /r/<run>/cells           MAP-Elites cells        /r/<run>/cells.json          ?x= &y= &task=
    /r/<run>/pareto          two metrics             /r/<run>/pareto.json         ?x= &y= &task=
    /r/<run>/table           candidates              /r/<run>/table.json, .csv, .parquet   ?q= &sort= &status= ...
    /r/<run>/c/<candidate>   one candidate           /r/<run>/c/<candidate>.json
    /r/<run>/compare/<a>/<b> two                     /r/<run>/compare/<a>/<b>.json
    /r/<run>/diff.json       ?from= &to= &context=   /r/<run>/artifact.json       ?event= &name=
    /r/<run>/find.json       ?q=                     /r/<run>/events              server-sent events
    /r/<run>/act             POST, only with actions allowed
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from evolve.errors import EvolveError, UsageError
from evolve.web import actions, columns, details, pages, tables
from evolve.web.difference import difference
from evolve.web.guard import Guard
from evolve.web.runs import Batch, Live, Runs

STATIC = Path(__file__).parent / "static"
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that tunnels stay open and dead clients are noticed."""

PATIENCE = 0.5
"""Seconds an idle stream takes at most to notice that the server ends."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


class Site:
    """Handlers over the runs of one archive."""

    def __init__(self, runs: Runs, *, allow_actions: bool = False, ending: Callable[[], bool] = lambda: False) -> None:
        self.runs, self.allow_actions, self.ending = runs, allow_actions, ending
        self._lineage: dict[str, tuple[int, bytes]] = {}

    # ---- plumbing ------------------------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        data: list[tuple[str, Callable[[Request], Any]]] = [
            ("/index.json", self.index),
            ("/r/{run}.json", self.run),
            ("/r/{run}/islands.json", self.islands),
            ("/r/{run}/cells.json", self.cells),
            ("/r/{run}/pareto.json", self.pareto),
            ("/r/{run}/table.json", self.table),
            ("/r/{run}/find.json", self.find),
            ("/r/{run}/diff.json", self.diff),
            ("/r/{run}/artifact.json", self.artifact),
            ("/r/{run}/c/{candidate}.json", self.candidate),
            ("/r/{run}/compare/{a}/{b}.json", self.compare),
        ]
        return [
            *(Route(path, self._json(handler)) for path, handler in data),
            Route("/r/{run}/lineage.json", self.lineage),
            Route("/r/{run}/table.csv", self.table_csv),
            Route("/r/{run}/table.jsonl", self.table_jsonl),
            Route("/r/{run}/table.parquet", self.table_parquet),
            Route("/r/{run}/events", self.events),
            Route("/r/{run}/act", self.act, methods=["POST"]),
            Route("/static/{name}", self.static),
            *(Route(path, self.shell) for path in _PAGES),
        ]

    def _json(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                value = await run_in_threadpool(handler, request)
            except EvolveError as error:
                return refusal(error)
            return _packed(request, encode(value))

        return answer

    def _live(self, request: Request) -> Live:
        return self.runs.get(request.path_params["run"])

    # ---- pages ---------------------------------------------------------------------------------------------------

    async def shell(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html", headers={"cache-control": "no-cache"})

    async def static(self, request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        if path.parent != STATIC or not path.is_file():
            return JSONResponse({"error": "no such file"}, 404)
        kind = _TYPES.get(path.suffix, "application/octet-stream")
        return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})

    def index(self, request: Request) -> Any:
        found = {name: self.runs.get(name) for name in self.runs.names()}
        return pages.runs(found, self.allow_actions)

    def run(self, request: Request) -> Any:
        live = self._live(request)
        with live.lock:
            return {**pages.run(live), "actions": self.allow_actions}

    def islands(self, request: Request) -> Any:
        live = self._live(request)
        with live.lock:
            return pages.islands(live)

    def cells(self, request: Request) -> Any:
        live = self._live(request)
        query = request.query_params
        with live.lock:
            return pages.cells(live, _task(live, query), query.get("x", ""), query.get("y", ""))

    def pareto(self, request: Request) -> Any:
        live = self._live(request)
        query = request.query_params
        with live.lock:
            return pages.pareto(live, _task(live, query), query.get("x", ""), query.get("y", ""))

    def table(self, request: Request) -> Any:
        live = self._live(request)
        with live.lock:
            return tables.page(live, request.query_params)

    def find(self, request: Request) -> Any:
        """At most 20 candidates for the words of `q`: by number or commit first, then by text."""
        live = self._live(request)
        words = request.query_params.get("q", "").strip()
        with live.lock:
            exact = []
            try:
                exact = [details.find(live, words)] if words else []
            except UsageError:
                pass
            rest = tables.matching(live, {"q": words, "sort": "-fitness"}) if len(words) > 1 else []
            found = {c.commit: c for c in [*exact, *rest[:20]]}
            return {"rows": [{**pages.line(live, c), "i": live.place[c.commit]} for c in list(found.values())[:20]]}

    def candidate(self, request: Request) -> Any:
        live = self._live(request)
        with self.runs.reading, live.lock:
            c = details.find(live, request.path_params["candidate"])
            return {**details.candidate(live, c, self.runs.archive), "actions": self.allow_actions}

    def compare(self, request: Request) -> Any:
        live = self._live(request)
        with self.runs.reading, live.lock:
            a, b = (details.find(live, request.path_params[name]) for name in "ab")
            both = [details.candidate(live, c, self.runs.archive) for c in (a, b)]
            return {"a": both[0], "b": both[1], "diff": difference(self.runs.archive.store, a.commit, b.commit)}

    def diff(self, request: Request) -> Any:
        """From `from` ("parent", "base" or any candidate) to `to`; `context` lines around each change."""
        live = self._live(request)
        query = request.query_params
        with self.runs.reading, live.lock:
            after = details.find(live, query.get("to", "best"))
            wanted = query.get("from", "parent")
            if wanted == "parent":
                before = after.parents[0] if after.parents else after.commit
                known = live.state.candidates.get(before)
            else:
                known = details.find(live, wanted)
                before = known.commit
            context = query.get("context", "3")
            lines = min(int(context), 100_000) if context.isdigit() and len(context) < 7 else 3
            name = f"#{known.number}" if known else before[:12]
            return {
                "from": name,
                "to": f"#{after.number}",
                **difference(self.runs.archive.store, before, after.commit, lines),
            }

    def artifact(self, request: Request) -> Any:
        live = self._live(request)
        query = request.query_params
        with self.runs.reading:
            return details.artifact(self.runs.archive, live, query.get("event", ""), query.get("name", ""))

    # ---- what is not a small JSON --------------------------------------------------------------------------------

    async def lineage(self, request: Request) -> Response:
        try:
            body = await run_in_threadpool(self._columns, request)
        except EvolveError as error:
            return refusal(error)
        return _packed(request, body, ready=True)

    def _columns(self, request: Request) -> bytes:
        """Compressed, and kept until the run changes."""
        live = self._live(request)
        with live.lock:
            known = self._lineage.get(live.run)
            if known and known[0] == live.version:
                return known[1]
            value, version = columns.lineage(live), live.version
        body = gzip.compress(encode(value), 1)
        self._lineage[live.run] = (version, body)
        return body

    async def table_csv(self, request: Request) -> Response:
        return await self._download(request, "text/csv", "csv", lambda live, q: "".join(tables.csv_lines(live, q)).encode())

    async def table_jsonl(self, request: Request) -> Response:
        def rows(live: Live, query: Any) -> bytes:
            return b"".join(encode(pages.line(live, c)) + b"\n" for c in tables.matching(live, query))

        return await self._download(request, "application/jsonl", "jsonl", rows)

    async def table_parquet(self, request: Request) -> Response:
        return await self._download(request, "application/vnd.apache.parquet", "parquet", tables.parquet)

    async def _download(
        self, request: Request, kind: str, ending: str, make: Callable[[Live, Any], bytes]
    ) -> Response:
        def work() -> bytes:
            live = self._live(request)
            with live.lock:
                return make(live, request.query_params)

        try:
            body = await run_in_threadpool(work)
        except EvolveError as error:
            return refusal(error)
        name = f"{request.path_params['run']}.{ending}"
        return Response(body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})

    async def act(self, request: Request) -> Response:
        if not self.allow_actions:
            return JSONResponse({"error": "read-only: start 'evolve ui --allow-actions' to act from the browser"}, 403)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "send JSON"}, 415)
        raw = await request.body()
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise ValueError
        except ValueError:
            return JSONResponse({"error": "not a JSON object"}, 400)

        def work() -> str:
            live = self._live(request)
            with self.runs.reading:
                return actions.act(self.runs.archive, live, body).kind

        try:
            return JSONResponse({"done": await run_in_threadpool(work)})
        except EvolveError as error:
            return refusal(error)

    # ---- live ----------------------------------------------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        """Batches as they come. An event's id says how far its reader is; Last-Event-ID takes up from there."""
        try:
            live = await run_in_threadpool(self._live, request)
        except EvolveError as error:
            return refusal(error)
        seen = _position(request.headers.get("last-event-id", "") or request.query_params.get("after", ""))
        stream = _stream(live, seen, self.ending)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


_PAGES = (
    "/", "/r/{run}", "/r/{run}/lineage", "/r/{run}/islands", "/r/{run}/cells", "/r/{run}/pareto", "/r/{run}/table",
    "/r/{run}/c/{candidate}", "/r/{run}/compare/{a}/{b}",
)  # fmt: skip


def _task(live: Live, query: Mapping[str, str]) -> str:
    task = query.get("task") or next(iter(live.tasks), "")
    if task not in live.tasks:
        raise UsageError(f"run {live.run!r} has no task {task!r}; it has: {', '.join(live.tasks) or 'none yet'}")
    return task


async def _stream(live: Live, seen: dict[str, int] | None, ending: Callable[[], bool]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Batch] = asyncio.Queue()

    def hear(batch: Batch) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, batch)

    forget = live.listen(hear)
    try:
        yield b"retry: 1000\n\n"
        if seen is not None and (missed := await run_in_threadpool(live.since, seen)) is not None:
            yield _message(missed)
        silent = 0.0
        while not ending():
            try:
                batch = await asyncio.wait_for(queue.get(), PATIENCE)
            except TimeoutError:
                silent += PATIENCE
                if silent >= HEARTBEAT:
                    silent = 0.0
                    yield b": still here\n\n"
                continue
            silent = 0.0
            yield _message(batch)
    finally:
        forget()


def _message(batch: Batch) -> bytes:
    position = json.dumps(batch["seen"], separators=(",", ":"))
    return b"id: " + position.encode() + b"\nevent: batch\ndata: " + encode(batch) + b"\n\n"


def _position(text: str) -> dict[str, int] | None:
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    if isinstance(found, dict) and all(isinstance(v, int) and v >= 0 for v in found.values()):
        return found
    return None


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def refusal(error: EvolveError) -> Response:
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, UsageError) else 500)


def _packed(request: Request, body: bytes, *, ready: bool = False) -> Response:
    """JSON, compressed where the browser takes it; `ready`: it is already."""
    takes = "gzip" in request.headers.get("accept-encoding", "")
    headers = {}
    if ready and not takes:
        body = gzip.decompress(body)
    elif takes and (ready or len(body) > 2048):
        body = body if ready else gzip.compress(body, 1)
        headers["content-encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


def make(
    runs: Runs, token: str, port: int, *, allow_actions: bool = False, hosts: Iterable[str] = (),
    ending: Callable[[], bool] = lambda: False,
) -> Guard:  # fmt: skip
    """The whole application behind its guard; closes `runs` when the server ends. `ending`: whether it is about to."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(runs.close)

    site = Site(runs, allow_actions=allow_actions, ending=ending)
    return Guard(Starlette(routes=site.routes(), lifespan=lifespan), token, port, hosts)
