import type { Metric } from "./types";

export function num(value: number | null | undefined, digits = 6): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(Math.max(digits - 3, 2)).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

export const count = (value: number) => value.toLocaleString("en-US").replaceAll(",", " ");

/** "1 step", "2 steps". */
export const several = (n: number, word: string, more = `${word}s`) => `${count(n)} ${n === 1 ? word : more}`;

/** Fitness back to the metric's own direction. */
export const worth = (metric: { sign: number } | undefined, fitness: number | null | undefined, digits = 6) =>
  fitness === null || fitness === undefined ? "–" : num((metric?.sign ?? 1) * fitness, digits);

export function interval(metric: Metric | undefined, low: number | null, high: number | null): string {
  if (low === null || high === null || low === high) return "";
  const sign = metric?.sign ?? 1;
  const [a, b] = [sign * low, sign * high].sort((x, y) => x - y);
  return `[${num(a, 5)}, ${num(b, 5)}]`;
}

export const signed = (value: number, digits = 4) => (value > 0 ? "+" : value < 0 ? "−" : "±") + num(Math.abs(value), digits);

export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${num(seconds, 3)} s`;
  const minutes = seconds / 60;
  if (minutes < 90) return `${num(minutes, 3)} min`;
  const hours = minutes / 60;
  return hours < 48 ? `${num(hours, 3)} h` : `${num(hours / 24, 3)} d`;
}

export function ago(now: number, then: number): string {
  return now - then < 2 ? "now" : `${span(Math.floor(now - then))} ago`;
}

export const clock = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

export const money = (value: number) => `$${value >= 100 ? value.toFixed(0) : value.toFixed(value >= 1 ? 2 : 4)}`;
