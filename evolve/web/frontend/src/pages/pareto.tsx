import { Chart, seriesColour } from "../chart";
import { num } from "../format";
import { CandidateLink, Card, Empty, Loading, Problem, useJson } from "../parts";
import { batch, go, href, query, setQuery } from "../state";
import type { ParetoPage } from "../types";
import { useThrottled } from "./run";

export function Pareto({ run }: { run: string }) {
  const version = useThrottled(batch.value?.version ?? 0, 800);
  const rest = query.value.toString();
  const { data, error } = useJson<ParetoPage>(`${href(run, "pareto")}.json${rest ? "?" + rest : ""}`, version);
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  const unit = (name: string) => data.metrics.find((m) => m.name === name)?.unit;
  const title = (name: string) => `${name}${unit(name) ? ` (${unit(name)})` : ""}, ${data.metrics.find((m) => m.name === name)?.goal === "min" ? "less" : "more"} is better`;
  const pick = (p: [number, number, number], strong: boolean) => ({ x: p[0], y: p[1], strong, label: `#${p[2]}  ${data.x} ${num(p[0])}  ${data.y} ${num(p[1])}`, href: href(run, "c", p[2]) });
  const choose = (axis: "x" | "y") => (
    <label class="choice">{axis === "x" ? "Across" : "Up"} <select value={data[axis]} onChange={(event) => setQuery({ [axis]: event.currentTarget.value })}>{data.metrics.map((m) => <option key={m.name}>{m.name}</option>)}</select></label>
  );
  const xs = data.points.map((p) => p[0]);
  return (
    <Card title="Pareto front" note={data.total !== undefined ? `${data.front.length} of ${data.total} scored candidates are not dominated` : ""}
      actions={<>
        {data.tasks.length > 1 && <label class="choice">Task <select value={data.task} onChange={(event) => setQuery({ task: event.currentTarget.value, x: "", y: "" })}>{data.tasks.map((t) => <option key={t}>{t}</option>)}</select></label>}
        {data.y && <>{choose("x")}{choose("y")}</>}
      </>}>
      {error && <Problem text={error} />}
      {!data.y ? <Empty>Task {data.task} measures one metric ({data.x}), so there is no front: the table sorted by fitness says the same. A task with two metrics or more is shown here against any two of them.</Empty> : <>
        <Chart title={`${run} ${data.task} pareto`} xLabel={title(data.x)} yLabel={title(data.y)} height={420} onPick={go} line end={xs.length ? Math.max(...xs) : 1}
          series={[{ name: "candidates", colour: "var(--cloud)", points: data.points.map((p) => pick(p, false)) }, { name: "front", colour: seriesColour(1), steps: data.front.map(([a, b]) => [a, b] as [number, number]), points: data.front.map((p) => pick(p, true)) }]} />
        <details class="as-table"><summary>The front as a table</summary><table class="grid"><thead><tr><th>Candidate</th><th class="right">{data.x}</th><th class="right">{data.y}</th></tr></thead><tbody>{data.front.map((p) => <tr key={p[2]}><td><CandidateLink run={run} number={p[2]} /></td><td class="right number">{num(p[0])}</td><td class="right number">{num(p[1])}</td></tr>)}</tbody></table></details>
      </>}
    </Card>
  );
}
