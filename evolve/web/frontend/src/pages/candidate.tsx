import { useEffect, useState } from "preact/hooks";
import { Diff } from "../diff";
import { ago, clock, interval, money, num, several, span, worth } from "../format";
import { CandidateLink, Card, Copy, Empty, failed, Gain, Lines, Loading, Problem, Status, useJson } from "../parts";
import { pageKeys } from "../keys";
import { act, announcement, batch, fetchJson, go, href, query, setQuery } from "../state";
import type { CandidatePage, Difference, Evidence, Relative } from "../types";
import { useThrottled } from "./run";

const AGAINST = ["parent", "base", "best"];

export function Candidate({ run, candidate }: { run: string; candidate: string }) {
  const touched = batch.value?.rows.some((row) => String(row[1]) === candidate) ? batch.value.version : 0;
  const version = useThrottled(touched, 300);
  const { data, error, reload } = useJson<CandidatePage>(`${href(run, "c", candidate)}.json`, version, true);
  const against = query.value.get("against") ?? "parent";
  const missing = data !== null && !data.indexed;
  useEffect(() => {
    if (!missing) return;
    const later = setTimeout(reload, 800);
    return () => clearTimeout(later);
  });
  useEffect(() => {
    if (!data) return;
    const to = (number: number | null, word: string) => () => number === null ? (announcement.value = `No ${word}`) : go(href(run, "c", number) + window.location.search);
    const { next, previous, parent, child } = data.neighbours;
    return pageKeys({
      j: to(next, "next candidate"), k: to(previous, "previous candidate"), p: to(parent, "parent"), c: to(child, "child"),
      d: () => {
        setQuery({ against: AGAINST[(AGAINST.indexOf(against) + 1) % AGAINST.length].replace("parent", "") });
        document.getElementById("diff")?.scrollIntoView({ block: "start" });
      },
      l: () => go(`${href(run, "lineage")}?at=${data.number}`),
    });
  }, [data, against]);
  useEffect(() => {
    if (data && query.value.get("tab") === "diff") document.getElementById("diff")?.scrollIntoView({ block: "start" });
  }, [data?.number]);
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  return (
    <div class="stack">
      {error && <Problem text={error} />}
      <Head data={data} run={run} />
      <div class="two">
        <Metrics data={data} />
        <Take data={data} run={run} />
      </div>
      <DiffCard run={run} data={data} against={against} />
      <EvidenceCard data={data} run={run} />
      <div class="two">
        <Request data={data} run={run} />
        <Kin data={data} run={run} />
      </div>
      <Card title="Path from the base" note={data.ancestors_total > data.ancestors.length ? `last ${data.ancestors.length} of ${data.ancestors_total} steps` : several(data.ancestors_total, "step")}>
        <Lines run={run} lines={[...data.ancestors, data]} metric={data.metric} empty="" base={null} />
      </Card>
      <Card title="Children" note={`${several(data.children, "child", "children")}, ${several(data.descendants, "descendant")}`}>
        <Lines run={run} lines={data.children_list} metric={data.metric} empty="None yet." />
      </Card>
      <Card title="Its events">
        {!data.indexed && <Empty>The log is still being read; its events appear here in a moment.</Empty>}
        <ol class="feed">{data.events.map((entry) => <li key={entry.oid} class={entry.kind}><time class="dim">{clock(entry.time)}</time><span><span class="chip">{entry.kind}</span> {entry.text}</span></li>)}</ol>
      </Card>
    </div>
  );
}

