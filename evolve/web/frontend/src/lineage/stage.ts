// The canvas: tiles from the worker, and on top what changes with every frame (winning path, selection, axes).
import { clock, num } from "../format";
import { Camera } from "./camera";
import { Graph, type Bands } from "./graph";
import * as palette from "./palette";
import { curve, TILE, X0, type Style } from "./tiles";
import type { Axis, Filter, FromWorker, ToWorker } from "./worker";
import workerUrl from "./worker.ts?worker&url";
import type { Columns, Row } from "../types";

type TrustedPolicy = { createScriptURL(url: string): string };
type Trusted = { createPolicy(name: string, rules: { createScriptURL(url: string): string }): TrustedPolicy };
const trusted = (window as unknown as { trustedTypes?: Trusted }).trustedTypes;
const policy = trusted?.createPolicy("evolve", {
  createScriptURL: (url) => {
    if (url !== workerUrl) throw new TypeError("only the layout worker may be started");
    return url;
  },
});

type Tile = { bitmap: ImageBitmap; epoch: number; used: number };
const MOST_TILES = 360;
const MOST_ASKED = 6;

export type Shown = { shown: number; n: number; range: [number, number] | null };

export class Stage {
  readonly camera = new Camera();
  readonly graph: Graph;
  y: Float32Array = new Float32Array(0);
  weight: Int32Array = new Int32Array(0);
  selected = -1;
  hovered = -1;
  ready = false;
  /** Milliseconds each of the last frames took to draw. */
  frames: number[] = [];
  private bands: Bands = [];
  private range: [number, number] | null = null;
  private tiles = new Map<string, Tile>();
  private asked = new Set<string>();
  private epoch = 0;
  private pending = false;
  private frame = 0;
  private worker: Worker;
  private ctx: CanvasRenderingContext2D;
  private ratio = Math.min(Math.ceil(window.devicePixelRatio || 1), 2);
  private kin: number[] = [];
  private following = false;

  constructor(
    private canvas: HTMLCanvasElement, columns: Columns, private style: Style, private axis: Axis, filter: Filter,
    public paths: number[], private told: { layout: (s: Shown) => void; view: () => void },
  ) {
    this.graph = Graph.of(columns);
    const ctx = canvas.getContext("2d", { alpha: false });
    if (!ctx) throw new Error("this browser draws no canvas");
    this.ctx = ctx;
    this.worker = new Worker(policy ? (policy.createScriptURL(workerUrl) as string) : workerUrl, { type: "module" });
    this.worker.onmessage = (event: MessageEvent<FromWorker>) => this.hear(event.data);
    this.post({ kind: "load", columns, style, axis, filter, paths, ratio: this.ratio });
  }

  close(): void {
    this.worker.terminate();
    cancelAnimationFrame(this.frame);
  }

  private post(message: ToWorker): void {
    this.worker.postMessage(message);
  }

  private hear(message: FromWorker): void {
    if (message.kind === "tile") {
      this.asked.delete(message.key);
      this.tiles.get(message.key)?.bitmap.close();
      this.tiles.set(message.key, { bitmap: message.bitmap, epoch: message.epoch, used: performance.now() });
      this.redraw();
      return;
    }
    const atEnd = this.ready && this.camera.ox + this.camera.width > (this.camera.n - 2) * this.camera.sx;
    const fitted = this.camera.zx >= this.camera.fitX();
    this.y = message.y;
    this.weight = message.weight;
    this.bands = message.bands;
    this.range = message.range ?? this.range;
    this.epoch = message.epoch;
    this.asked.clear();
    this.camera.n = message.n;
    this.camera.lanes = message.height;
    if (!this.ready) {
      this.ready = true;
      this.resize();
      this.camera.fit();
      if (this.camera.fitX() > 8 && message.n < 3000) this.camera.zx = Math.max(this.camera.fitX() - 1, 0);
      this.camera.clamp();
    } else if (this.following && fitted) this.camera.zx = this.camera.fitX();
    else if (this.following && atEnd) this.camera.ox = this.camera.n * this.camera.sx - this.camera.width + 30;
    this.following = false;
    this.told.layout({ shown: message.shown, n: message.n, range: this.range });
    this.redraw();
  }

