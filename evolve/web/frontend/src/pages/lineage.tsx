import { useEffect, useRef, useState } from "preact/hooks";
import { clock, count, interval, num, span, worth } from "../format";
import { download, Loading, Problem, Status } from "../parts";
import { pageKeys } from "../keys";
import * as palette from "../lineage/palette";
import { Stage, type Shown } from "../lineage/stage";
import type { Mode } from "../lineage/tiles";
import type { Axis, Filter } from "../lineage/worker";
import { announcement, batch, fetchJson, go, href, query, setQuery, theme } from "../state";
import type { Columns, Line, Metric, Row } from "../types";

const MODES: [Mode, string][] = [["fitness", "Fitness"], ["standing", "Verdict"], ["island", "Island"], ["operator", "Operator"], ["model", "Model"]];

declare global {
  interface Window { evolveStage?: Stage }
}

export function LineagePage({ run }: { run: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const stage = useRef<Stage | null>(null);
  const loaded = useRef<Columns | null>(null);
  const waiting = useRef<Map<number, Row>>(new Map());
  const [error, setError] = useState("");
  const [shown, setShown] = useState<Shown | null>(null);
  const [hover, setHover] = useState<{ i: number; x: number; y: number } | null>(null);
  const [, repaint] = useState(0);
  const q = query.value;
  const mode = (MODES.find(([name]) => name === q.get("colour"))?.[0] ?? "fitness") as Mode;
  const axis: Axis = q.get("y") === "fitness" ? "fitness" : "lanes";
  const at = q.get("at");
  const filter = filterOf(q);
  const filterKey = JSON.stringify(filter);
  const task = q.get("task") ?? "";

  useEffect(() => {
    let live = true;
    setError("");
    fetchJson<Columns>(href(run, "lineage") + ".json").then((columns) => {
      if (!live || !canvas.current) return;
      loaded.current = columns;
      const paths = pathOf(columns, task);
      const made = new Stage(canvas.current, columns, { mode, theme: theme.value }, axis, filterAt(filter, columns), paths, {
        layout: (s) => { setShown(s); choose(made, at, true); }, view: () => repaint((n) => n + 1),
      });
      stage.current = window.evolveStage = made;
      for (const event of waiting.current.values()) if (event[0] >= columns.n) break;
      put([...waiting.current.values()]);
      waiting.current.clear();
    }, (e: Error) => live && setError(e.message));
    return () => {
      live = false;
      stage.current?.close();
      stage.current = null;
      loaded.current = null;
      delete window.evolveStage;
    };
  }, [run]);

  useEffect(() => stage.current?.setStyle({ mode, theme: theme.value }), [mode, theme.value]);
  useEffect(() => { if (stage.current?.ready) stage.current.setAxis(axis); }, [axis]);
  useEffect(() => { if (stage.current && loaded.current) stage.current.setFilter(filterAt(filter, loaded.current)); }, [filterKey]);
  useEffect(() => { if (stage.current?.ready) choose(stage.current, at, true); }, [at]);
  useEffect(() => {
    const current = batch.value;
    if (!current) return;
    if (stage.current) put(current.rows);
    else for (const row of current.rows) waiting.current.set(row[0], row);
  }, [batch.value]);

  const put = (rows: Row[]) => {
    const s = stage.current;
    if (!s || !rows.length) return;
    const best = rows.filter((row) => row[8] & 4).map((row) => row[0]).pop();
    s.put(rows.slice().sort((a, b) => a[0] - b[0]), s.paths);
    if (best !== undefined && (!task || s.graph.tables.task[s.graph.task[best]] === task)) s.paths = s.graph.pathTo(best);
  };

  const choose = (s: Stage, number: string | null, show: boolean) => {
    const i = number === null ? -1 : number === "best" ? s.paths[s.paths.length - 1] ?? -1 : s.graph.find(number === "base" ? 0 : Number(number));
    if (i !== s.selected) s.select(i, show);
  };
  const pick = (i: number) => {
    const s = stage.current;
    if (!s) return;
    s.select(i, false);
    setQuery({ at: i >= 0 ? String(s.graph.number[i]) : "" });
  };
  usePointer(canvas, stage, pick, setHover);

  useEffect(() => {
    const s = () => stage.current;
    const move = (i: number) => {
      const now = s();
      if (now && i >= 0 && i < now.graph.n) setQuery({ at: String(now.graph.number[i]) });
    };
    const from = () => s()?.selected ?? -1;
    const best = () => { const now = s(); if (now?.paths.length) move(now.paths[now.paths.length - 1]); };
    return pageKeys({
      j: () => move(from() + 1), k: () => move(Math.max(from() - 1, 0)), b: best,
      p: () => { const now = s(); if (now && from() >= 0) move(now.graph.parent[from()]); },
      c: () => { const now = s(); if (now && from() >= 0) move(bestChild(now, from())); },
      d: () => { const now = s(); if (now && from() >= 0) go(`${href(run, "c", now.graph.number[from()])}?tab=diff`); },
      Enter: () => { const now = s(); if (now && from() >= 0) go(href(run, "c", now.graph.number[from()])); },
      Escape: () => setQuery({ at: "" }),
      "+": () => zoom(-1), "=": () => zoom(-1), "-": () => zoom(1), "0": fit,
      ArrowLeft: () => shift(120, 0), ArrowRight: () => shift(-120, 0), ArrowUp: () => shift(0, 80), ArrowDown: () => shift(0, -80),
    });
  });
  const zoom = (steps: number) => { const s = stage.current; if (s) { s.camera.zoom(steps, s.camera.width / 2, s.camera.height / 2); s.redraw(); repaint((n) => n + 1); } };
  const fit = () => { const s = stage.current; if (s) { s.camera.fit(); s.redraw(); repaint((n) => n + 1); } };
  const shift = (dx: number, dy: number) => { const s = stage.current; if (s) { s.camera.pan(dx, dy); s.redraw(); } };

  const s = stage.current;
  const metrics = loaded.current?.metrics ?? {};
  const metric = metricOf(s, metrics, s && s.selected >= 0 ? s.selected : 0);
  return (
    <div class="lineage-page">
      {error && <Problem text={error} />}
      <Toolbar stage={s} mode={mode} axis={axis} filter={filter} shown={shown} zoom={zoom} fit={fit} run={run} />
      <div class="stage">
        <canvas ref={canvas} tabIndex={0} aria-label={`Lineage of ${shown?.n ?? 0} candidates. Keys: j and k next and previous, p parent, c best child, b best, Enter opens.`} role="img" />
        {!shown && !error && <div class="stage-wait"><Loading /></div>}
        {hover && s && <Hover stage={s} hover={hover} metric={metricOf(s, metrics, hover.i)} run={run} />}
        {s && s.ready && <Legend stage={s} mode={mode} metric={metric} />}
      </div>
      {s && s.selected >= 0 && s.selected < s.graph.n && <Panel run={run} stage={s} metric={metric} />}
    </div>
  );
}

function bestChild(s: Stage, parent: number): number {
  let best = -1;
  for (let i = parent + 1; i < s.graph.n; i++)
    if (s.graph.parent[i] === parent && (best < 0 || s.weight[i] > s.weight[best] || (s.weight[i] === s.weight[best] && s.graph.fitness[i] > s.graph.fitness[best]))) best = i;
  return best;
}

function metricOf(s: Stage | null, metrics: Record<string, Metric>, i: number): Metric | undefined {
  return s && s.graph.n ? metrics[s.graph.tables.task[s.graph.task[Math.min(i, s.graph.n - 1)]]] : undefined;
}

const pathOf = (columns: Columns, task: string) => columns.paths[task] ?? Object.values(columns.paths)[0] ?? [];

function filterOf(q: URLSearchParams): Filter & { under?: string } {
  const filter: Filter & { under?: string } = {};
  for (const name of ["island", "operator", "status", "standing", "under"] as const) if (q.get(name)) filter[name] = q.get(name) ?? undefined;
  if (q.get("only") === "path") filter.path = true;
  if (q.get("only") === "champions") filter.champions = true;
  if (q.get("least")) filter.least = Number(q.get("least"));
  return filter;
}

/** `least` is given in the metric's own direction; the graph holds fitness. */
function filterAt(filter: Filter & { under?: string }, columns: Columns): Filter {
  const { under, ...rest } = filter;
  if (under !== undefined) rest.descend = columns.number ? columns.number.indexOf(Number(under)) : Number(under);
  const sign = Object.values(columns.metrics)[0]?.sign ?? 1;
  if (rest.least !== undefined) rest.least *= sign;
  return rest;
}

function usePointer(canvas: { current: HTMLCanvasElement | null }, stage: { current: Stage | null }, pick: (i: number) => void, setHover: (h: { i: number; x: number; y: number } | null) => void) {
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const points = new Map<number, { x: number; y: number }>();
    let moved = 0, spread = 0, wheel = 0;
    const place = (event: PointerEvent | WheelEvent) => { const box = element.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
    const down = (event: PointerEvent) => {
      element.setPointerCapture(event.pointerId);
      points.set(event.pointerId, place(event));
      moved = spread = 0;
      setHover(null);
    };
    const move = (event: PointerEvent) => {
      const s = stage.current;
      if (!s) return;
      const now = place(event), before = points.get(event.pointerId);
      if (!before) {
        const i = s.camera.hit(now.x, now.y, s.y);
        if (i !== s.hovered) { s.hovered = i; s.redraw(); setHover(i >= 0 ? { i, ...now } : null); }
        return;
      }
      points.set(event.pointerId, now);
      if (points.size === 2) {
        const [a, b] = [...points.values()];
        const wide = Math.hypot(a.x - b.x, a.y - b.y);
        if (spread && (wide > spread * 1.3 || wide < spread / 1.3)) { s.camera.zoom(wide > spread ? -1 : 1, (a.x + b.x) / 2, (a.y + b.y) / 2); spread = wide; s.redraw(); }
        spread ||= wide;
        moved = 99;
        return;
      }
      moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
      s.camera.pan(now.x - before.x, now.y - before.y);
      s.redraw();
    };
    const up = (event: PointerEvent) => {
      const s = stage.current;
      if (s && points.has(event.pointerId) && moved < 5 && event.type === "pointerup") {
        const now = place(event);
        pick(s.camera.hit(now.x, now.y, s.y));
        element.focus({ preventScroll: true });
      }
      points.delete(event.pointerId);
    };
    const turn = (event: WheelEvent) => {
      const s = stage.current;
      if (!s) return;
      event.preventDefault();
      wheel += event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
      const steps = Math.trunc(wheel / 50);
      if (!steps) return;
      wheel -= steps * 50;
      const now = place(event);
      s.camera.zoom(Math.max(Math.min(steps, 3), -3), now.x, now.y);
      s.hovered = -1;
      setHover(null);
      s.redraw();
    };
    const leave = () => { if (stage.current) { stage.current.hovered = -1; stage.current.redraw(); } setHover(null); };
    const watch = new ResizeObserver(() => stage.current?.resize());
    watch.observe(element);
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("pointerleave", leave);
    element.addEventListener("wheel", turn, { passive: false });
    return () => watch.disconnect();
  }, []);
}

