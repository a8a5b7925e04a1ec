// Keys that mean the same on every page; a page says what its own do.
import { signal } from "@preact/signals";
import { go, href, page, toggleTheme } from "./state";

export const helpOpen = signal(false);

export const HELP: [string, string][] = [
  ["j", "next candidate (in a table: next row)"],
  ["k", "previous candidate"],
  ["p", "parent"],
  ["c", "best child"],
  ["d", "diff: from the lineage or a table, open it; on a candidate, next thing to compare with"],
  ["Enter", "open the selected candidate"],
  ["/", "find"],
  ["g then r, l, i, m, x, t", "go to run, lineage, islands, map, Pareto front, table"],
  ["+ − 0 and arrows", "in the lineage: zoom, fit, move"],
  ["b", "in the lineage: show the best"],
  ["t", "light or dark"],
  ["?", "this list"],
];

export type Handlers = Partial<Record<string, () => void>>;
let own: Handlers = {};

/** Keys of the page on screen; returns what takes them away again. */
export function pageKeys(handlers: Handlers): () => void {
  own = handlers;
  return () => {
    if (own === handlers) own = {};
  };
}

let prefix = false;

export function bindKeys(): void {
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
    if (target.closest("input, textarea, select, [contenteditable]") || helpOpen.value) return;
    const key = event.key;
    if (prefix) {
      prefix = false;
      const where = page.value;
      const view = ({ r: "", l: "lineage", i: "islands", m: "cells", t: "table", x: "pareto" } as Record<string, string>)[key];
      if ("run" in where && view !== undefined) return go(view ? href(where.run, view) : href(where.run));
    }
    if (key === "g") { prefix = true; return; }
    if (key === "Enter" && target.closest("a, button")) return;
    const handler = own[key];
    if (handler) {
      event.preventDefault();
      handler();
    } else if (key === "?") helpOpen.value = true;
    else if (key === "t") toggleTheme();
    else if (key === "/") {
      document.getElementById("find")?.focus();
      event.preventDefault();
    }
  });
}
