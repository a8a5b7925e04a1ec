// Small pieces that several pages use.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { interval, num, worth } from "./format";
import { announcement, fetchJson, href, Refused } from "./state";
import type { Line, Metric } from "./types";

/** Data of a page: fetched again when `again` changes, the old kept on screen meanwhile; `keep`: another page's too. */
export function useJson<T>(path: string | null, again: unknown = 0, keep = false): { data: T | null; error: string; reload: () => void } {
  const [state, set] = useState<{ path: string | null; data: T | null; error: string }>({ path: null, data: null, error: "" });
  const [turn, next] = useState(0);
  useEffect(() => {
    if (!path) return;
    let live = true;
    fetchJson<T>(path).then(
      (data) => live && set({ path, data, error: "" }),
      (error: Error) => live && set((old) => ({ path, data: old.path === path || keep ? old.data : null, error: error.message })),
    );
    return () => void (live = false);
  }, [path, again, turn]);
  const current = keep || state.path === path || (state.data !== null && sameBase(state.path, path));
  return { data: current ? state.data : null, error: state.path === path ? state.error : "", reload: () => next(turn + 1) };
}

const sameBase = (a: string | null, b: string | null) => a?.split("?")[0] === b?.split("?")[0];

export function Card({ title, note, children, id, actions }: { title?: string; note?: string; children: ComponentChildren; id?: string; actions?: ComponentChildren }) {
  return (
    <section class="card" id={id} aria-labelledby={title ? `${id ?? title}-title` : undefined}>
      {title && (
        <header class="card-head">
          <h2 id={`${id ?? title}-title`}>{title}</h2>
          {note && <span class="dim">{note}</span>}
          <span class="spacer" />
          {actions}
        </header>
      )}
      {children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Problem({ text }: { text: string }) {
  return <div class="problem" role="alert">{text}</div>;
}

export function Loading() {
  return <p class="loading" role="status">Loading…</p>;
}

const STATUS_WORD: Record<string, string> = { scored: "scored", invalid: "invalid", audit: "audit", cheat: "cheat", unjudged: "not judged yet" };

export function Status({ line }: { line: Pick<Line, "status" | "standing" | "champion" | "was_champion" | "pinned" | "self_reported" | "kind"> }) {
  return (
    <span class="chips">
      <span class={`chip ${line.status}`}>{line.status === "invalid" && line.kind ? `invalid: ${line.kind}` : STATUS_WORD[line.status] ?? line.status}</span>
      {line.champion && <span class="chip champion">champion</span>}
      {!line.champion && line.was_champion && <span class="chip">was champion</span>}
      {line.standing !== "active" && <span class="chip audit">{line.standing}</span>}
      {line.pinned && <span class="chip">pinned</span>}
      {line.self_reported && <span class="chip self" title="The numbers came out of the candidate's own output or process">self-reported</span>}
    </span>
  );
}

export function CandidateLink({ run, number, children }: { run: string; number: number | null; children?: ComponentChildren }) {
  if (number === null) return <span class="dim">outside this run</span>;
  return <a href={href(run, "c", number)}>{children ?? <>#{number}</>}</a>;
}

export function Worth({ metric, line }: { metric: Metric | undefined; line: Pick<Line, "fitness" | "low" | "high"> }) {
  return (
    <span class="worth">
      <b>{worth(metric, line.fitness)}</b> <span class="dim">{interval(metric, line.low, line.high)} {metric?.unit}</span>
    </span>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("Select and copy it by hand");
    }
    announcement.value = "Copied to the clipboard";
    setTimeout(() => say(""), 1600);
  };
  return <button type="button" class="small" onClick={copy}>{said || label}</button>;
}

export function Lines({ run, lines, metric, empty, base }: { run: string; lines: Line[]; metric: Metric | undefined; empty: string; base?: number | null }) {
  if (!lines.length) return <Empty>{empty}</Empty>;
  return (
    <div class="scroll">
      <table class="grid">
        <thead><tr><th>Candidate</th><th class="right">{metric?.name ?? "Fitness"}</th>{base !== undefined && <th class="right">Step</th>}<th>Verdict</th><th>Idea</th><th>Operator</th></tr></thead>
        <tbody>
          {lines.map((line, k) => {
            const before = k ? lines[k - 1].fitness : base ?? null;
            return (
              <tr key={line.number}>
                <td><CandidateLink run={run} number={line.number} /></td>
                <td class="right number">{worth(metric, line.fitness)}</td>
                {base !== undefined && <td class="right number">{line.fitness !== null && before !== null ? <Gain value={(metric?.sign ?? 1) * (line.fitness - before)} better={line.fitness >= before} /> : ""}</td>}
                <td><Status line={line} /></td>
                <td class="idea">{line.idea}</td>
                <td class="dim">{line.operator}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

export function Gain({ value, better }: { value: number; better: boolean }) {
  const text = `${value > 0 ? "+" : value < 0 ? "−" : "±"}${num(Math.abs(value), 4)}`;
  return <span class={value === 0 ? "dim" : better ? "good" : "bad"}>{text}</span>;
}

export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 5000);
}

export const failed = (error: unknown) => (error instanceof Refused || error instanceof Error ? error.message : String(error));
