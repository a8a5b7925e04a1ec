// Layout and drawing away from the page's thread. Messages: load, put, style, filter, tile.
import type { Columns, Row } from "../types";
import { byFitness, Graph, lanes, type Bands, type Layout } from "./graph";
import { Painter, TILE, type Style } from "./tiles";

export type Filter = { island?: string; operator?: string; status?: string; standing?: string; path?: boolean; champions?: boolean; least?: number; descend?: number };
export type Axis = "lanes" | "fitness";
export type ToWorker =
  | { kind: "load"; columns: Columns; style: Style; axis: Axis; filter: Filter; paths: number[]; ratio: number }
  | { kind: "put"; rows: Row[]; paths: number[] }
  | { kind: "style"; style: Style }
  | { kind: "axis"; axis: Axis }
  | { kind: "filter"; filter: Filter; paths: number[] }
  | { kind: "tile"; key: string; zx: number; zy: number; tx: number; ty: number; epoch: number };
export type FromWorker =
  | { kind: "layout"; y: Float32Array; weight: Int32Array; height: number; bands: Bands; range: [number, number] | null; shown: number; epoch: number; n: number }
  | { kind: "tile"; key: string; bitmap: ImageBitmap; epoch: number };

let graph = new Graph();
let painter: Painter | null = null;
let axis: Axis = "lanes";
let style: Style = { mode: "fitness", theme: "light" };
let filter: Filter = {};
let paths: number[] = [];
let gap: number | undefined;
let ratio = 1;
let epoch = 0;

const send = (message: FromWorker, transfer: Transferable[] = []) => (self as unknown as Worker).postMessage(message, transfer);

function place(): Layout & { low?: number; high?: number } {
  if (axis === "fitness") return byFitness(graph);
  const layout = lanes(graph, gap);
  gap = layout.gap;
  return layout;
}

function mask(): Uint8Array | null {
  const wanted = Object.entries(filter).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  if (!wanted.length) return null;
  const g = graph;
  const code = (table: string, name: string | undefined) => (name ? g.tables[table].indexOf(name) : -2);
  const island = code("island", filter.island), operator = code("operator", filter.operator);
  const status = code("status", filter.status), standing = code("standing", filter.standing);
  const onPath = filter.path ? new Set(paths) : null;
  const below = filter.descend !== undefined ? heirs(filter.descend) : null;
  const out = new Uint8Array(g.n);
  for (let i = 0; i < g.n; i++)
    out[i] = Number(
      (island === -2 || g.island[i] === island) && (operator === -2 || g.operator[i] === operator) &&
      (status === -2 || g.status[i] === status) && (standing === -2 || g.standing[i] === standing) &&
      (!onPath || onPath.has(i)) && (!filter.champions || (g.flags[i] & 2) > 0) &&
      (filter.least === undefined || g.fitness[i] >= filter.least) && (!below || below[i] > 0),
    );
  return out;
}

function heirs(root: number): Uint8Array {
  const out = new Uint8Array(graph.n);
  if (root >= 0 && root < graph.n) out[root] = 1;
  for (let i = root + 1; i < graph.n; i++)
    out[i] = Number((graph.parent[i] >= 0 && out[graph.parent[i]] > 0) || (graph.second[i] >= 0 && out[graph.second[i]] > 0));
  return out;
}

function rebuild(): void {
  const layout = place();
  painter = new Painter(graph, layout, style);
  painter.mask = mask();
  epoch++;
  const range = layout.low !== undefined && layout.high !== undefined ? ([layout.low, layout.high] as [number, number]) : null;
  report(layout, range);
}

function report(layout: Layout, range: [number, number] | null): void {
  if (!painter) return;
  const shown = painter.mask ? painter.mask.reduce((a, b) => a + b, 0) : graph.n;
  const y = layout.y.slice(), weight = painter.weight.slice();
  send({ kind: "layout", y, weight, height: layout.height, bands: layout.bands, range, shown, epoch, n: graph.n }, [y.buffer, weight.buffer]);
}

self.onmessage = (event: MessageEvent<ToWorker>) => {
  const message = event.data;
  switch (message.kind) {
    case "load":
      ({ style, axis, filter, paths, ratio } = message);
      graph = Graph.of(message.columns);
      gap = undefined;
      rebuild();
      break;
    case "put":
      paths = message.paths;
      graph.put(message.rows);
      rebuild();
      break;
    case "axis":
      axis = message.axis;
      rebuild();
      break;
    case "style":
    case "filter":
      if (!painter) break;
      if (message.kind === "style") painter.restyle((style = message.style));
      else { filter = message.filter; paths = message.paths; painter.mask = mask(); }
      epoch++;
      report(painter.layout, null);
      break;
    case "tile": {
      if (!painter || message.epoch !== epoch) break;
      const canvas = new OffscreenCanvas(TILE * ratio, TILE * ratio);
      const ctx = canvas.getContext("2d");
      if (!ctx) break;
      ctx.scale(ratio, ratio);
      painter.draw(ctx, message.tx, message.ty, message.zx, message.zy);
      const bitmap = canvas.transferToImageBitmap();
      send({ kind: "tile", key: message.key, bitmap, epoch }, [bitmap]);
    }
  }
};