function Toolbar({ stage, mode, axis, filter, shown, zoom, fit, run }: { stage: Stage | null; mode: Mode; axis: Axis; filter: Filter & { under?: string }; shown: Shown | null; zoom: (n: number) => void; fit: () => void; run: string }) {
  const tables = stage?.graph.tables;
  const choice = (name: "island" | "operator" | "status" | "standing", values: readonly string[] | undefined) => values && values.length > 1 && (
    <label class="choice">{name} <select value={filter[name] ?? ""} onChange={(event) => setQuery({ [name]: event.currentTarget.value })}><option value="">any</option>{values.filter(Boolean).map((v) => <option key={v}>{v}</option>)}</select></label>
  );
  const save = async (kind: "svg" | "png") => {
    if (!stage) return;
    if (kind === "svg") download(`${run}-lineage.svg`, new Blob([stage.toSvg((i) => colourOf(stage, mode, i))], { type: "image/svg+xml" }));
    else { const blob = await stage.toPng(); if (blob) download(`${run}-lineage.png`, blob); }
  };
  return (
    <div class="toolbar" role="toolbar" aria-label="What the lineage shows">
      <label class="choice">colour <select value={mode} onChange={(event) => setQuery({ colour: event.currentTarget.value === "fitness" ? "" : event.currentTarget.value })}>{MODES.map(([name, label]) => <option key={name} value={name}>{label}</option>)}</select></label>
      <div class="tabs" role="group" aria-label="Height"><button type="button" aria-pressed={axis === "lanes"} onClick={() => setQuery({ y: "" })}>Lanes</button><button type="button" aria-pressed={axis === "fitness"} onClick={() => setQuery({ y: "fitness" })}>By fitness</button></div>
      {choice("island", tables?.island)}{choice("operator", tables?.operator)}{choice("status", tables?.status)}
      <label class="choice">only <select value={filter.path ? "path" : filter.champions ? "champions" : ""} onChange={(event) => setQuery({ only: event.currentTarget.value })}><option value="">everything</option><option value="path">winning path</option><option value="champions">champions</option></select></label>
      {filter.under !== undefined && <button type="button" class="small" onClick={() => setQuery({ under: "" })}>descendants of #{filter.under} ✕</button>}
      <span class="dim count" id="lineage-count">{shown ? (shown.shown === shown.n ? `${count(shown.n)} candidates` : `${count(shown.shown)} of ${count(shown.n)}`) : ""}</span>
      <span class="spacer" />
      <div class="tabs" role="group" aria-label="Zoom"><button type="button" aria-label="Zoom out" onClick={() => zoom(1)}>−</button><button type="button" onClick={fit}>Fit</button><button type="button" aria-label="Zoom in" onClick={() => zoom(-1)}>+</button></div>
      <button type="button" class="quiet" onClick={() => save("svg")}>SVG</button><button type="button" class="quiet" onClick={() => save("png")}>PNG</button>
    </div>
  );
}

function colourOf(stage: Stage, mode: Mode, i: number): string {
  const { graph } = stage;
  const now = theme.value;
  if (mode === "standing") return palette.STATUS_COLOURS[now][graph.status[i]];
  if (mode !== "fitness") return palette.hue(now, graph[mode][i]);
  const f = graph.fitness[i];
  if (Number.isNaN(f)) return palette.FAINT[now];
  ranked = ranked?.graph === graph && ranked.n === graph.n ? ranked : { graph, n: graph.n, ranks: palette.ranks(graph.fitness, graph.n) };
  return palette.ramp(now)[ranked.ranks[i]];
}
let ranked: { graph: Stage["graph"]; n: number; ranks: Int8Array } | null = null;

function Hover({ stage, hover, metric, run }: { stage: Stage; hover: { i: number; x: number; y: number }; metric: Metric | undefined; run: string }) {
  const { graph } = stage;
  const { i } = hover;
  const line = useLine(run, graph.number[i], 90);
  const left = Math.min(hover.x + 14, stage.camera.width - 270), top = hover.y > stage.camera.height - 130 ? hover.y - 104 : hover.y + 14;
  return (
    <div class="hover" style={{ left: `${Math.max(left, 4)}px`, top: `${top}px` }}>
      <b>#{graph.number[i]}</b> <span class="number">{worth(metric, Number.isNaN(graph.fitness[i]) ? null : graph.fitness[i])}</span> <span class="dim">{graph.tables.status[graph.status[i]]} · {graph.tables.operator[graph.operator[i]]}</span>
      <div class="hover-idea">{line?.idea ?? ""}</div>
      <div class="dim">{count(stage.weight[i] ?? 0)} descendants · {clock(graph.born[i])}</div>
    </div>
  );
}

/** The words that columns leave out, fetched when somebody looks for more than a moment. */
function useLine(run: string, number: number, wait: number): Line | null {
  const [line, setLine] = useState<Line | null>(null);
  useEffect(() => {
    const later = setTimeout(() => {
      fetchJson<{ rows: Line[] }>(`${href(run, "find.json")}?q=%23${number}`).then((answer) => setLine(answer.rows.find((row) => row.number === number) ?? null), () => setLine(null));
    }, wait);
    return () => clearTimeout(later);
  }, [run, number]);
  return line?.number === number ? line : null;
}

function Panel({ run, stage, metric }: { run: string; stage: Stage; metric: Metric | undefined }) {
  const { graph, selected: i } = stage;
  const number = graph.number[i];
  const line = useLine(run, number, 20);
  const parent = graph.parent[i];
  useEffect(() => { announcement.value = `#${number}: ${line?.idea ?? ""}, ${graph.tables.status[graph.status[i]]} ${worth(metric, line?.fitness)}`; }, [line]);
  const f = graph.fitness[i], pf = parent >= 0 ? graph.fitness[parent] : NaN;
  const base = graph.find(0);
  const bf = base >= 0 ? graph.fitness[base] : NaN;
  return (
    <aside class="panel" aria-label="Selected candidate" id="panel">
      <header class="row"><h2><a href={href(run, "c", number)}>#{number}</a></h2>{line && <Status line={line} />}<span class="spacer" /><button type="button" class="quiet" aria-label="Close" onClick={() => setQuery({ at: "" })}>✕</button></header>
      <p class="idea-line">{line?.idea ?? "…"}</p>
      <dl class="facts-list">
        <div><dt>{metric?.name ?? "Fitness"}</dt><dd><b>{worth(metric, Number.isNaN(f) ? null : f)}</b> <span class="dim">{line && interval(metric, line.low, line.high)} {metric?.unit}</span></dd></div>
        {!Number.isNaN(f) && !Number.isNaN(pf) && <div><dt>Over its parent</dt><dd>{num((metric?.sign ?? 1) * (f - pf), 4)}</dd></div>}
        {!Number.isNaN(f) && !Number.isNaN(bf) && <div><dt>Over the base</dt><dd>{num((metric?.sign ?? 1) * (f - bf), 4)}</dd></div>}
        {line?.reason && <div><dt>Why</dt><dd>{line.reason}</dd></div>}
        <div><dt>Operator</dt><dd>{line?.operator} {line?.model && <span class="dim">{line.model}</span>}</dd></div>
        <div><dt>Island</dt><dd>{line?.island}</dd></div>
        <div><dt>Born</dt><dd>{clock(graph.born[i])} <span class="dim">{span(graph.born[i] - graph.born[0])} into the run</span></dd></div>
        <div><dt>Descendants</dt><dd>{count(stage.weight[i] ?? 0)} <span class="dim">{line?.children ?? ""} children</span></dd></div>
        <div><dt>Parents</dt><dd>{parent < 0 ? "none" : <a href={at(graph.number[parent])}>#{graph.number[parent]}</a>}{graph.second[i] >= 0 && <> and <a href={at(graph.number[graph.second[i]])}>#{graph.number[graph.second[i]]}</a></>}</dd></div>
      </dl>
      <div class="row wrap"><a class="button" href={href(run, "c", number)}>Open</a><a class="button" href={`${href(run, "c", number)}?tab=diff`}>Diff</a>
        {parent >= 0 && <a class="button" href={href(run, "compare", graph.number[parent], number)}>Compare</a>}<button type="button" onClick={() => setQuery({ under: String(number) })}>Only descendants</button></div>
    </aside>
  );
}

function at(number: number): string {
  const next = new URLSearchParams(query.value);
  next.set("at", String(number));
  return `${window.location.pathname}?${next}`;
}

function Legend({ stage, mode, metric }: { stage: Stage; mode: Mode; metric: Metric | undefined }) {
  const now = theme.value;
  const dot = (colour: string, name: string) => <span class="key" key={name}><svg width="10" height="10" aria-hidden="true"><circle cx="5" cy="5" r="4" fill={colour} /></svg>{name}</span>;
  const names = mode === "fitness" || mode === "standing" ? [] : stage.graph.tables[mode];
  return (
    <div class="legend">
      {mode === "fitness" && <span class="key">worst <svg width="96" height="9" aria-hidden="true">{palette.ramp(now).map((c, k) => <rect key={k} x={k * 3} width="3.2" height="9" fill={c} />)}</svg> best {metric?.name}, by rank</span>}
      {mode === "standing" && ["not judged", "scored", "invalid", "audit", "cheat"].map((name, k) => dot(palette.STATUS_COLOURS[now][k], name))}
      {names.slice(0, 8).map((name, k) => dot(palette.hue(now, k), name || "none"))}
      {names.length > 8 && <span class="key">{names.length - 8} more share these colours</span>}
      <span class="key"><svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke={palette.LIT[now]} stroke-width="2.4" /></svg>winning path</span>
      <span class="key"><svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke={palette.EDGE[now]} stroke-width="1.5" stroke-dasharray="4 3" /></svg>second parent</span>
      <span class="key">× not scored</span>
    </div>
  );
}