  // ---- what may be changed ----

  put(rows: Row[], paths: number[]): void {
    this.graph.put(rows);
    this.paths = paths;
    this.following = true;
    this.post({ kind: "put", rows, paths });
  }
  setStyle(style: Style): void {
    this.style = style;
    this.post({ kind: "style", style });
  }
  setAxis(axis: Axis): void {
    this.axis = axis;
    this.range = null;
    this.tiles.clear();
    this.post({ kind: "axis", axis });
  }
  setFilter(filter: Filter): void {
    this.post({ kind: "filter", filter, paths: this.paths });
  }

  select(i: number, show = false): void {
    this.selected = i;
    this.kin = i >= 0 ? this.graph.pathTo(i) : [];
    if (i >= 0 && show && i < this.y.length) {
      const [x, y] = this.camera.screen(i, this.y[i]);
      const { width, height } = this.camera;
      if (x < 40 || x > width - 40 || y < 30 || y > height - 40 || this.camera.sx < 4) {
        if (this.camera.sx < 4) this.camera.zx = Math.min(6, this.camera.fitX());
        this.camera.centre(i, this.y[i]);
      }
    }
    this.redraw();
    this.told.view();
  }

  // ---- drawing ----

  resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    this.canvas.width = clientWidth * this.ratio;
    this.canvas.height = clientHeight * this.ratio;
    const fitted = this.camera.zx >= this.camera.fitX();
    this.camera.width = clientWidth;
    this.camera.height = clientHeight;
    if (fitted) this.camera.fit();
    else this.camera.clamp();
    this.redraw();
  }

  redraw(): void {
    if (this.pending) return;
    this.pending = true;
    this.frame = requestAnimationFrame(() => {
      this.pending = false;
      const began = performance.now();
      this.draw();
      this.frames.push(performance.now() - began);
      if (this.frames.length > 600) this.frames.splice(0, 300);
    });
  }

  private draw(): void {
    const { ctx, camera, ratio } = this;
    const { theme } = this.style;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = palette.PAPER[theme];
    ctx.fillRect(0, 0, camera.width, camera.height);
    if (!this.ready) return;
    this.drawBands();
    this.drawTiles();
    this.trail(this.paths, palette.LIT[theme], 2.2);
    if (this.selected >= 0) this.trail(this.kin, palette.INK[theme], 1.6, [5, 3], new Set(this.paths));
    if (camera.sx >= 10) this.numbers();
    for (const [i, wide] of [[this.hovered, 1.5], [this.selected, 2.5]]) if (i >= 0 && i < this.y.length) this.ring(i, wide);
    this.drawAxis();
  }

  private drawBands(): void {
    const { ctx, camera } = this;
    const { theme } = this.style;
    this.bands.forEach((band, k) => {
      const top = band.from * camera.sy - camera.oy, bottom = band.to * camera.sy - camera.oy;
      if (k % 2 === 0 || this.axis === "fitness") {
        ctx.globalAlpha = theme === "dark" ? 0.22 : 0.28;
        ctx.fillStyle = palette.FAINT[theme];
        ctx.fillRect(0, top - 4, camera.width, bottom - top + 8);
        ctx.globalAlpha = 1;
      }
    });
  }

  private drawTiles(): void {
    const { ctx, camera } = this;
    const { zx, zy } = camera;
    const x0 = Math.floor(camera.ox / TILE), x1 = Math.floor((camera.ox + camera.width) / TILE);
    const y0 = Math.floor(camera.oy / TILE), y1 = Math.floor((camera.oy + camera.height) / TILE);
    const wanted: { key: string; tx: number; ty: number; from: number }[] = [];
    const lastX = Math.floor((camera.n * camera.sx + 14) / TILE), lastY = Math.floor((camera.lanes * camera.sy + 14) / TILE);
    for (let tx = Math.max(x0 - 1, -1); tx <= Math.min(x1 + 1, lastX); tx++)
      for (let ty = Math.max(y0, -1); ty <= Math.min(y1, lastY); ty++) {
        const key = `${zx}/${zy}/${tx}/${ty}`;
        const tile = this.tiles.get(key);
        if (tile) {
          tile.used = performance.now();
          if (tx >= x0 && tx <= x1) ctx.drawImage(tile.bitmap, Math.round(tx * TILE - camera.ox), Math.round(ty * TILE - camera.oy), TILE, TILE);
        }
        if (!tile || tile.epoch !== this.epoch) wanted.push({ key, tx, ty, from: Math.abs(tx - (x0 + x1) / 2) });
      }
    wanted.sort((a, b) => a.from - b.from);
    for (const { key, tx, ty } of wanted) {
      if (this.asked.size >= MOST_ASKED) break;
      if (this.asked.has(key)) continue;
      this.asked.add(key);
      this.post({ kind: "tile", key, zx, zy, tx, ty, epoch: this.epoch });
    }
    if (this.tiles.size > MOST_TILES) this.forget();
  }

  private forget(): void {
    const old = [...this.tiles].sort((a, b) => a[1].used - b[1].used).slice(0, MOST_TILES / 4);
    for (const [key, tile] of old) {
      tile.bitmap.close();
      this.tiles.delete(key);
    }
  }

  /** A line through nodes, of which those far outside the view are left out. */
  private trail(path: number[], colour: string, width: number, dash: number[] = [], except?: Set<number>): void {
    const { ctx, camera } = this;
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    ctx.beginPath();
    for (let k = 1; k < path.length; k++) {
      if (path[k] >= this.y.length) break;
      if (except?.has(path[k])) continue;
      const a = camera.screen(path[k - 1], this.y[path[k - 1]]), b = camera.screen(path[k], this.y[path[k]]);
      if (b[0] < -50 || a[0] > camera.width + 50) continue;
      curve(ctx, a, b);
    }
    ctx.stroke();
    ctx.setLineDash([]);
    if (dash.length) return;
    ctx.fillStyle = colour;
    ctx.beginPath();
    for (const i of path) {
      if (i >= this.y.length) break;
      const [x, y] = camera.screen(i, this.y[i]);
      if (x < -9 || x > camera.width + 9) continue;
      const r = Math.max(Math.min(camera.sx * 0.35, 5.5), 2);
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 2 * Math.PI);
    }
    ctx.fill();
  }

  private numbers(): void {
    const { ctx, camera, graph } = this;
    const { theme } = this.style;
    ctx.font = "10px ui-monospace, monospace";
    ctx.textAlign = "center";
    ctx.textBaseline = "bottom";
    ctx.fillStyle = palette.DIM[theme];
    const lit = new Set(this.paths);
    const first = Math.max(Math.floor(camera.ox / camera.sx) - 1, 0);
    const last = Math.min(Math.ceil((camera.ox + camera.width) / camera.sx), this.y.length - 1);
    for (let i = first; i <= last; i++) {
      if (!lit.has(i) && i !== this.selected && (camera.zx > 0 || this.weight[i] < 2)) continue;
      const [x, y] = camera.screen(i, this.y[i]);
      ctx.fillText(`#${graph.number[i]}`, x, y - 7);
    }
  }

  private ring(i: number, width: number): void {
    const { ctx, camera } = this;
    const [x, y] = camera.screen(i, this.y[i]);
    ctx.strokeStyle = palette.INK[this.style.theme];
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.arc(x, y, Math.max(Math.min(camera.sx * 0.45, 10), 6), 0, 2 * Math.PI);
    ctx.stroke();
  }

  private drawAxis(): void {
    const { ctx, camera, graph } = this;
    const { theme } = this.style;
    ctx.globalAlpha = 0.88;
    ctx.fillStyle = palette.PAPER[theme];
    ctx.fillRect(0, camera.height - 22, camera.width, 22);
    ctx.globalAlpha = 1;
    ctx.fillStyle = palette.DIM[theme];
    ctx.font = "11px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    const step = nice(150 / camera.sx);
    for (let i = Math.max(Math.ceil(camera.ox / camera.sx / step), 0) * step; i < camera.n; i += step) {
      const x = (i + 0.5) * camera.sx - camera.ox;
      if (x > camera.width) break;
      ctx.fillRect(x, camera.height - 22, 1, 5);
      const when = clock(graph.born[i]);
      ctx.fillText(`#${graph.number[i]}  ${i ? when.slice(11) : when.slice(5)}`, x + 3, camera.height - 10);
    }
    for (const band of this.bands) {
      const y = ((band.from + band.to) / 2) * camera.sy - camera.oy;
      if (y < 0 || y > camera.height - 22 || (band.to - band.from) * camera.sy < 7) continue;
      label(ctx, band.name, 6, y, theme);
    }
    if (this.axis === "fitness" && this.range) {
      const top = 0.5 * camera.sy - camera.oy, bottom = 30.5 * camera.sy - camera.oy;
      for (const [share, y] of [[1, top], [0.5, (top + bottom) / 2], [0, bottom]])
        label(ctx, num(this.range[0] + share * (this.range[1] - this.range[0]), 5), 6, Math.min(Math.max(y, 10), camera.height - 32), theme);
    }
  }

  // ---- out ----

  /** What is in view as SVG, at most 12,000 nodes and 12,000 edges of it. */
  toSvg(colourOf: (i: number) => string): string {
    const { camera, graph } = this;
    const { theme } = this.style;
    const part: string[] = [];
    const first = Math.max(Math.floor(camera.ox / camera.sx) - 1, 0);
    const last = Math.min(Math.ceil((camera.ox + camera.width) / camera.sx), this.y.length - 1);
    const stride = Math.max(Math.ceil((last - first) / 12000), 1);
    const path = { d: "", moveTo(x: number, y: number) { this.d += `M${x.toFixed(1)} ${y.toFixed(1)}`; },
      lineTo(x: number, y: number) { this.d += `L${x.toFixed(1)} ${y.toFixed(1)}`; },
      bezierCurveTo(a: number, b: number, c: number, d: number, e: number, f: number) { this.d += `C${[a, b, c, d, e, f].map((v) => v.toFixed(1)).join(" ")}`; } };
    const line = (colour: string, width: number, dash = "") => {
      if (path.d) part.push(`<path d="${path.d}" fill="none" stroke="${colour}" stroke-width="${width}"${dash ? ` stroke-dasharray="${dash}"` : ""}/>`);
      path.d = "";
    };
    for (const [parents, dash] of [[graph.parent, ""], [graph.second, "4 3"]] as const) {
      for (let i = first; i <= last; i += stride) if (parents[i] >= 0) curve(path, camera.screen(parents[i], this.y[parents[i]]), camera.screen(i, this.y[i]));
      line(palette.EDGE[theme], 0.8, dash);
    }
    const r = Math.max(Math.min(camera.sx * 0.35, 5), 1);
    for (let i = first; i <= last; i += stride) {
      const [x, y] = camera.screen(i, this.y[i]);
      part.push(`<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${r.toFixed(1)}" fill="${colourOf(i)}"/>`);
    }
    for (let k = 1; k < this.paths.length; k++) curve(path, camera.screen(this.paths[k - 1], this.y[this.paths[k - 1]]), camera.screen(this.paths[k], this.y[this.paths[k]]));
    line(palette.LIT[theme], 2.2);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${camera.width}" height="${camera.height}" viewBox="0 0 ${camera.width} ${camera.height}"><rect width="100%" height="100%" fill="${palette.PAPER[theme]}"/>${part.join("")}</svg>`;
  }

  toPng(): Promise<Blob | null> {
    this.draw();
    return new Promise((done) => this.canvas.toBlob(done, "image/png"));
  }

  get zoomPercent(): number {
    return Math.round((100 * this.camera.sx) / X0);
  }
}

function label(ctx: CanvasRenderingContext2D, text: string, x: number, y: number, theme: "light" | "dark"): void {
  const width = ctx.measureText(text).width + 8;
  ctx.textAlign = "left";
  ctx.globalAlpha = 0.85;
  ctx.fillStyle = palette.PAPER[theme];
  ctx.fillRect(x - 4, y - 8, width, 16);
  ctx.globalAlpha = 1;
  ctx.fillStyle = palette.DIM[theme];
  ctx.fillText(text, x, y);
}

function nice(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  for (const k of [1, 2, 5, 10]) if (k * power >= least) return Math.max(Math.round(k * power), 1);
  return 10 * power;
}
