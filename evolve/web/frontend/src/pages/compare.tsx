import { useEffect, useState } from "preact/hooks";
import { Diff } from "../diff";
import { num } from "../format";
import { pageKeys } from "../keys";
import { CandidateLink, Card, Gain, Loading, Problem, Status, useJson } from "../parts";
import { go, href, query, setQuery } from "../state";
import type { CandidatePage, Difference } from "../types";

export function Compare({ run, a, b }: { run: string; a: string; b: string }) {
  const { data, error } = useJson<{ a: CandidatePage; b: CandidatePage; diff: Difference }>(`${href(run, "compare", a, b)}.json`);
  const [left, setLeft] = useState(a), [right, setRight] = useState(b);
  useEffect(() => { setLeft(a); setRight(b); }, [a, b]);
  useEffect(() => pageKeys({ d: () => document.getElementById("compare-diff")?.scrollIntoView(), j: () => go(href(run, "compare", b, a)) }));
  const split = query.value.get("view") !== "unified";
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  const both = [data.a, data.b];
  const names = [...new Set(both.flatMap((c) => Object.keys(c.metrics)))];
  const shared = data.a.ancestors.filter((x) => data.b.ancestors.some((y) => y.number === x.number)).pop();
  return (
    <div class="stack">
      <Card title="Compare" actions={
        <form class="row" onSubmit={(event) => { event.preventDefault(); go(href(run, "compare", left, right)); }}>
          <input class="other" aria-label="Left candidate" value={left} onInput={(e) => setLeft(e.currentTarget.value)} /> with <input class="other" aria-label="Right candidate" value={right} onInput={(e) => setRight(e.currentTarget.value)} />
          <button type="submit">Compare</button><a href={href(run, "compare", b, a)}>swap</a>
        </form>}>
        <div class="scroll"><table class="grid"><thead><tr><th>Fact</th>{both.map((c) => <th key={c.number}><CandidateLink run={run} number={c.number} /></th>)}<th class="right">Difference</th></tr></thead>
          <tbody>
            <tr><td>Verdict</td>{both.map((c) => <td key={c.number}><Status line={c} /> <span class="dim">{c.reason}</span></td>)}<td /></tr>
            <tr><td>Idea</td>{both.map((c) => <td key={c.number}>{c.idea}</td>)}<td /></tr>
            <tr><td>Operator</td>{both.map((c) => <td key={c.number}>{c.operator} {c.model}</td>)}<td /></tr>
            <tr><td>Island</td>{both.map((c) => <td key={c.number}>{c.island}</td>)}<td /></tr>
            {names.map((name) => {
              const [x, y] = both.map((c) => c.metrics[name]);
              return <tr key={name}><td>{name} <span class="dim">{data.a.units[name]}</span></td>{[x, y].map((e, k) => <td key={k} class="number">{e ? <>{num(e.mean, 9)} <span class="dim">{e.low === e.high ? "" : `[${num(e.low)}, ${num(e.high)}]`} n = {e.n}</span></> : "–"}</td>)}
                <td class="right number">{x && y && <Gain value={y.mean - x.mean} better={data.a.goals[name] === "min" ? y.mean <= x.mean : y.mean >= x.mean} />}</td></tr>;
            })}
          </tbody></table></div>
        {shared && <p class="dim">Their latest common ancestor is <CandidateLink run={run} number={shared.number} /> ({shared.idea}).</p>}
      </Card>
      <Card title="Diff" id="compare-diff" note={`#${data.a.number} → #${data.b.number}`} actions={<div class="tabs" role="group" aria-label="Layout"><button type="button" aria-pressed={split} onClick={() => setQuery({ view: "" })}>Split</button><button type="button" aria-pressed={!split} onClick={() => setQuery({ view: "unified" })}>Unified</button></div>}>
        <Diff diff={data.diff} split={split} />
      </Card>
    </div>
  );
}
