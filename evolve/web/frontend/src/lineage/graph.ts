// The lineage as arrays: one position per candidate, in order of birth.
import type { Columns, Row } from "../types";

export const NONE = -1;
export const PINNED = 1, WAS_CHAMPION = 2, CHAMPION = 4, SEED = 16;
export const SCORED = 1;

const grown = <T extends Int32Array | Float64Array | Float32Array | Uint8Array | Uint16Array>(old: T, size: number): T => {
  const next = new (old.constructor as new (n: number) => T)(size);
  next.set(old as never);
  return next;
};

export class Graph {
  n = 0;
  capacity = 0;
  number = new Int32Array(0);
  parent = new Int32Array(0);
  second = new Int32Array(0);
  fitness = new Float64Array(0);
  born = new Float64Array(0);
  status = new Uint8Array(0);
  standing = new Uint8Array(0);
  flags = new Uint8Array(0);
  island = new Uint16Array(0);
  operator = new Uint16Array(0);
  model = new Uint16Array(0);
  task = new Uint16Array(0);
  tables: Record<string, string[]> = { island: [], operator: [], model: [], task: [], status: [], standing: [] };

  static of(columns: Columns): Graph {
    const g = new Graph();
    g.reserve(columns.n);
    g.tables = columns.tables;
    let when = columns.first;
    for (let i = 0; i < columns.n; i++) {
      g.number[i] = columns.number ? columns.number[i] : i;
      g.parent[i] = columns.parent[i] ? i - columns.parent[i] : NONE;
      g.second[i] = NONE;
      g.fitness[i] = columns.fitness[i] ?? NaN;
      when += columns.born[i] / 10;
      g.born[i] = when;
    }
    for (const [i, p] of columns.second) g.second[i] = p;
    for (const name of ["status", "standing", "flags", "island", "operator", "model", "task"] as const) g[name].set(columns[name]);
    g.n = columns.n;
    return g;
  }

  private reserve(size: number): void {
    if (size <= this.capacity) return;
    this.capacity = Math.max(size + 64, Math.ceil(this.capacity * 1.5));
    for (const name of ["number", "parent", "second", "fitness", "born", "status", "standing", "flags", "island", "operator", "model", "task"] as const)
      (this as unknown as Record<string, Int32Array>)[name] = grown(this[name] as Int32Array, this.capacity);
  }

  private code(table: string, name: string): number {
    const names = this.tables[table];
    const at = names.indexOf(name);
    return at >= 0 ? at : names.push(name) - 1;
  }

  /** Put live rows in; rows come in order of position, new ones directly after the last. */
  put(rows: Row[]): void {
    for (const row of rows) {
      const i = row[0];
      if (i > this.n) continue;
      this.reserve(i + 1);
      this.n = Math.max(this.n, i + 1);
      this.number[i] = row[1];
      this.parent[i] = row[2];
      this.second[i] = row[3];
      this.fitness[i] = row[4] ?? NaN;
      this.born[i] = row[5];
      this.status[i] = row[6];
      this.standing[i] = row[7];
      this.flags[i] = row[8];
      this.island[i] = this.code("island", row[9]);
      this.operator[i] = this.code("operator", row[10]);
      this.model[i] = this.code("model", row[11]);
      this.task[i] = this.code("task", row[12]);
    }
  }

  /** Positions from the seed to `i` by first parents. */
  pathTo(i: number): number[] {
    const path = [];
    for (let at = i; at >= 0 && path.length <= this.n; at = this.parent[at]) path.push(at);
    return path.reverse();
  }

  /** First-parent descendants of each candidate. */
  descendants(): Int32Array {
    const out = new Int32Array(this.n);
    for (let i = this.n - 1; i >= 0; i--) if (this.parent[i] >= 0) out[this.parent[i]] += out[i] + 1;
    return out;
  }

  /** Place of a candidate's number. */
  find(number: number): number {
    if (number < this.n && this.number[number] === number) return number;
    for (let i = 0; i < this.n; i++) if (this.number[i] === number) return i;
    return NONE;
  }
}

export type Bands = { name: string; from: number; to: number }[];
export type Layout = { y: Float32Array; height: number; bands: Bands; gap: number };

/**
 * x is the order of birth; y a lane. A first child goes on in its parent's lane while that lane is the parent's last;
 * any other takes the nearest lane of its island that has been quiet for `gap` births. So no node ever moves when
 * others come, lanes stay few (at most gap + 1 an island), and no two nodes share a place.
 */
export function lanes(g: Graph, gap = Math.round(9 + Math.cbrt(g.n))): Layout {
  const last: Int32Array[] = [];
  const used: number[] = [];
  const order = [...g.tables.island.keys()].sort((a, b) => compareNames(g.tables.island[a], g.tables.island[b]));
  for (const k of g.tables.island.keys()) {
    last[k] = new Int32Array(gap + 2).fill(-gap - 1);
    used[k] = 0;
  }
  const lane = new Int32Array(g.n);
  for (let i = 0; i < g.n; i++) {
    const island = g.island[i];
    const tips = last[island];
    const p = g.parent[i];
    const home = p >= 0 && g.island[p] === island ? lane[p] : NONE;
    let chosen = home >= 0 && tips[home] === p ? home : NONE;
    if (chosen < 0) {
      const near = home >= 0 ? home : 0;
      for (let step = 0; step < tips.length && chosen < 0; step++)
        for (const k of step ? [near + step, near - step] : [near])
          if (chosen < 0 && k >= 0 && k < tips.length && tips[k] < i - gap) chosen = k;
    }
    if (chosen < 0) chosen = tips.indexOf(Math.min(...tips));
    tips[chosen] = i;
    lane[i] = chosen;
    used[island] = Math.max(used[island], chosen + 1);
  }
  const offset: number[] = [];
  const bands: Bands = [];
  let height = 0;
  for (const k of order) {
    if (!used[k]) continue;
    offset[k] = height;
    bands.push({ name: g.tables.island[k], from: height, to: height + used[k] });
    height += used[k] + 1.5;
  }
  const y = new Float32Array(g.n);
  for (let i = 0; i < g.n; i++) y[i] = offset[g.island[i]] + lane[i] + 0.5;
  return { y, height: Math.max(height - 1.5, 1), bands, gap };
}

const compareNames = (a: string, b: string) => (a === "main" ? -1 : b === "main" ? 1 : a.localeCompare(b, "en", { numeric: true }));

export const FITNESS_HEIGHT = 30;

/** y is fitness, best on top, by value between the 2nd percentile and the best; the unscored lie below. */
export function byFitness(g: Graph): Layout & { low: number; high: number } {
  const scored = Float64Array.from(g.fitness.subarray(0, g.n).filter((f) => !Number.isNaN(f))).sort();
  const low = scored[Math.floor(scored.length * 0.05)] ?? 0;
  const high = scored[scored.length - 1] ?? 1;
  const scale = high > low ? 1 / (high - low) : 0;
  const y = new Float32Array(g.n);
  for (let i = 0; i < g.n; i++) {
    const f = g.fitness[i];
    y[i] = Number.isNaN(f) ? FITNESS_HEIGHT + 2 + (i % 3) * 0.5 : FITNESS_HEIGHT * (1 - Math.max((f - low) * scale, -0.03)) + 0.5;
  }
  return { y, height: FITNESS_HEIGHT + 4, bands: [{ name: "not scored", from: FITNESS_HEIGHT + 1.5, to: FITNESS_HEIGHT + 3.5 }], gap: 0, low, high };
}
