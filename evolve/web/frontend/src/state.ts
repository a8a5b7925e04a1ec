// Where we are, what is loaded, and what comes in live.
import { computed, effect, signal } from "@preact/signals";
import type { Batch } from "./types";

export const location_ = signal(new URL(window.location.href));
export const query = computed(() => location_.value.searchParams);

export type Page =
  | { view: "runs" }
  | { view: "run" | "lineage" | "islands" | "cells" | "pareto" | "table"; run: string }
  | { view: "candidate"; run: string; candidate: string }
  | { view: "compare"; run: string; a: string; b: string }
  | { view: "nowhere" };

export const page = computed<Page>(() => parse(location_.value.pathname));

function parse(path: string): Page {
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  if (parts.length === 0) return { view: "runs" };
  const [r, run, view, a, b] = parts;
  if (r !== "r" || !run) return { view: "nowhere" };
  if (!view) return { view: "run", run };
  if (view === "c" && a) return { view: "candidate", run, candidate: a };
  if (view === "compare" && a && b) return { view: "compare", run, a, b };
  if (view === "lineage" || view === "islands" || view === "cells" || view === "pareto" || view === "table") return { view, run };
  return { view: "nowhere" };
}

export function href(run: string, ...rest: (string | number)[]): string {
  return "/" + ["r", run, ...rest].map((part) => encodeURIComponent(String(part))).join("/");
}

export function go(path: string, replace = false): void {
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  const before = location_.value.pathname;
  location_.value = new URL(window.location.href);
  if (!replace && before !== location_.value.pathname) {
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
}

/** Change parameters of this address; an empty value removes one. */
export function setQuery(changes: Record<string, string>, replace = true): void {
  const next = new URL(window.location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.searchParams.set(name, value);
    else next.searchParams.delete(name);
  }
  go(next.pathname + next.search, replace);
}

window.addEventListener("popstate", () => (location_.value = new URL(window.location.href)));

document.addEventListener("click", (event) => {
  const link = (event.target as Element | null)?.closest?.("a");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.origin !== window.location.origin || link.hasAttribute("download") || link.target || !routed(link)) return;
  event.preventDefault();
  go(link.pathname + link.search);
});

const routed = (link: HTMLAnchorElement) => !/\.(json|jsonl|csv|parquet)$/.test(link.pathname);

// ---- data ------------------------------------------------------------------------------------------------------------

export class Refused extends Error {}

export async function fetchJson<T>(path: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path);
  } catch {
    throw new Refused("The server does not answer. Is 'evolve ui' still running?");
  }
  const kind = answer.headers.get("content-type") ?? "";
  if (!kind.startsWith("application/json")) throw new Refused((await answer.text()).trim() || answer.statusText);
  const body = await answer.json();
  if (!answer.ok) throw new Refused(body.error ?? answer.statusText);
  return body as T;
}

export async function act(run: string, body: Record<string, unknown>): Promise<string> {
  const answer = await fetch(href(run, "act"), {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Refused(said.error);
  return said.done;
}

// ---- live ------------------------------------------------------------------------------------------------------------

export const connection = signal<"off" | "live" | "lost">("off");
export const batch = signal<Batch | null>(null);

let source: EventSource | null = null;
let followed = "";

/** Follow a run's events; the browser takes up a broken stream by Last-Event-ID. */
export function follow(run: string): void {
  if (run === followed) return;
  source?.close();
  source = null;
  followed = run;
  connection.value = "off";
  batch.value = null;
  if (!run) return;
  source = new EventSource(href(run, "events"));
  source.onopen = () => (connection.value = "live");
  source.onerror = () => (connection.value = "lost");
  source.addEventListener("batch", (event) => (batch.value = JSON.parse((event as MessageEvent<string>).data)));
}

// ---- theme -----------------------------------------------------------------------------------------------------------

export type Theme = "light" | "dark";
const preferred = window.matchMedia("(prefers-color-scheme: dark)");
const chosen = signal<Theme | null>((localStorage.getItem("theme") as Theme | null) ?? null);
const system = signal<Theme>(preferred.matches ? "dark" : "light");
preferred.addEventListener("change", () => (system.value = preferred.matches ? "dark" : "light"));
export const theme = computed<Theme>(() => chosen.value ?? system.value);
export function toggleTheme(): void {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  localStorage.setItem("theme", chosen.value);
}
effect(() => document.documentElement.setAttribute("data-theme", theme.value));

// ---- announcements ---------------------------------------------------------------------------------------------------

export const announcement = signal("");
