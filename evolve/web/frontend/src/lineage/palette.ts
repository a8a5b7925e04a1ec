// Colours by what they show. Ramps run from worst to best; the winning path has a hue of its own.
import type { Theme } from "../state";

export const RAMP = 32;

const STOPS: Record<Theme, string[]> = {
  light: ["#c9d2de", "#97b9dc", "#5b93cf", "#2c68ad", "#123f7c", "#0b2550"],
  dark: ["#33414f", "#2f6288", "#2f8f9d", "#57b98a", "#b4d96a", "#ffe98a"],
};

export const LIT: Record<Theme, string> = { light: "#d9480f", dark: "#ffa94d" };
export const FAINT: Record<Theme, string> = { light: "#d3d7dd", dark: "#333a43" };
export const EDGE: Record<Theme, string> = { light: "#8592a3", dark: "#5e6b7a" };
export const PAPER: Record<Theme, string> = { light: "#ffffff", dark: "#14181d" };
export const INK: Record<Theme, string> = { light: "#1d2127", dark: "#e6e9ee" };
export const DIM: Record<Theme, string> = { light: "#5b6570", dark: "#9aa5b1" };

// Eight hues told apart by most eyes (after Okabe and Ito, 2008), then again.
const HUES: Record<Theme, string[]> = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b0509c", "#8a6d00", "#3f8fbf", "#7a3b00", "#5c5c8a"],
  dark: ["#5ab4f0", "#ff8f4d", "#3ddbaa", "#e591cb", "#f0d95a", "#8fd0f5", "#d99a6c", "#a9a9e0"],
};

// unjudged, scored, invalid, audit, cheat
export const STATUS_COLOURS: Record<Theme, string[]> = {
  light: ["#9aa5b1", "#1a7f4b", "#b3261e", "#9a6700", "#7b1fa2"],
  dark: ["#6b7683", "#4cc38a", "#ff7b72", "#e3b341", "#d2a8ff"],
};
// active, suspended, quarantined, released
export const STANDING_COLOURS: Record<Theme, string[]> = {
  light: ["#2c68ad", "#9a6700", "#b3261e", "#1a7f4b"],
  dark: ["#5ab4f0", "#e3b341", "#ff7b72", "#4cc38a"],
};

export const hue = (theme: Theme, code: number) => HUES[theme][code % HUES[theme].length];

const channel = (hex: string, at: number) => parseInt(hex.slice(1 + 2 * at, 3 + 2 * at), 16);

export function ramp(theme: Theme): string[] {
  const stops = STOPS[theme];
  return Array.from({ length: RAMP }, (_, k) => {
    const place = (k / (RAMP - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const mix = [0, 1, 2].map((c) => {
      const [a, b] = [channel(stops[low], c), channel(stops[low + 1], c)];
      return Math.round(a + (b - a) * (place - low)).toString(16).padStart(2, "0");
    });
    return "#" + mix.join("");
  });
}

/** Fitness -> 0..RAMP-1, by rank among the scored: outliers do not flatten the rest. -1 for none. */
export function ranks(fitness: Float64Array, n: number): Int8Array {
  const scored: number[] = [];
  for (let i = 0; i < n; i++) if (!Number.isNaN(fitness[i])) scored.push(fitness[i]);
  const sorted = Float64Array.from(scored).sort();
  const out = new Int8Array(n).fill(-1);
  const bounds = Array.from({ length: RAMP - 1 }, (_, k) => sorted[Math.floor(((k + 1) * sorted.length) / RAMP)] ?? 0);
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(fitness[i])) continue;
    let [low, high] = [0, RAMP - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (fitness[i] >= bounds[middle]) low = middle + 1;
      else high = middle;
    }
    out[i] = low;
  }
  return out;
}
