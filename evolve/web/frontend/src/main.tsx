import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";
import { announcement, connection, fetchJson, follow, go, href, page, query, theme, toggleTheme, type Page } from "./state";
import { bindKeys, HELP, helpOpen } from "./keys";
import { Candidate } from "./pages/candidate";
import { Cells } from "./pages/cells";
import { Compare } from "./pages/compare";
import { Islands } from "./pages/islands";
import { LineagePage } from "./pages/lineage";
import { Pareto } from "./pages/pareto";
import { Run } from "./pages/run";
import { Runs } from "./pages/runs";
import { Table } from "./pages/table";
import { useDialog } from "./dialog";

const VIEWS: [string, string, string][] = [
  ["run", "", "Run"], ["lineage", "lineage", "Lineage"], ["islands", "islands", "Islands"], ["cells", "cells", "Map"],
  ["pareto", "pareto", "Pareto"], ["table", "table", "Table"],
];

function App() {
  const where = page.value;
  const run = "run" in where ? where.run : "";
  useEffect(() => follow(run), [run]);
  useEffect(() => {
    const part = where.view === "candidate" ? `#${where.candidate}` : where.view;
    document.title = run ? `${part} · ${run} · evolve` : "evolve";
  });
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <Header where={where} run={run} />
      <main id="main" tabIndex={-1} class={where.view}>{content(where)}</main>
      <div class="announce" role="status" aria-live="polite">{announcement.value}</div>
      {helpOpen.value && <Help />}
    </>
  );
}

function content(where: Page) {
  switch (where.view) {
    case "runs": return <Runs />;
    case "run": return <Run run={where.run} />;
    case "lineage": return <LineagePage run={where.run} />;
    case "islands": return <Islands run={where.run} />;
    case "cells": return <Cells run={where.run} />;
    case "pareto": return <Pareto run={where.run} />;
    case "table": return <Table run={where.run} />;
    case "candidate": return <Candidate key={where.run} run={where.run} candidate={where.candidate} />;
    case "compare": return <Compare run={where.run} a={where.a} b={where.b} />;
    case "nowhere": return <p class="empty">There is no such page. <a href="/">All runs</a></p>;
  }
}

function Header({ where, run }: { where: Page; run: string }) {
  return (
    <header class="top">
      <a class="brand" href="/" aria-label="evolve: all runs"><Mark /><span>evolve</span></a>
      {run && <a class="run-name" href={href(run)}>{run}</a>}
      {run && (
        <nav aria-label="Views of the run">
          {VIEWS.map(([view, path, label]) => (
            <a key={view} href={path ? href(run, path) : href(run)} aria-current={where.view === view ? "page" : undefined}>{label}</a>
          ))}
        </nav>
      )}
      <span class="spacer" />
      {run && <Find run={run} />}
      {run && <span class={`connection ${connection.value}`} title={CONNECTION[connection.value]}><i aria-hidden="true" />{connection.value === "off" ? "…" : connection.value}</span>}
      <a class="quiet twin" href={twin()} title="This page's data as JSON">JSON</a>
      <button type="button" class="quiet" onClick={toggleTheme} aria-label={theme.value === "dark" ? "Light colours" : "Dark colours"}>{theme.value === "dark" ? "☀" : "☾"}</button>
      <button type="button" class="quiet" onClick={() => (helpOpen.value = true)} aria-label="Keyboard help">?</button>
    </header>
  );
}

const CONNECTION = { live: "Events arrive as they happen", lost: "Connection lost; trying again", off: "Connecting" };

function twin(): string {
  const path = page.value.view === "runs" ? "/index" : window.location.pathname.replace(/\/$/, "");
  const rest = query.value.toString();
  return `${path}.json${rest ? "?" + rest : ""}`;
}

function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#1d4f9c" />
      <path d="M9 23V9m0 7c8 0 6-7 14-7" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" />
      <circle cx="9" cy="24" r="3" fill="#fff" /><circle cx="9" cy="8" r="3" fill="#fff" /><circle cx="24" cy="9" r="3.4" fill="#ffb454" />
    </svg>
  );
}

type Found = { number: number; idea: string; operator: string; status: string };

function Find({ run }: { run: string }) {
  const [words, setWords] = useState("");
  const [found, setFound] = useState<Found[]>([]);
  const [at, setAt] = useState(0);
  useEffect(() => {
    if (!words.trim()) return setFound([]);
    const later = setTimeout(() => {
      fetchJson<{ rows: Found[] }>(`${href(run, "find.json")}?q=${encodeURIComponent(words)}`).then((answer) => { setFound(answer.rows); setAt(0); }, () => setFound([]));
    }, 120);
    return () => clearTimeout(later);
  }, [words, run]);
  const open = (row: Found | undefined) => {
    if (!row) return;
    setWords("");
    (document.activeElement as HTMLElement | null)?.blur();
    go(page.value.view === "lineage" ? `${href(run, "lineage")}?${withSelection(row.number)}` : href(run, "c", row.number));
  };
  return (
    <div class="find">
      <input
        id="find" type="search" placeholder="Find: number, commit, words" aria-label="Find a candidate" value={words}
        role="combobox" aria-expanded={found.length > 0} aria-controls="found" autocomplete="off"
        onInput={(event) => setWords(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") { setAt(Math.min(at + 1, found.length - 1)); event.preventDefault(); }
          if (event.key === "ArrowUp") { setAt(Math.max(at - 1, 0)); event.preventDefault(); }
          if (event.key === "Enter") open(found[at]);
          if (event.key === "Escape") setWords("");
        }}
      />
      {found.length > 0 && (
        <ul id="found" role="listbox" aria-label="Found candidates">
          {found.map((row, k) => (
            <li key={row.number} role="option" aria-selected={k === at} onMouseDown={(event) => { event.preventDefault(); open(row); }}>
              <b>#{row.number}</b> <span>{row.idea || row.operator}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function withSelection(number: number): string {
  const next = new URLSearchParams(query.value);
  next.set("at", String(number));
  return next.toString();
}

function Help() {
  const box = useDialog(() => (helpOpen.value = false));
  return (
    <div class="veil" onClick={() => (helpOpen.value = false)}>
      <div class="dialog" role="dialog" aria-modal="true" aria-labelledby="help-title" tabIndex={-1} ref={box} onClick={(event) => event.stopPropagation()}>
        <h2 id="help-title">Keys</h2>
        <dl class="keys">{HELP.map(([key, text]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{text}</dd></div>)}</dl>
        <button type="button" onClick={() => (helpOpen.value = false)}>Close</button>
      </div>
    </div>
  );
}

bindKeys();
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<App />, root);
}