function Head({ data, run }: { data: CandidatePage; run: string }) {
  const { next, previous, parent, child } = data.neighbours;
  const step = (number: number | null, label: string, key: string) => number === null ? <span class="dim">{label}</span> : <a href={href(run, "c", number)} aria-keyshortcuts={key}>{label}</a>;
  return (
    <header class="candidate-head">
      <div class="row">
        <h1>#{data.number}</h1><Status line={data} />
        <span class="spacer" />
        <nav class="row steps" aria-label="Neighbours">{step(previous, "← k", "k")}{step(next, "j →", "j")}{step(parent, "p parent", "p")}{step(child, "c child", "c")}<a href={`${href(run, "lineage")}?at=${data.number}`}>in the lineage</a></nav>
      </div>
      <p class="idea-line">{data.idea || "No idea was given."}</p>
      <p class="dim">{data.operator}{data.model && <> by {data.model}</>} · island {data.island} · brief {data.brief || "none"} · born {clock(data.born)} ({ago(Date.now() / 1000, data.born)}) · commit <code>{data.commit.slice(0, 12)}</code> <Copy text={data.commit} label="copy id" /></p>
      {data.reason && <p class="verdict-reason"><b>{data.status} at {data.stage || "judging"}:</b> {data.reason}</p>}
    </header>
  );
}

function Metrics({ data }: { data: CandidatePage }) {
  const names = Object.keys(data.metrics);
  return (
    <Card title="Metrics" note={data.self_reported ? "self-reported: from the candidate's own output or process" : "mean and 95% interval"}>
      {!names.length && <Empty>{data.status === "unjudged" ? "Not judged yet." : `No fitness: ${data.status}.`}</Empty>}
      {names.length > 0 && <div class="scroll"><table class="grid"><thead><tr><th>Metric</th><th class="right">Mean</th><th>95% interval</th><th class="right">n</th><th class="right">Against the base</th></tr></thead>
        <tbody>{names.map((name) => {
          const e = data.metrics[name];
          const base = data.base_metrics[name];
          return <tr key={name}><td>{name}{name === data.metric.name && <span class="chip">objective</span>} <span class="dim">{data.units[name]}</span></td><td class="right number">{num(e.mean, 9)}</td><td class="dim number">{e.low === e.high ? "exact" : `${num(e.low)} to ${num(e.high)}`}</td><td class="right number">{e.n}</td>
            <td class="right number">{base !== undefined && <Gain value={e.mean - base} better={data.goals[name] === "min" ? e.mean <= base : e.mean >= base} />}</td></tr>;
        })}</tbody></table></div>}
      {data.reigns.map((reign, k) => <p key={k}>Became champion after {reign.blocks} fresh {reign.blocks === 1 ? "block" : "blocks"}{reign.gain !== null && reign.gain !== undefined && <>: gain {num(reign.gain, 4)}{reign.low !== null && reign.low !== undefined && reign.low !== reign.gain && <>, at least {num(reign.low, 4)}</>} in fitness</>}.</p>)}
    </Card>
  );
}

function Take({ data, run }: { data: CandidatePage; run: string }) {
  const [said, say] = useState("");
  const send = (action: string, text = "") => act(run, { action, candidate: String(data.number), text }).then(() => say("On record."), (error) => say(failed(error)));
  return (
    <Card title="Take it">
      <ul class="plain take">{data.take.map((line) => <li key={line.label}><span class="dim">{line.label}</span><div class="row"><code class="command" tabIndex={0}>{line.commands.join("\n")}</code><Copy text={line.commands.join("\n")} /></div></li>)}</ul>
      {data.actions && <div class="row">
        <button type="button" onClick={() => send(data.pinned ? "unpin" : "pin")}>{data.pinned ? "Unpin" : "Pin"}</button>
        {data.standing === "suspended" || data.standing === "quarantined" ? <button type="button" onClick={() => send("release")}>Release</button> : <button type="button" class="danger" onClick={() => send("suspect")}>Mark suspicious</button>}
        <span role="status">{said}</span>
      </div>}
    </Card>
  );
}

