// Drawing one tile of the lineage; runs in the worker. What is drawn follows the scale: every node and edge where
// there is room, the weightiest edges and a density of nodes where there is not.
import { Graph, SCORED, WAS_CHAMPION, type Layout } from "./graph";
import * as palette from "./palette";
import type { Theme } from "../state";

export const TILE = 256;
export const STEP = Math.SQRT2;
/** Pixels a birth and a lane at zoom 0; each further step divides by STEP. */
export const X0 = 26, Y0 = 20;
export const scaleX = (zoom: number) => X0 / STEP ** zoom;
export const scaleY = (zoom: number) => Y0 / STEP ** zoom;

export type Mode = "fitness" | "island" | "operator" | "standing" | "model";
export type Style = { mode: Mode; theme: Theme };

const MOST_EDGES = 2500;

export class Painter {
  private segments = 256;
  private starts = new Int32Array(0);
  private items = new Int32Array(0);
  private colour: Uint8Array = new Uint8Array(0);
  private colours: string[] = [];
  weight: Int32Array = new Int32Array(0);
  private byWeight = new Int32Array(0);
  mask: Uint8Array | null = null;

  constructor(public graph: Graph, public layout: Layout, public style: Style) {
    this.index();
    this.restyle(style);
  }

  /** Edges by the stretches of births they cross. */
  private index(): void {
    const g = this.graph;
    this.weight = g.descendants();
    this.byWeight = Int32Array.from(this.weight).sort().reverse();
    const edges: [Int32Array, number][] = [[g.parent, 0], [g.second, 1]];
    for (;;) {
      const count = new Int32Array(Math.floor(g.n / this.segments) + 2);
      let total = 0;
      for (const [parents] of edges)
        for (let i = 0; i < g.n; i++)
          if (parents[i] >= 0)
            for (let s = Math.floor(parents[i] / this.segments); s <= Math.floor(i / this.segments); s++) { count[s + 1]++; total++; }
      if (total > 4e6) { this.segments *= 4; continue; }
      for (let s = 1; s < count.length; s++) count[s] += count[s - 1];
      this.starts = count.slice();
      this.items = new Int32Array(total);
      const fill = count.slice();
      for (const [parents, order] of edges)
        for (let i = 0; i < g.n; i++)
          if (parents[i] >= 0)
            for (let s = Math.floor(parents[i] / this.segments); s <= Math.floor(i / this.segments); s++) this.items[fill[s]++] = 2 * i + order;
      return;
    }
  }

  restyle(style: Style): void {
    this.style = style;
    const g = this.graph;
    const { theme, mode } = style;
    this.colour = new Uint8Array(g.n);
    if (mode === "fitness") {
      const rank = palette.ranks(g.fitness, g.n);
      this.colours = [...palette.ramp(theme), palette.FAINT[theme], palette.STATUS_COLOURS[theme][3], palette.STATUS_COLOURS[theme][4]];
      for (let i = 0; i < g.n; i++) {
        const status = g.status[i];
        this.colour[i] = rank[i] >= 0 ? rank[i] : palette.RAMP + (status >= 3 ? status - 2 : 0);
      }
    } else if (mode === "standing") {
      this.colours = [...palette.STATUS_COLOURS[theme], ...palette.STANDING_COLOURS[theme]];
      for (let i = 0; i < g.n; i++) this.colour[i] = g.status[i] === SCORED && g.standing[i] ? 5 + g.standing[i] : g.status[i];
    } else {
      const codes = g[mode];
      this.colours = Array.from({ length: 8 }, (_, k) => palette.hue(theme, k));
      this.colours.push(palette.FAINT[theme]);
      for (let i = 0; i < g.n; i++) this.colour[i] = g.status[i] === SCORED || mode === "island" ? codes[i] % 8 : 8;
    }
  }

  colourOf(i: number): string {
    return this.colours[this.colour[i]];
  }

  radius(i: number, sx: number): number {
    const base = Math.min(sx * 0.3, 4.2);
    const size = base + Math.min(Math.log2(1 + this.weight[i]) * 0.55, 5) * Math.min(sx / 14, 1);
    return Math.max(size + (this.graph.flags[i] & WAS_CHAMPION ? 1 : 0), sx >= 2.5 ? 1.7 : 1);
  }

  draw(ctx: OffscreenCanvasRenderingContext2D, tx: number, ty: number, zx: number, zy: number): void {
    const sx = scaleX(zx), sy = scaleY(zy);
    const { graph: g, layout } = this;
    const margin = 14;
    const first = Math.max(Math.floor((tx * TILE - margin) / sx), 0);
    const last = Math.min(Math.ceil(((tx + 1) * TILE + margin) / sx), g.n - 1);
    if (last < first && first >= g.n) return;
    const [top, bottom] = [ty * TILE - margin, (ty + 1) * TILE + margin];
    const at = (i: number): [number, number] => [(i + 0.5) * sx - tx * TILE, layout.y[i] * sy - ty * TILE];
    this.edges(ctx, first, last, zx, sx, at);
    const inside: number[][] = this.colours.map(() => []);
    const dimmed: number[] = [];
    for (let i = first; i <= last; i++) {
      const y = layout.y[i] * sy;
      if (y < top || y > bottom) continue;
      if (this.mask && !this.mask[i]) dimmed.push(i);
      else inside[this.colour[i]].push(i);
    }
    if (sx >= 2.5) this.nodes(ctx, inside, dimmed, sx, at);
    else this.density(ctx, inside, dimmed, sx, sy, at);
  }

