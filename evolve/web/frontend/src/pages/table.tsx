import { useEffect, useState } from "preact/hooks";
import { clock, count, interval, worth } from "../format";
import { CandidateLink, Card, Loading, Problem, Status, useJson } from "../parts";
import { pageKeys } from "../keys";
import { announcement, batch, go, href, query, setQuery } from "../state";
import type { TablePage } from "../types";
import { useThrottled } from "./run";

const PAGE = 100;
const FILTERS = ["status", "operator", "island", "kind", "task"];
const COLUMNS: [string, string, boolean][] = [["number", "Candidate", false], ["fitness", "Fitness", true], ["status", "Verdict", false], ["idea", "Idea", false], ["operator", "Operator", false], ["island", "Island", false], ["children", "Children", true], ["depth", "Depth", true], ["born", "Born (UTC)", false]];

export function Table({ run }: { run: string }) {
  const version = useThrottled(batch.value?.version ?? 0, 1000);
  const q = query.value;
  const offset = Number(q.get("offset") ?? 0) || 0;
  const asked = new URLSearchParams(q);
  if (!asked.get("sort")) asked.set("sort", "-fitness");
  asked.set("limit", String(PAGE));
  const { data, error } = useJson<TablePage>(`${href(run, "table")}.json?${asked}`, version);
  const [row, setRow] = useState(-1);
  const rows = data?.rows ?? [];
  useEffect(() => pageKeys({
    j: () => select(Math.min(row + 1, rows.length - 1)), k: () => select(Math.max(row - 1, 0)),
    Enter: () => rows[row] && go(href(run, "c", rows[row].number)), d: () => rows[row] && go(`${href(run, "c", rows[row].number)}?tab=diff`),
  }));
  const select = (k: number) => {
    setRow(k);
    document.getElementById(`row-${k}`)?.scrollIntoView({ block: "nearest" });
    if (rows[k]) announcement.value = `#${rows[k].number}, ${rows[k].status}, ${rows[k].idea}`;
  };
  const sort = asked.get("sort") ?? "";
  const out = (ending: string) => { const p = new URLSearchParams(asked); p.delete("limit"); p.delete("offset"); return `${href(run, "table")}.${ending}?${p}`; };
  return (
    <Card title="Candidates" note={data ? `${count(data.total)} match` : ""} actions={
      <span class="row">Save <a href={out("csv")} download>CSV</a> <a href={out("jsonl")} download>JSON lines</a> <a href={out("parquet")} download>Parquet</a></span>}>
      {error && <Problem text={error} />}
      <div class="filters" role="search" aria-label="Filter candidates">
        <input type="search" aria-label="Words in idea, operator, reason" placeholder="Words in idea, operator, reason" value={q.get("q") ?? ""} onInput={(event) => setQuery({ q: event.currentTarget.value, offset: "" })} />
        {data && FILTERS.filter((name) => data.values[name]?.length > 1).map((name) => (
          <label key={name} class="choice">{name === "kind" ? "failure" : name} <select value={q.get(name) ?? ""} onChange={(event) => setQuery({ [name]: event.currentTarget.value, offset: "" })}><option value="">any</option>{data.values[name].map((value) => <option key={value}>{value}</option>)}</select></label>
        ))}
        <label class="choice"><input type="checkbox" checked={q.has("champions")} onChange={(event) => setQuery({ champions: event.currentTarget.checked ? "1" : "", offset: "" })} /> champions only</label>
      </div>
      {!data ? <Loading /> : (
        <div class="scroll"><table class="grid candidates">
          <thead><tr>{COLUMNS.map(([name, label, right]) => {
            const up = sort === name, down = sort === `-${name}`;
            return <th key={name} class={right ? "right" : ""} aria-sort={up ? "ascending" : down ? "descending" : undefined}><button type="button" class="sort" onClick={() => setQuery({ sort: down ? name : `-${name}`, offset: "" })}>{name === "fitness" && Object.keys(data.metrics).length === 1 ? Object.values(data.metrics)[0].name : label}{up ? " ↑" : down ? " ↓" : ""}</button></th>;
          })}</tr></thead>
          <tbody>{rows.map((line, k) => {
            const metric = data.metrics[line.task];
            return (
              <tr key={line.number} id={`row-${k}`} class={k === row ? "selected" : ""} aria-selected={k === row} onClick={(event) => !(event.target as Element).closest("a") && setRow(k)}>
                <td><CandidateLink run={run} number={line.number} /> <code class="dim">{line.commit.slice(0, 8)}</code></td>
                <td class="right number">{worth(metric, line.fitness)} <span class="dim">{interval({ ...metric, goal: "max" }, line.low, line.high)}</span></td>
                <td><Status line={line} /></td><td class="idea" title={line.reason}>{line.idea}{line.reason && <small class="dim"> {line.reason}</small>}</td><td>{line.operator}</td><td>{line.island}</td>
                <td class="right number">{line.children}</td><td class="right number">{line.depth}</td><td class="dim nowrap">{clock(line.born)}</td>
              </tr>
            );
          })}</tbody>
        </table></div>
      )}
      {data && data.total > PAGE && (
        <div class="pager"><button type="button" disabled={offset === 0} onClick={() => setQuery({ offset: String(Math.max(offset - PAGE, 0) || "") }, false)}>Previous</button>
          <span>{count(offset + 1)}–{count(Math.min(offset + PAGE, data.total))} of {count(data.total)}</span>
          <button type="button" disabled={offset + PAGE >= data.total} onClick={() => setQuery({ offset: String(offset + PAGE) }, false)}>Next</button></div>
      )}
    </Card>
  );
}