function DiffCard({ run, data, against }: { run: string; data: CandidatePage; against: string }) {
  const split = query.value.get("view") !== "unified";
  const context = query.value.get("context") ?? "3";
  const [other, setOther] = useState("");
  const path = `${href(run, "diff.json")}?to=${data.number}&from=${encodeURIComponent(against)}&context=${context}`;
  const { data: diff, error } = useJson<Difference>(path, 0, true);
  const choices: [string, string][] = [["parent", "Parent"], ["base", "Base"], ["best", "Champion"]];
  return (
    <Card title="Diff" id="diff" note={diff ? `${diff.from} → ${diff.to}` : ""} actions={<>
      <div class="tabs" role="group" aria-label="Against">{choices.map(([name, label]) => <button type="button" key={name} aria-pressed={against === name} onClick={() => setQuery({ against: name === "parent" ? "" : name })}>{label}</button>)}</div>
      <form class="row" onSubmit={(event) => { event.preventDefault(); if (other.trim()) setQuery({ against: other.trim() }); }}><input class="other" aria-label="Any other candidate to compare with" placeholder="any #" value={other} onInput={(event) => setOther(event.currentTarget.value)} /></form>
      <div class="tabs" role="group" aria-label="Layout"><button type="button" aria-pressed={split} onClick={() => setQuery({ view: "" })}>Split</button><button type="button" aria-pressed={!split} onClick={() => setQuery({ view: "unified" })}>Unified</button></div>
      <button type="button" class="quiet" aria-pressed={context !== "3"} onClick={() => setQuery({ context: context === "3" ? "100000" : "" })}>{context === "3" ? "Whole files" : "Only changes"}</button>
    </>}>
      {error ? <Problem text={error} /> : !diff ? <Loading /> : <Diff diff={diff} split={split} />}
    </Card>
  );
}

function EvidenceCard({ data, run }: { data: CandidatePage; run: string }) {
  const metric = data.metric;
  return (
    <Card title="Evidence" note={several(data.evidence.length, "measurement")}>
      {!data.evidence.length && <Empty>Nothing was measured yet.</Empty>}
      {data.evidence.map((item, k) => <EvidenceItem key={item.oid} item={item} metric={metric.name} last={k === data.evidence.length - 1} />)}
      <Artifacts data={data} run={run} kinds={["measured"]} empty="The evaluation left no logs." title="Logs" />
    </Card>
  );
}

function EvidenceItem({ item, metric, last }: { item: Evidence; metric: string; last: boolean }) {
  const own = item.samples.filter((s) => s.own);
  const names = [...new Set(own.flatMap((s) => Object.keys(s.metrics)))];
  return (
    <details class="evidence" open={last}>
      <summary><b>{item.stage}</b> <span class="dim">{item.sandbox || "in process"} · {span(item.cost.wall)} · {clock(item.time)}</span> {item.failure ? <span class="chip invalid">{item.failure.kind}</span> : <span class="number">{own.slice(0, 4).map((s) => num(s.metrics[metric])).join("  ")}{own.length > 4 ? " …" : ""}</span>}</summary>
      {item.failure && <pre class="log">{item.failure.message}</pre>}
      {own.length > 0 && <div class="scroll"><table class="grid"><thead><tr><th class="right">Block</th>{names.map((n) => <th class="right" key={n}>{n}</th>)}{item.samples.length > own.length && <th class="right">Beside it: {metric}</th>}<th class="right">Time</th></tr></thead>
        <tbody>{own.map((s, k) => <tr key={k}><td class="right number">{s.block}</td>{names.map((n) => <td class="right number" key={n}>{num(s.metrics[n], 10)}</td>)}{item.samples.length > own.length && <td class="right number">{num(item.samples.find((o) => !o.own && o.block === s.block)?.metrics[metric], 10)}</td>}<td class="right">{span(s.seconds)}</td></tr>)}</tbody></table></div>}
      {item.checks.length > 0 ? <ul class="plain">{item.checks.map((check) => <li key={check.name}><span class={`chip ${check.outcome === "passed" ? "scored" : check.outcome}`}>{check.outcome}</span> {check.name} <span class="dim">{check.detail}</span></li>)}</ul> : <p class="dim">No integrity checks ran at this stage.</p>}
      {Object.keys(item.facts).length > 0 && <details><summary>Facts of the evaluator</summary><pre class="log">{JSON.stringify(item.facts, null, 1)}</pre></details>}
      <p class="dim">job {item.job} · machine {item.machine.slice(0, 60)} · epoch {item.epoch.slice(0, 12)}{item.secret && <> · committed to secret inputs {item.secret.slice(0, 12)}…</>}{item.self_reported && " · self-reported"}</p>
    </details>
  );
}