  private edges(ctx: OffscreenCanvasRenderingContext2D, first: number, last: number, zx: number, sx: number, at: (i: number) => [number, number]): void {
    const { graph: g } = this;
    if (!g.n) return;
    const allowed = Math.ceil((MOST_EDGES * g.n * sx) / 1000);
    const least = allowed >= g.n ? 0 : this.byWeight[Math.min(allowed, g.n - 1)] + 1;
    const seen = new Set<number>();
    ctx.lineWidth = sx >= 2.5 ? 1.1 : 0.7;
    ctx.strokeStyle = palette.EDGE[this.style.theme];
    const from = Math.floor(first / this.segments), to = Math.floor(last / this.segments);
    for (const second of [0, 1]) {
      ctx.setLineDash(second && sx >= 2.5 ? [4, 3] : []);
      ctx.globalAlpha = sx >= 2.5 ? (second ? 0.75 : 0.6) : 0.35;
      ctx.beginPath();
      let drawn = 0;
      for (let s = from; s <= to && s + 1 < this.starts.length && drawn < 2 * MOST_EDGES; s++)
        for (let k = this.starts[s]; k < this.starts[s + 1]; k++) {
          const item = this.items[k];
          const i = item >> 1;
          if ((item & 1) !== second || this.weight[i] < least || i < first) continue;
          const p = second ? g.second[i] : g.parent[i];
          if (p > last || (this.mask && !this.mask[i])) continue;
          if (from !== to) { if (seen.has(item)) continue; seen.add(item); }
          drawn++;
          curve(ctx, at(p), at(i));
        }
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    void zx;
  }

  private nodes(ctx: OffscreenCanvasRenderingContext2D, inside: number[][], dimmed: number[], sx: number, at: (i: number) => [number, number]): void {
    const { graph: g } = this;
    const disc = (i: number) => {
      const [x, y] = at(i);
      const r = this.radius(i, sx);
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 2 * Math.PI);
    };
    ctx.globalAlpha = 0.35;
    ctx.fillStyle = palette.FAINT[this.style.theme];
    ctx.beginPath();
    for (const i of dimmed) disc(i);
    ctx.fill();
    ctx.globalAlpha = 1;
    inside.forEach((members, code) => {
      if (!members.length) return;
      ctx.fillStyle = ctx.strokeStyle = this.colours[code];
      ctx.beginPath();
      for (const i of members) if (g.status[i] === SCORED) disc(i);
      ctx.fill();
      ctx.beginPath();
      ctx.lineWidth = 1.2;
      for (const i of members) if (g.status[i] !== SCORED) cross(ctx, at(i), Math.max(this.radius(i, sx) * 0.8, 1.5), g.status[i]);
      ctx.stroke();
    });
    if (sx < 8) return;
    ctx.strokeStyle = palette.PAPER[this.style.theme];
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const members of inside) for (const i of members) if (g.status[i] === SCORED) disc(i);
    ctx.stroke();
  }

  private density(ctx: OffscreenCanvasRenderingContext2D, inside: number[][], dimmed: number[], sx: number, sy: number, at: (i: number) => [number, number]): void {
    const w = Math.max(1, Math.min(2, sx * 1.2)), h = Math.max(1.5, Math.min(3.5, sy * 0.4));
    const draw = (members: number[], colour: string, alpha: number) => {
      if (!members.length) return;
      ctx.globalAlpha = alpha;
      ctx.fillStyle = colour;
      let lastX = -9, lastY = -9;
      for (const i of members) {
        const [x, y] = at(i);
        const [px, py] = [Math.round(x), Math.round(y)];
        if (px === lastX && py === lastY) continue;
        [lastX, lastY] = [px, py];
        ctx.fillRect(px, py - h / 2, w, h);
      }
    };
    draw(dimmed, palette.FAINT[this.style.theme], 0.4);
    const faint = this.colours.length > palette.RAMP ? palette.RAMP : -1;
    if (faint >= 0) draw(inside[faint], this.colours[faint], 0.8);
    inside.forEach((members, code) => code !== faint && draw(members, this.colours[code], 0.9));
    ctx.globalAlpha = 1;
  }
}

type Pen = { moveTo(x: number, y: number): void; lineTo(x: number, y: number): void; bezierCurveTo(a: number, b: number, c: number, d: number, e: number, f: number): void };

/** From parent to child: level at both ends. */
export function curve(ctx: Pen, [x0, y0]: [number, number], [x1, y1]: [number, number]): void {
  ctx.moveTo(x0, y0);
  if (Math.abs(y1 - y0) < 0.5) ctx.lineTo(x1, y1);
  else {
    const bend = Math.min((x1 - x0) * 0.6, 48);
    ctx.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
  }
}

function cross(ctx: OffscreenCanvasRenderingContext2D, [x, y]: [number, number], r: number, status: number): void {
  if (status === 0) {
    ctx.moveTo(x + r, y);
    ctx.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  ctx.moveTo(x - r, y - r);
  ctx.lineTo(x + r, y + r);
  ctx.moveTo(x + r, y - r);
  ctx.lineTo(x - r, y + r);
}