function Request({ data, run }: { data: CandidatePage; run: string }) {
  const { request } = data;
  return (
    <Card title="How it was asked for">
      {!request ? <Empty>{data.brief ? (data.indexed ? "Its brief is not in this archive." : "The log is still being read…") : "No brief ordered it: it is a seed or was entered by a person."}</Empty> : <>
        <dl class="facts-list">
          <div><dt>Operator</dt><dd>{String(request.brief.operator)} <span class="dim">for mutator {String(request.brief.mutator || "any")}</span></dd></div>
          <div><dt>Cost</dt><dd>{request.calls ? <>{several(request.calls, "call")} to {request.model}, {request.tokens_in} + {request.tokens_out} tokens, {span(request.seconds)}, {request.money === null ? "price unknown" : money(request.money)}</> : "No model was called, so there are no prompts and no answers."}</dd></div>
        </dl>
        <details><summary>The brief</summary><pre class="log">{JSON.stringify(request.brief, null, 1)}</pre></details>
      </>}
      <Artifacts data={data} run={run} kinds={["requested", "answered", "born", "told", "asked"]} empty="" title="Prompts and answers" />
      <details><summary>The commit's message</summary><pre class="log">{data.message}</pre></details>
    </Card>
  );
}

function Kin({ data, run }: { data: CandidatePage; run: string }) {
  const list = (relatives: Relative[]) => <ul class="plain">{relatives.map((r) => <li key={r.commit}><CandidateLink run={run} number={r.number} /> <span class="number">{worth(data.metric, r.fitness)}</span> <span class="dim">{interval(data.metric, r.low ?? null, r.high ?? null)}</span> {r.idea} {r.number !== null && <a class="dim" href={href(run, "compare", r.number, data.number)}>compare</a>}</li>)}</ul>;
  return (
    <Card title="Parents and inspirations">
      {data.parents.length ? list(data.parents) : <Empty>None: it is where the run began.</Empty>}
      {data.inspired_by.length > 0 && <><h3>Inspired by</h3>{list(data.inspired_by)}</>}
      <h3>Lessons that name it</h3>
      {data.lessons.length ? <ul class="plain">{data.lessons.map((x, k) => <li key={k}>{x.text}</li>)}</ul> : <Empty>None.</Empty>}
    </Card>
  );
}

function Artifacts({ data, run, kinds, empty, title }: { data: CandidatePage; run: string; kinds: string[]; empty: string; title: string }) {
  const found = data.artifacts.filter((a) => kinds.includes(a.kind));
  if (!found.length) return empty ? <p class="dim">{empty}</p> : null;
  return <><h3>{title}</h3>{found.map((a) => <Artifact key={a.event + a.name} run={run} event={a.event} name={a.name} />)}</>;
}

function Artifact({ run, event, name }: { run: string; event: string; name: string }) {
  const [text, setText] = useState<string | null>(null);
  const load = () => {
    if (text !== null) return;
    fetchJson<{ text: string; cut: number }>(`${href(run, "artifact.json")}?event=${event}&name=${encodeURIComponent(name)}`).then((a) => setText(readable(a.text)), (error) => setText(failed(error)));
  };
  return <details onToggle={(e) => (e.currentTarget as HTMLDetailsElement).open && load()}><summary>{name}</summary>{text === null ? <Loading /> : <pre class="log" tabIndex={0}>{text || "(empty)"}</pre>}</details>;
}

/** A request or answer that is one line of JSON is easier to read indented. */
function readable(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 1).replaceAll("\\n", "\n");
  } catch {
    return text;
  }
}
